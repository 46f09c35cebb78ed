//! What is told of changes and of time, and the text of cursors.

use super::*;
use crate::domain::name::Reason;
use crate::domain::token::tests::{at, draft, replaced};
use crate::domain::token::{Draft, Expiration};

const DAY: u64 = 86_400;

fn living(seconds: u64) -> Token {
    Draft {
        expiration: Expiration::After(Duration::from_secs(seconds)),
        ..draft()
    }
    .issue(at(1000))
    .unwrap()
}

#[test]
fn an_end_is_told_once_for_each_span_and_at_last_itself() {
    let (alarms, token) = (Alarms::default(), living(10 * DAY));
    let end = 1000 + 10 * DAY;
    let told: Vec<_> = alarms.due(&token, at(0), at(2 * end));
    let expected = [
        (at(end - 7 * DAY), EventKind::Expiring, DAY * 7),
        (at(end - DAY), EventKind::Expiring, DAY),
        (at(end), EventKind::Expired, 0),
    ];
    let expected = expected.map(|(time, kind, left)| (time, kind, Duration::from_secs(left)));
    assert_eq!(told, expected);
    assert_eq!(alarms.next(&token, at(1000)), Some(at(end - 7 * DAY)));
    assert_eq!(alarms.next(&token, at(end - 7 * DAY)), Some(at(end - DAY)));
    assert_eq!(alarms.next(&token, at(end)), None);
}

#[test]
fn a_span_longer_than_the_life_of_a_token_is_not_told() {
    let told = Alarms::default().due(&living(2 * DAY), at(0), at(100 * DAY));
    let kinds: Vec<_> = told.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds, [EventKind::Expiring, EventKind::Expired]);
}

#[test]
fn nothing_is_told_by_time_alone_of_a_revoked_token_or_one_without_an_end() {
    let revoked = replaced(living(10 * DAY).revoke(at(2000), Reason::default()));
    for token in [revoked, draft().issue(at(1000)).unwrap()] {
        assert_eq!(Alarms::default().due(&token, at(0), Timestamp::MAX), []);
        assert_eq!(Alarms::default().next(&token, at(0)), None);
    }
}

#[test]
fn a_change_is_told_as_what_it_is() {
    let token = living(10 * DAY);
    let mut revoked = replaced(token.revoke(at(2000), Reason::default()));
    revoked.revision += 1;
    let mut renamed = token.clone();
    renamed.revision += 1;
    let cases = [
        (None, Some(&token), Some(EventKind::Created)),
        (Some(&token), None, Some(EventKind::Deleted)),
        (Some(&token), Some(&token), None),
        (Some(&token), Some(&revoked), Some(EventKind::Revoked)),
        (Some(&token), Some(&renamed), Some(EventKind::Updated)),
        (None, None, None),
    ];
    for (before, after, expected) in cases {
        assert_eq!(of_change(before, after), expected);
    }
}

#[test]
fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
    for (major, minor) in [(0, 0), (1_790_000_000_000, 7), (u64::MAX, u64::MAX)] {
        let cursor = EventCursor { major, minor };
        assert_eq!(EventCursor::parse(&cursor.to_string()), Ok(cursor));
    }
    for text in ["", "0", "é", &"0".repeat(21), &"z".repeat(22)] {
        assert!(EventCursor::parse(text).is_err(), "{text}");
    }
}

#[test]
fn cursors_sort_as_their_texts_do() {
    let cursors = [(0, 1), (1, 0), (1, 62), (62, 0)];
    let texts = cursors.map(|(major, minor)| EventCursor { major, minor }.to_string());
    assert!(texts.is_sorted());
}
