//! Changing tokens, rotating their secrets, and what is told about limits.

use super::canned::{ID, REVISION, SECRET};
use super::json;
use super::program::Fixture;

#[test]
fn update_asks_for_what_was_given_and_prints_the_token() {
    let fixture = Fixture::new();
    let ran = fixture.run(&format!(
        "token update {ID} --name deploy --rate-limit api=5/1s,burst=20 --quota-remaining 0 \
         --label a=b --enable --never --revision {REVISION}"
    ));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let printed = ran.out.lines().next().unwrap();
    assert_eq!(printed, format!("token_id     {ID}"));
    assert!(
        ran.out.contains("rate_limits  api=5/1s,burst=20\n"),
        "{}",
        ran.out
    );
    let (_, _, message) = fixture.asked().remove(0);
    let paths =
        r#"["name", "rate_limits", "labels", "disabled", "expire_time", "quota.remaining"]"#;
    for part in [paths, &format!("revision: Some({REVISION})"), "burst: 20"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let updated = json(&fixture.run("token update x --name y --json").out);
    assert_eq!(updated["token"]["name"], "y");
}

#[test]
fn an_update_of_nothing_calls_nobody() {
    let fixture = Fixture::new();
    for line in [
        "token update x",
        "token update x --revision 3",
        "token update",
        "token update x --name a --owner b --no-owner",
        "token update x --rate-limit 100",
        "token create --quota 5,left=0",
        "token rotate x --grace soon",
    ] {
        let ran = fixture.run(line);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}");
        assert!(ran.err.contains("error: "), "{line}: {}", ran.err);
    }
    assert!(fixture.asked().is_empty());
}

#[test]
fn rotate_prints_the_secret_once_and_says_so_elsewhere() {
    let fixture = Fixture::new();
    let ran = fixture.run(&format!(
        "token rotate {ID} --grace 1h --revision 7 --request-id again"
    ));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.lines().next(), Some(SECRET));
    assert_eq!(ran.out.matches(SECRET).count(), 1);
    assert!(ran.out.contains("secret_version  2\n"), "{}", ran.out);
    assert!(ran.err.contains("this one time"), "{}", ran.err);
    let (_, _, message) = fixture.asked().remove(0);
    for part in [
        "seconds: 3600",
        "revision: Some(7)",
        r#"request_id: "again""#,
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let ran = fixture.run("token rotate x --secret-only");
    assert_eq!((ran.out, ran.err), (format!("{SECRET}\n"), String::new()));
    let (_, _, message) = fixture.asked().remove(1);
    assert!(
        message.contains("grace_period: None, revision: None"),
        "{message}"
    );
    let rotated = json(&fixture.run("token rotate x --json").out);
    assert_eq!(rotated["secret"], SECRET);
    assert_eq!(fixture.run("token rotate x --json --secret-only").code, 2);
}

#[test]
fn refused_changes_have_exit_codes_and_advice() {
    let fixture = Fixture::new();
    let ran = fixture.run("token update x --name y --revision 3");
    assert_eq!(ran.code, 8);
    let why = "error: the token has another revision\n  reason: ERROR_REASON_REVISION_MOVED\n";
    assert!(ran.err.starts_with(why), "{}", ran.err);
    assert!(ran.err.contains("hint: look at the token"), "{}", ran.err);
    let ran = fixture.run("token rotate revoked");
    let why = "error: the token is revoked; that is final\n  reason: ERROR_REASON_TOKEN_OVER\n";
    assert_eq!((ran.code, ran.err.as_str()), (5, why));
    let ran = fixture.run("token rotate in-grace");
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("hint: rotate once"), "{}", ran.err);
}

#[test]
fn limits_are_told_where_they_stand() {
    let fixture = Fixture::new();
    let reset = "limit       api: 5 of 5 left\nquota_left  100\n";
    assert_eq!(fixture.run("token reset-limits limited").out, reset);
    let none = fixture.run("token reset-limits x");
    assert_eq!(
        (none.code, none.out.as_str()),
        (0, "the token has no limits\n")
    );
    let told = json(&fixture.run("token reset-limits limited --json").out);
    assert_eq!(told["rateLimits"][0]["resetAfter"], "0s");
    assert_eq!(told["quotaRemaining"], "100");
    let got = fixture.run("token get limited").out;
    for line in [
        "rate_limits     api=5/1m\n",
        "quota           100,left=95\n",
        "limit           api: 0 of 5 left, all again in 1m, try again in 12s\n",
    ] {
        assert!(got.contains(line), "{line}: {got}");
    }
}

#[test]
fn create_grants_limits() {
    let fixture = Fixture::new();
    let ran =
        fixture.run("token create --rate-limit 100/1m --rate-limit b=9/1h --quota 5/30d,left=2");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (_, _, message) = fixture.asked().remove(0);
    for part in [
        "requests: 100, period: Some(Duration { seconds: 60, nanos: 0 })",
        r#"name: "b", requests: 9"#,
        "limit: 5, remaining: 2, period: Some(Duration { seconds: 2592000, nanos: 0 })",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn validate_asks_for_a_cost_and_tells_what_is_left() {
    let fixture = Fixture::new();
    let ran = fixture.run(&format!(
        "token validate {SECRET} --cost 2 --dry-run --strong"
    ));
    assert_eq!(ran.code, 0, "{}", ran.err);
    for line in [
        "limit          api: 3 of 5 left, all again in 24s\n",
        "quota_left     98\n",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let (_, _, message) = fixture.asked().remove(0);
    let asked = "cost: Some(2), dry_run: true, consistency: 1";
    assert!(message.contains(asked), "{message}");
    let ran = fixture.run(&format!("token validate {SECRET} --cost 6"));
    assert_eq!(
        (ran.code, ran.out.lines().next()),
        (1, Some("RATE_LIMITED"))
    );
    assert!(
        ran.out.contains("a cost of 6 never passes\n"),
        "{}",
        ran.out
    );
    fixture.run(&format!("token validate {SECRET}"));
    let (_, _, message) = fixture.asked().remove(2);
    let plain = "cost: None, dry_run: false, consistency: 0";
    assert!(message.contains(plain), "{message}");
}
