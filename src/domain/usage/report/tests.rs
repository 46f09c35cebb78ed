//! What is told of a window, from what is open, closed, or only a sum any more.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::domain::token::tests::at;
use crate::domain::usage::{Ended, Gain, Judged, Ledger, Mark};
use crate::domain::verdict::Verdict;

const HOUR: u64 = 3600;
const NOW: u64 = 100 * 24 * HOUR + 1800;

fn keeping() -> Keeping {
    Keeping::default()
}

fn window(hours: u64) -> Window {
    Window::of(at(NOW), Duration::from_secs(hours * HOUR)).unwrap()
}

/// One request each so many hours ago, all of them in a ledger.
fn ledger_of(ago: &[u64]) -> Ledger {
    let mut ledger = Ledger::default();
    for (number, hours) in ago.iter().enumerate() {
        let second = NOW - hours * HOUR;
        let path = format!("/{hours}");
        let judged = Judged {
            at: at(second),
            verdict: Verdict::Valid,
            cost: 2,
            secret_version: 1,
            validation_id: "v",
            method: "GET",
            path: &path,
            client: Some(IpAddr::from([192, 0, 2, 1])),
            user_agent: "",
        };
        let mut used = Use::default();
        used.note(&judged);
        let gain = Gain {
            hours: vec![(Hour::of(at(second)), used)],
            recent: [Recent::of(&judged, None)].into(),
            ..Gain::default()
        };
        let mark = Mark {
            process: 1,
            sequence: number as u64,
        };
        assert!(ledger.add(mark, gain));
    }
    ledger
}

/// The same, with what is over put beside it, as a store does.
fn closed(mut ledger: Ledger) -> Book {
    let over = ledger.clone();
    let now = Hour::of(at(NOW));
    let mut closed = ledger.close(now, &keeping());
    closed = closed.split_off(&keeping().first_hour(now));
    let mut days = BTreeMap::<Day, Counts>::new();
    for (hour, used) in over.open {
        if !ledger.open.contains_key(&hour) {
            days.entry(hour.day())
                .or_default()
                .add(used.counts.without_times());
        }
    }
    Book {
        ledger,
        closed,
        days,
    }
}

fn requests(book: &Book, hours: u64) -> u64 {
    Report::of(book, window(hours), &keeping())
        .totals
        .requests()
}

#[test]
fn a_window_begins_with_the_hour_that_holds_its_beginning_and_shows_empty_hours() {
    let book = Book {
        ledger: ledger_of(&[0, 23, 24, 25]),
        ..Book::default()
    };
    let report = Report::of(&book, window(24), &keeping());
    assert_eq!(report.totals.requests(), 3);
    assert_eq!(report.hourly.len(), 25);
    let of_hours: Vec<u64> = report
        .hourly
        .iter()
        .map(|(_, counts)| counts.requests())
        .collect();
    assert_eq!(
        (of_hours[0], of_hours[1], of_hours[2], of_hours[24]),
        (1, 1, 0, 1)
    );
}

#[test]
fn it_is_the_same_whether_hours_are_open_or_closed() {
    let ago = [0, 1, 2, 30, 30, 24 * 20, 24 * 34];
    let open = Book {
        ledger: ledger_of(&ago),
        ..Book::default()
    };
    let closed = closed(ledger_of(&ago));
    assert!(closed.closed.len() > 3 && closed.ledger.open.len() == 2);
    for hours in [1, 24, 24 * 7, 24 * 35] {
        let [one, other] = [&open, &closed].map(|book| Report::of(book, window(hours), &keeping()));
        assert_eq!(one, other, "{hours}");
    }
}

#[test]
fn sums_of_days_go_on_where_hours_are_kept_no_longer() {
    let ago = [0, 24 * 36, 24 * 36 + 1, 24 * 60, 24 * 99];
    let book = closed(ledger_of(&ago));
    assert_eq!(book.closed.len(), 0);
    assert_eq!(requests(&book, 24 * 35), 1);
    assert_eq!(requests(&book, 24 * 40), 3);
    assert_eq!(requests(&book, 24 * 90), 4);
    let open = Book {
        ledger: ledger_of(&ago),
        ..Book::default()
    };
    assert_eq!(requests(&open, 24 * 90), 4);
}

#[test]
fn the_busiest_rows_come_first_and_the_rest_is_one() {
    let mut used = Use::default();
    for number in 0..60_u64 {
        for (times, path) in [
            (number + 1, format!("/a{number}")),
            (1, format!("/b{number}")),
        ] {
            let outcome = Outcome::default();
            (0..times).for_each(|_| used.note_end("GET", &path, &outcome));
        }
    }
    let mut book = Book::default();
    book.closed.insert(Hour::of(at(NOW)), used);
    let report = Report::of(&book, window(1), &keeping());
    let ends = |counts: &Counts| counts.completed().map_or(0, |ends| ends.requests);
    let told: u64 = report
        .endpoints
        .iter()
        .map(|(_, counts)| ends(counts))
        .sum();
    assert_eq!(told, 60 * 61 / 2 + 60);
    assert!(report.endpoints.len() <= Report::ROWS_MAX + 1);
    let sorted = report
        .endpoints
        .iter()
        .filter(|(endpoint, _)| endpoint.is_some());
    assert!(sorted.is_sorted_by_key(|(_, counts)| std::cmp::Reverse(counts.weight())));
}

#[test]
fn the_last_requests_are_told_with_how_they_ended() {
    let mut ledger = ledger_of(&[1, 0]);
    let outcome = Outcome {
        verdict: Some(Verdict::Valid),
        status: Some(502),
        ..Outcome::default()
    };
    ledger.ended.push_back(Ended {
        at: at(NOW),
        validation_id: "v".to_owned(),
        outcome,
    });
    let book = Book {
        ledger,
        ..Book::default()
    };
    let report = Report::of(&book, window(24), &keeping());
    let told: Vec<_> = report
        .recent
        .iter()
        .map(|(recent, end)| (recent.path(), *end))
        .collect();
    assert_eq!(told, [("/0", Some(outcome)), ("/1", Some(outcome))]);
}

#[test]
fn a_window_of_nothing_or_beyond_ten_years_is_refused() {
    for span in [Duration::ZERO, Window::MAX + Duration::from_secs(1)] {
        assert!(Window::of(at(NOW), span).is_err(), "{span:?}");
    }
}
