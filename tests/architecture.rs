//! The rules of the house that the compiler does not hold: who imports whom, where ambient things
//! are touched, how files begin, and how long they may be.

mod architecture {
    mod samples;
    pub(crate) mod scripts;
    pub(crate) mod source;
}

use architecture::scripts;
use architecture::source::{Breach, Source, files_below, line_of, named_paths};

const FILE_LINES_MAX: usize = 500;

/// What the files of one room may not name, and why.
struct Wall {
    room: &'static str,
    never: &'static [&'static str],
    reason: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        room: "src/domain",
        never: &[
            "crate::store",
            "crate::authority",
            "crate::transport",
            "crate::cli",
            "crate::config",
            "crate::serve",
            "crate::telemetry",
            "crate::clock",
            "crate::entropy",
            "crate::metrics",
            "crate::trail",
            "crate::tls",
        ],
        reason: "the domain knows rules only, no room above it",
    },
    Wall {
        room: "src/domain",
        never: &[
            "tokio",
            "tonic",
            "prost",
            "redis",
            "rusqlite",
            "serde",
            "async_trait",
        ],
        reason: "the domain is pure: no async, no I/O, no wire or stored form",
    },
    Wall {
        room: "src/metrics",
        never: &[
            "crate::store",
            "crate::authority",
            "crate::transport",
            "crate::cli",
            "crate::config",
            "crate::serve",
            "crate::trail",
        ],
        reason: "what is counted knows the domain's words only, not who counts",
    },
    Wall {
        room: "src/tls",
        never: &[
            "crate::store",
            "crate::authority",
            "crate::transport",
            "crate::cli",
            "crate::config",
            "crate::serve",
            "crate::metrics",
            "crate::trail",
        ],
        reason: "certificates are read and shown, whoever asks",
    },
    Wall {
        room: "src/transport/connections",
        never: &[
            "crate::authority",
            "crate::transport::gate",
            "crate::transport::grpc",
            "crate::transport::http",
        ],
        reason: "connections carry calls, and know none",
    },
    Wall {
        room: "src/trail",
        never: &[
            "crate::store",
            "crate::authority",
            "crate::transport",
            "crate::cli",
            "crate::config",
            "crate::serve",
        ],
        reason: "a trail takes lines, whoever writes them",
    },
    Wall {
        room: "src/store",
        never: &[
            "crate::authority",
            "crate::transport",
            "crate::cli",
            "crate::config",
            "crate::serve",
            "crate::trail",
            "tonic",
        ],
        reason: "a store knows the domain and its own contract only",
    },
    Wall {
        room: "src/store/sqlite",
        never: &["crate::store::redis"],
        reason: "the stores do not know each other",
    },
    Wall {
        room: "src/store/redis",
        never: &["crate::store::sqlite"],
        reason: "the stores do not know each other",
    },
    Wall {
        room: "src/authority",
        never: &["crate::transport", "crate::cli", "crate::serve"],
        reason: "arrows point down: use cases know no transport",
    },
    Wall {
        room: "src/authority",
        never: &["tonic", "http", "prost", "redis", "rusqlite"],
        reason: "use cases know neither a wire nor a driver",
    },
    Wall {
        room: "src/authority",
        never: &[
            "crate::store::sqlite",
            "crate::store::redis",
            "crate::store::record",
        ],
        reason: "use cases know the stores' contract, not a store",
    },
    Wall {
        room: "src/transport",
        never: &["crate::store", "crate::trail", "redis", "rusqlite"],
        reason: "a transport asks the authority; it never reaches around it",
    },
    Wall {
        room: "src/transport",
        never: &["crate::cli", "crate::serve"],
        reason: "arrows point down: what starts a transport is above it",
    },
];

/// All that the command line may name of ours: it is a client like any other.
const CLI_MAY_NAME: &[&str] = &[
    "crate::cli",
    "crate::config",
    "crate::domain",
    "crate::serve",
    "crate::tls",
    "crate::transport::grpc::pb",
];

/// What is touched in one place only, as (name, home, reason).
const HOMES: &[(&str, &str, &str)] = &[
    (
        "redis",
        "src/store/redis",
        "the driver stays with its store",
    ),
    (
        "deadpool_redis",
        "src/store/redis",
        "the driver stays with its store",
    ),
    (
        "rusqlite",
        "src/store/sqlite",
        "the driver stays with its store",
    ),
    (
        "prometheus_client",
        "src/metrics",
        "how metrics are kept stays with them",
    ),
    (
        "axum",
        "src/transport/http",
        "pages stay with their transport",
    ),
    ("rustls", "src/tls", "how TLS is spoken stays in one place"),
    (
        "tokio_rustls",
        "src/tls",
        "how TLS is spoken stays in one place",
    ),
    (
        "x509_parser",
        "src/tls",
        "certificates are read in one place",
    ),
    (
        "h2",
        "src/transport/connections",
        "HTTP is spoken in one place",
    ),
    (
        "hyper",
        "src/transport/connections",
        "HTTP is spoken in one place",
    ),
    ("rand", "src/entropy", "randomness has one door"),
    (
        "std::time::SystemTime::now",
        "src/clock",
        "the time of day has one door",
    ),
    (
        "std::env::var",
        "src/config",
        "the environment is configuration",
    ),
    (
        "std::env::var_os",
        "src/config",
        "the environment is configuration",
    ),
    (
        "std::env::vars",
        "src/config",
        "the environment is configuration",
    ),
    (
        "std::env::vars_os",
        "src/config",
        "the environment is configuration",
    ),
];

/// What of a crate with a home is named elsewhere all the same, as (path, file, reason).
const GUESTS: &[(&str, &str, &str)] = &[(
    "hyper_util::rt::TokioIo",
    "src/cli/connection.rs",
    "tonic takes a connection of a client's own in this form only",
)];

const PRINTING: &[&str] = &["println", "print", "eprintln", "eprint", "dbg"];
const UNFINISHED: &[&str] = &["todo", "unimplemented"];
const NAMELESS: &[&str] = &["util", "utils", "helper", "helpers", "misc"];

fn walls_stand(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for named in named_paths(&source.path, &source.shipped_code()) {
        let broken = WALLS
            .iter()
            .filter(|wall| source.is_in(wall.room))
            .filter(|wall| wall.never.iter().any(|name| named.belongs_to(name)));
        breaches.extend(broken.map(|wall| {
            let reason = format!("{} in {}: {}", named.path, wall.room, wall.reason);
            source.breach(named.line, reason)
        }));
        let ours = named.is_below("crate") && named.path != "crate";
        if source.is_in("src/cli")
            && ours
            && !CLI_MAY_NAME.iter().any(|prefix| named.is_below(prefix))
        {
            let reason = format!(
                "{} in src/cli: it is a client, and holds no rules",
                named.path
            );
            breaches.push(source.breach(named.line, reason));
        }
    }
    breaches
}

fn everything_has_one_home(source: &Source) -> Vec<Breach> {
    let code = source.shipped_code();
    let mut breaches = Vec::new();
    for named in named_paths(&source.path, &code) {
        for (name, home, reason) in HOMES {
            let guest =
                |(path, file, _): &(&str, &str, &str)| named.is_below(path) && source.path == *file;
            if named.belongs_to(name) && !source.is_in(home) && !GUESTS.iter().any(guest) {
                let reason = format!("{name} outside {home}: {reason}");
                breaches.push(source.breach(named.line, reason));
            }
        }
    }
    breaches
}

fn only_serve_names_a_store(source: &Source) -> Vec<Breach> {
    if source.is_in("src/store") || source.is_in("src/serve") {
        return Vec::new();
    }
    let code = source.shipped_code();
    let reason = "a concrete store is named in src/serve.rs only, where all is put together";
    ["SqliteStore", "RedisStore"]
        .iter()
        .flat_map(|word| words(&code, word))
        .map(|at| source.breach(line_of(&code, at), reason))
        .collect()
}

fn only_the_output_prints(source: &Source) -> Vec<Breach> {
    if source.is_in("src/cli/output") {
        return Vec::new();
    }
    let reason = "printing outside src/cli/output.rs; a server logs with tracing";
    macros(source, &source.shipped_code(), PRINTING, reason)
}

fn nothing_is_left_unfinished(source: &Source) -> Vec<Breach> {
    let code = source.code();
    let mut breaches = macros(source, &code, UNFINISHED, "unfinished work is not merged");
    let ignored = code.match_indices("#[ignore");
    breaches.extend(
        ignored.map(|(at, _)| source.breach(line_of(&code, at), "an ignored test proves nothing")),
    );
    breaches
}

fn shipped_code_never_unwraps(source: &Source) -> Vec<Breach> {
    let code = source.shipped_code();
    code.match_indices(".unwrap()")
        .map(|(at, _)| {
            let reason = ".unwrap() outside test code; answer an error, or say why it cannot be";
            source.breach(line_of(&code, at), reason)
        })
        .collect()
}

fn a_file_is_short(source: &Source) -> Vec<Breach> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let reason = format!("{lines} lines; a file of more than {FILE_LINES_MAX} has two subjects");
    vec![source.breach(lines, reason)]
}

fn a_file_says_what_it_is_for(source: &Source) -> Vec<Breach> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.breach(
        1,
        "the first line is not a '//!' sentence on what the file is for",
    )]
}

fn a_file_has_a_telling_name(source: &Source) -> Vec<Breach> {
    let name = source.path.rsplit('/').find(|part| *part != "mod.rs");
    let stem = name.unwrap_or_default().trim_end_matches(".rs");
    if !NAMELESS.contains(&stem) {
        return Vec::new();
    }
    vec![source.breach(1, format!("'{stem}' names no subject"))]
}

/// Where `word` stands as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part)
        })
}

fn macros(source: &Source, code: &str, names: &[&str], reason: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for name in names {
        let called = words(code, name).filter(|at| code[at + name.len()..].starts_with('!'));
        breaches.extend(
            called.map(|at| source.breach(line_of(code, at), format!("{name}!: {reason}"))),
        );
    }
    breaches
}

fn check(sources: &[Source], rule: fn(&Source) -> Vec<Breach>) {
    let breaches: Vec<Breach> = sources.iter().flat_map(rule).collect();
    let list: String = breaches
        .iter()
        .map(|breach| format!("\n  {breach}"))
        .collect();
    assert!(breaches.is_empty(), "{} breaches:{list}", breaches.len());
}

fn rust_below(directories: &[&str]) -> Vec<Source> {
    let files = directories.iter().flat_map(|name| files_below(name));
    files.filter(Source::is_rust).collect()
}

#[test]
fn rooms_import_downwards_only() {
    check(&rust_below(&["src"]), walls_stand);
}

#[test]
fn clocks_randomness_environment_and_drivers_have_one_home_each() {
    check(&rust_below(&["src"]), everything_has_one_home);
}

#[test]
fn concrete_stores_are_named_at_the_composition_root_only() {
    check(&rust_below(&["src"]), only_serve_names_a_store);
}

#[test]
fn only_the_command_line_output_prints() {
    check(&rust_below(&["src"]), only_the_output_prints);
}

#[test]
fn no_work_is_left_unfinished_and_no_test_ignored() {
    check(
        &rust_below(&["src", "tests", "benches"]),
        nothing_is_left_unfinished,
    );
}

#[test]
fn no_shipped_code_unwraps() {
    check(&rust_below(&["src"]), shipped_code_never_unwraps);
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for directory in ["src", "tests", "benches", "proto", "scripts"] {
        check(&files_below(directory), a_file_is_short);
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    check(
        &rust_below(&["src", "tests", "benches"]),
        a_file_says_what_it_is_for,
    );
}

#[test]
fn no_file_is_named_after_nothing() {
    check(
        &rust_below(&["src", "tests", "benches"]),
        a_file_has_a_telling_name,
    );
}

#[test]
fn every_script_is_documented_and_sound() {
    let mut lua = files_below("src/store/redis/scripts");
    lua.retain(|source| source.path.ends_with(".lua"));
    check(&lua, scripts::a_script_says_what_it_does);
    check(&lua, scripts::a_script_asks_the_time_once);
    check(&lua, scripts::a_script_gets_its_keys_whole);
    let redis = files_below("src/store/redis");
    let included = redis
        .iter()
        .find(|source| source.path == "src/store/redis/scripts.rs")
        .map_or("", |source| source.text.as_str());
    let breaches: Vec<Breach> = lua
        .iter()
        .flat_map(|script| scripts::a_script_is_included_once(script, included))
        .collect();
    assert!(breaches.is_empty(), "{breaches:?}");
}
