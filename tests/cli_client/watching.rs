//! Watching at the command line.

use super::canned::ID;
use super::json;
use super::program::Fixture;

#[test]
fn watch_prints_a_line_for_each_event_and_goes_on_over_a_new_connection() {
    let fixture = Fixture::new();
    let ran = fixture.run("watch --namespace shop --type revoked --type lease-expired");
    let expected = format!(
        "2023-11-14T22:13:20.005Z  created        default  {ID}  ci\n\
         2023-11-14T22:13:20.005Z  revoked        default  {ID}  ci  lost\n\
         2023-11-14T22:13:20.005Z  lease-expired  default  {ID}  ci  w1\n"
    );
    assert_eq!(ran.out, expected, "{}", ran.err);
    // Events are missing from there on: nobody goes on as if they were not.
    assert_eq!(ran.code, 7, "{}", ran.err);
    for told in ["the last cursor was c4", "too late", "EVENTS_DROPPED"] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
    let asked = fixture.asked();
    let messages: Vec<&str> = asked.iter().map(|(_, _, said)| said.as_str()).collect();
    assert!(messages[0].contains(r#"namespace: "shop""#), "{messages:?}");
    assert!(
        messages[0].contains("types: [Revoked, LeaseExpired]"),
        "{messages:?}"
    );
    assert!(messages[1].contains(r#"cursor: "c3""#), "{messages:?}");
    assert!(asked.iter().all(|(_, timeout, _)| timeout.is_none()));
}

#[test]
fn watch_prints_json_line_by_line() {
    let fixture = Fixture::new();
    let ran = fixture.run("watch --json");
    let events: Vec<_> = ran.out.lines().map(json).collect();
    let cursors: Vec<_> = events.iter().map(|event| &event["cursor"]).collect();
    assert_eq!(cursors, ["c1", "c2", "c4"]);
    assert_eq!(events[1]["type"], "EVENT_TYPE_REVOKED");
    assert_eq!(events[1]["token"]["tokenId"], ID);
}

#[test]
fn what_is_wrong_at_the_beginning_is_not_tried_again() {
    let fixture = Fixture::new();
    let ran = fixture.run("watch --cursor old");
    assert_eq!((ran.code, ran.out.as_str()), (7, ""), "{}", ran.err);
    assert_eq!(fixture.asked().len(), 1);
    let ran = fixture.run("watch --type gone");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("created, updated"), "{}", ran.err);
}
