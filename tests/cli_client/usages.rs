//! How tokens were used, on the command line.

use crate::canned::ID;
use crate::json;
use crate::program::Fixture;

#[test]
fn usage_is_a_chart_and_tables_and_says_how_far_back_it_looks() {
    let fixture = Fixture::new();
    let ran = fixture.run(&format!("usage {ID} --window 7d"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out
            .starts_with("requests    3\nsuccessful  3 (100.0 %)\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("at most 2 in an hour\n|"), "{}", ran.out);
    assert!(ran.out.contains("GET     /orders/*  3"), "{}", ran.out);
    let (_, _, asked) = fixture.asked().remove(0);
    assert!(
        asked.contains(ID) && asked.contains("seconds: 604800"),
        "{asked}"
    );
}

#[test]
fn overview_says_what_it_leaves_out_beside_the_answer() {
    let fixture = Fixture::new();
    let ran = fixture.run("overview --namespace -");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("tokens_in_force  7\n"), "{}", ran.out);
    assert!(ran.err.contains("more namespaces"), "{}", ran.err);
    let (_, _, asked) = fixture.asked().remove(0);
    assert!(asked.contains("seconds: 86400"), "{asked}");
    let ran = fixture.run("overview --json");
    assert_eq!(json(&ran.out)["activeTokens"], "7");
    assert_eq!(ran.err, "");
}

#[test]
fn a_list_tells_how_tokens_were_used_on_request() {
    let fixture = Fixture::new();
    let ran = fixture.run("token list --usage");
    let head = ran.out.lines().next().unwrap_or_default();
    assert!(head.ends_with("24 H  7 D  TOTAL"), "{head}");
    assert!(ran.out.contains("never"), "{}", ran.out);
    let (_, _, asked) = fixture.asked().remove(0);
    assert!(asked.contains("with_usage: true"), "{asked}");
}

#[test]
fn a_window_that_is_no_span_is_wrong_usage() {
    let ran = Fixture::new().run(&format!("usage {ID} --window soon"));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("--window"), "{}", ran.err);
}
