//! Small samples that prove each rule: what it must notice, and what it must let pass.

use super::source::{Breach, Source, line_of};
use crate::{
    a_file_has_a_telling_name, a_file_is_short, a_file_says_what_it_is_for,
    everything_has_one_home, nothing_is_left_unfinished, only_serve_names_a_store,
    only_the_output_prints, shipped_code_never_unwraps, walls_stand,
};

/// Asserts that `rule` finds a breach in `bad`, at the line that holds `HERE`, and none in `good`.
#[track_caller]
fn proves(rule: fn(&Source) -> Vec<Breach>, bad: (&str, &str), good: (&str, &str)) {
    let breaches = rule(&Source::new(bad.0, bad.1));
    let line = bad.1.find("HERE").map_or(1, |at| line_of(bad.1, at));
    assert!(
        breaches.iter().any(|breach| breach.line == line),
        "{breaches:?}"
    );
    let breaches = rule(&Source::new(good.0, good.1));
    assert!(breaches.is_empty(), "{breaches:?}");
}

#[test]
fn an_upward_import_is_noticed_however_it_is_written() {
    let good = (
        "src/authority/tokens.rs",
        "// crate::transport, \"tonic\"\nuse crate::store::{Store, StoreError};\n\
         #[cfg(test)]\nmod tests {\n    use crate::store::sqlite::SqliteStore;\n}\n",
    );
    for bad in [
        "use crate::transport::grpc; // HERE",
        "\nuse crate::{domain, transport as wire}; // HERE",
        "use super::super::transport::grpc; // HERE",
        "use tonic::Status; // HERE",
        "use crate::store::{self, Store};\nfn f() { store::redis::connect() } // HERE",
        "use crate::{domain::{token, page}, store::{Store, record}}; // HERE",
        "fn f() -> http::StatusCode { todo() } // HERE",
    ] {
        proves(walls_stand, ("src/authority/tokens.rs", bad), good);
    }
}

#[test]
fn each_room_has_its_walls() {
    let good = (
        "src/serve.rs",
        "use crate::store::redis::RedisStore; use tonic::Status;",
    );
    for bad in [
        ("src/domain/token.rs", "use crate::clock::Clock; // HERE"),
        (
            "src/domain/token.rs",
            "#[derive(serde::Serialize)] struct A; // HERE",
        ),
        ("src/store/mod.rs", "use crate::config::Config; // HERE"),
        (
            "src/store/redis/tokens.rs",
            "use super::super::sqlite::X; // HERE",
        ),
        ("src/store/sqlite/mod.rs", "use super::redis::keys; // HERE"),
        (
            "src/transport/grpc/mod.rs",
            "use crate::store::StoreError; // HERE",
        ),
        (
            "src/cli/token.rs",
            "use crate::authority::Authority; // HERE",
        ),
        (
            "src/cli/mod.rs",
            "use crate::transport::grpc::convert; // HERE",
        ),
    ] {
        proves(walls_stand, bad, good);
    }
    let cli = "use super::output; use crate::transport::grpc::pb; use crate::domain::token;";
    assert!(walls_stand(&Source::new("src/cli/token.rs", cli)).is_empty());
}

#[test]
fn a_stray_clock_random_number_environment_or_driver_is_noticed() {
    let good = (
        "src/clock.rs",
        "use std::time::{Instant, SystemTime};\nfn f() { SystemTime::now(); Instant::now(); }",
    );
    for bad in [
        "use std::time::SystemTime;\nfn f() { SystemTime::now(); } // HERE",
        "use std::env;\nfn f() { env::var(\"A\"); } // HERE",
        "fn f() { std::env::var_os(\"A\"); } // HERE",
        "use rand::Rng; // HERE",
        "fn f() { rand_core::OsRng; } // HERE",
        "fn f(_: rusqlite::Connection) {} // HERE",
        "use redis::cmd; // HERE",
    ] {
        proves(everything_has_one_home, ("src/authority/mod.rs", bad), good);
    }
    let reads = Source::new("src/config/load.rs", "use std::env::var_os;");
    assert!(everything_has_one_home(&reads).is_empty());
}

#[test]
fn a_concrete_store_printing_unfinished_work_and_unwrap_are_noticed() {
    let home = ("src/serve.rs", "use crate::store::redis::RedisStore;");
    let bad = ("src/authority/mod.rs", "fn f(_: RedisStore) {} // HERE");
    proves(only_serve_names_a_store, bad, home);

    let home = ("src/cli/output.rs", "fn f() { println!(\"a\"); }");
    let bad = ("src/main.rs", "fn f() {\n    eprintln!(\"a\"); // HERE\n}");
    proves(only_the_output_prints, bad, home);

    let good = (
        "src/a.rs",
        "/* todo!() */ const A: &str = r#\"todo!() \"#; fn ignore() {}",
    );
    for bad in [
        "fn f() { todo!() } // HERE",
        "#[test]\n#[ignore = \"slow\"] // HERE\nfn f() {}",
    ] {
        proves(nothing_is_left_unfinished, ("src/a.rs", bad), good);
    }

    let good = (
        "src/a.rs",
        "fn f<'a>(c: &'a char) -> bool { *c == '\"' }\n\
         #[cfg(test)]\nmod tests {\n    fn f() { a().unwrap(); }\n}\n",
    );
    let bad = "fn f() { a().unwrap(); } // HERE\n#[cfg(test)]\nmod tests { fn f() {} }\n";
    proves(shipped_code_never_unwraps, ("src/a.rs", bad), good);
}

#[test]
fn a_long_unexplained_or_nameless_file_is_noticed() {
    let (full, long) = ("a\n".repeat(500), "a\n".repeat(501));
    assert!(a_file_is_short(&Source::new("src/a.rs", &full)).is_empty());
    assert_eq!(a_file_is_short(&Source::new("src/a.rs", &long)).len(), 1);

    let good = ("src/a.rs", "//! Does one thing.\n");
    proves(
        a_file_says_what_it_is_for,
        ("src/a.rs", "use std::fmt;\n"),
        good,
    );

    for bad in ["src/store/utils.rs", "src/misc/mod.rs", "src/helpers.rs"] {
        proves(
            a_file_has_a_telling_name,
            (bad, ""),
            ("src/utility_bills.rs", ""),
        );
    }
}
