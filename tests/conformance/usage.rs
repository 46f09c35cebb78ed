//! Usage: what is added is read again, each gain once, whenever it was folded and whoever added it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use token_authority::domain::time::Timestamp;
use token_authority::domain::token::TokenId;
use token_authority::domain::usage::{
    Ended, Gain, Hour, Judged, Keeping, Mark, Outcome, Report, Subject, TokenUse, Window,
};
use token_authority::domain::verdict::Verdict;
use token_authority::entropy;
use token_authority::store::usage::Flush;

use crate::fixture::{BEGIN, Bench};
use crate::support::drafts::{draft, ending_after, namespace, swept, willing, within};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A request as a test tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) at: Timestamp,
    pub(crate) verdict: Verdict,
    pub(crate) path: u64,
    pub(crate) client: u8,
    pub(crate) version: u32,
    /// HTTP's status, where its end was told.
    pub(crate) status: Option<u16>,
}

pub(crate) fn request(at: Timestamp) -> Request {
    Request {
        at,
        verdict: Verdict::Valid,
        path: 0,
        client: 1,
        version: 1,
        status: None,
    }
}

/// What a process counts of these.
fn gain(requests: &[Request]) -> Gain {
    let mut gain = Gain::default();
    for one in requests {
        let (id, path) = (one.at.micros().to_string(), format!("/{}", one.path));
        let mut own = TokenUse::of(namespace("default"));
        own.note(&Judged {
            at: one.at,
            verdict: one.verdict,
            cost: 2,
            secret_version: one.version,
            validation_id: &id,
            method: "GET",
            path: &path,
            client: Some(IpAddr::from([192, 0, 2, one.client])),
            user_agent: "agent/1",
        });
        let outcome = one.status.map(|status| Outcome {
            verdict: Some(one.verdict),
            status: Some(status),
            latency: Some(Duration::from_millis(u64::from(status))),
            ..Outcome::default()
        });
        if let Some(outcome) = &outcome {
            own.used.note_end("GET", &path, outcome);
        }
        let ended = outcome.map(|outcome| Ended {
            at: one.at,
            validation_id: id,
            outcome,
        });
        gain.add(Gain {
            hours: vec![(Hour::of(one.at), own.used)],
            recent: own.recent,
            ended: ended.into_iter().collect(),
        });
    }
    gain
}

/// The so-manieth flush of a process.
pub(crate) fn flush(process: u64, sequence: u64, gains: &[(&Subject, &[Request])]) -> Flush {
    let gains = gains.iter();
    Flush {
        mark: Mark { process, sequence },
        gains: gains
            .map(|(subject, requests)| ((*subject).clone(), gain(requests)))
            .collect(),
    }
}

pub(crate) async fn add(bench: &Bench, flush: &Flush) {
    bench.store.add_usage(flush).await.expect("it is added");
}

pub(crate) async fn report(bench: &Bench, subject: &Subject, span: Duration) -> Report {
    let keeping = Keeping::default();
    let window = Window::of(bench.now(), span).unwrap();
    let from = window.first_hour(&keeping);
    let book = bench.store.usage(subject, from).await;
    Report::of(&book.expect("the store answers"), window, &keeping)
}

/// How many requests a subject had within the last day, and of all times by the sum of days.
async fn counted(bench: &Bench, subject: &Subject) -> (u64, u64) {
    let day = report(bench, subject, DAY).await;
    let all = report(bench, subject, DAY * 100).await;
    (day.totals.requests(), all.totals.requests())
}

pub(crate) async fn used_token(bench: &Bench) -> (TokenId, Subject) {
    let id = bench.create(draft()).await.id;
    (id, Subject::Token(id))
}

pub(crate) async fn of_what_was_never_used_nothing_is_kept(bench: Bench) {
    let (id, subject) = used_token(&bench).await;
    let unknown = entropy::token_id().unwrap();
    let strangers = [
        subject,
        Subject::Token(unknown),
        Subject::Namespace(namespace("nowhere")),
    ];
    for stranger in &strangers {
        let book = bench.store.usage(stranger, Hour::from_number(0)).await;
        assert_eq!(book, Ok(Default::default()));
    }
    let now = Hour::of(bench.now());
    let summaries = bench.store.summaries(&[id, unknown], now).await;
    assert_eq!(summaries, Ok(vec![Default::default(); 2]));
    assert_eq!(bench.store.summaries(&[], now).await, Ok(Vec::new()));
}

pub(crate) async fn what_was_added_is_read_again(mut bench: Bench) {
    let (_, subject) = used_token(&bench).await;
    let denied = Request {
        verdict: Verdict::ScopeDenied,
        path: 1,
        client: 2,
        ..request(bench.now())
    };
    let failed = Request {
        at: Timestamp::from_micros(bench.now().micros() + 1),
        status: Some(500),
        ..request(bench.now())
    };
    add(&bench, &flush(1, 1, &[(&subject, &[denied, failed])])).await;
    let before = report(&bench, &subject, DAY).await;
    assert_eq!(before.totals.verdicts().count(), 2);
    assert_eq!((before.totals.requests(), before.totals.cost()), (2, 2));
    assert_eq!((before.totals.successful(), before.totals.failed()), (0, 2));
    assert_eq!(before.hourly.len(), 25);
    assert_eq!(before.hourly[24].1, before.totals);
    assert_eq!((before.endpoints.len(), before.clients.len()), (2, 2));
    assert_eq!(before.versions, [(1, 2)]);
    let (newest, end) = &before.recent[0];
    assert_eq!(newest.at, failed.at);
    assert_eq!(newest.user_agent(), "agent/1");
    assert_eq!(end.unwrap().status, Some(500));
    assert_eq!(before.recent[1].0.verdict, Verdict::ScopeDenied);
    bench.fold().await;
    assert_eq!(report(&bench, &subject, DAY).await, before);
    bench.store.close().await;
    bench.reopen().await;
    assert_eq!(report(&bench, &subject, DAY).await, before);
}

pub(crate) async fn a_flush_that_comes_again_counts_once(mut bench: Bench) {
    let ((_, one), (_, other)) = (used_token(&bench).await, used_token(&bench).await);
    let requests = [request(bench.now())];
    // Its first half arrived, then it came as a whole.
    let half = flush(1, 1, &[(&one, &requests)]);
    let whole = flush(1, 1, &[(&one, &requests), (&other, &requests)]);
    add(&bench, &half).await;
    for _ in 0..2 {
        add(&bench, &whole).await;
        assert_eq!(counted(&bench, &one).await, (1, 1));
    }
    bench.fold().await;
    add(&bench, &whole).await;
    assert_eq!(counted(&bench, &other).await, (1, 1));
    bench.store.close().await;
    bench.reopen().await;
    add(&bench, &whole).await;
    bench.fold().await;
    add(&bench, &flush(1, 2, &[(&one, &requests)])).await;
    assert_eq!(counted(&bench, &one).await, (2, 2));
    assert_eq!(counted(&bench, &other).await, (1, 1));
}

pub(crate) async fn what_two_processes_counted_adds_up(bench: Bench) {
    let (_, subject) = used_token(&bench).await;
    let beside = bench.beside().await;
    for sequence in 1..=3 {
        let requests = [request(bench.now())];
        add(&bench, &flush(1, sequence, &[(&subject, &requests)])).await;
        let other = flush(2, sequence, &[(&subject, &requests)]);
        beside.add_usage(&other).await.unwrap();
        // It was told that the first outcome is unclear.
        beside.add_usage(&other).await.unwrap();
        if sequence == 2 {
            bench.fold().await;
        }
    }
    assert_eq!(counted(&bench, &subject).await, (6, 6));
}

pub(crate) async fn what_comes_late_belongs_to_its_hour(bench: Bench) {
    let (_, subject) = used_token(&bench).await;
    let first = request(bench.now());
    add(&bench, &flush(1, 1, &[(&subject, &[first])])).await;
    bench.pass(HOUR * 5);
    add(&bench, &flush(1, 2, &[(&subject, &[request(bench.now())])])).await;
    // Its hour is over, and may be closed.
    bench.fold().await;
    let late = Request {
        path: 7,
        ..request(Timestamp::from_micros(BEGIN.micros() + 1))
    };
    for (sequence, expected) in [(3, 2), (4, 3)] {
        add(&bench, &flush(1, sequence, &[(&subject, &[late])])).await;
        let told = async || {
            let report = report(&bench, &subject, DAY).await;
            let hours: Vec<u64> = report.hourly[19..]
                .iter()
                .map(|(_, counts)| counts.requests())
                .collect();
            let endpoints: u64 = report.endpoints.iter().map(|row| row.1.requests()).sum();
            (hours, endpoints)
        };
        let expected = (vec![expected, 0, 0, 0, 0, 1], expected + 1);
        assert_eq!(told().await, expected);
        bench.fold().await;
        assert_eq!(told().await, expected);
    }
    assert_eq!(counted(&bench, &subject).await, (4, 4));
}

pub(crate) async fn lists_are_told_of_a_day_a_week_and_all_times(bench: Bench) {
    let (id, subject) = used_token(&bench).await;
    let (silent, _) = used_token(&bench).await;
    for days in 0..10 {
        let requests = [request(bench.now())];
        add(&bench, &flush(1, days + 1, &[(&subject, &requests)])).await;
        bench.fold().await;
        bench.pass(DAY);
    }
    // Seven hours after the last one, which was a day ago.
    let now = Hour::of(bench.now());
    let asked = [silent, id];
    let summaries = bench.store.summaries(&asked, now).await.unwrap();
    assert_eq!(summaries[0], Default::default());
    let told = &summaries[1];
    assert_eq!(
        (told.requests_24h, told.requests_7d, told.requests_total),
        (1, 7, 10)
    );
    let last = Timestamp::from_micros(bench.now().micros() - 86_400_000_000);
    assert_eq!(told.last_used_time(), Some(last));
}

pub(crate) async fn each_version_of_a_secret_has_its_last_use(bench: Bench) {
    let (id, subject) = used_token(&bench).await;
    let at = |seconds: u64| Timestamp::from_micros(BEGIN.micros() + seconds * 1_000_000);
    let of = |version, seconds, verdict| Request {
        version,
        verdict,
        ..request(at(seconds))
    };
    let passed = Verdict::Valid;
    let first = [of(1, 1, passed), of(2, 2, passed), of(0, 3, passed)];
    add(&bench, &flush(1, 1, &[(&subject, &first)])).await;
    bench.fold().await;
    // The later one was told before, and what was refused is no use.
    let second = [of(1, 5, passed), of(2, 9, Verdict::RateLimited)];
    add(&bench, &flush(2, 1, &[(&subject, &second)])).await;
    add(&bench, &flush(3, 1, &[(&subject, &[of(1, 4, passed)])])).await;
    let summaries = bench.store.summaries(&[id], Hour::of(at(9))).await.unwrap();
    let expected = BTreeMap::from([(0, at(3)), (1, at(5)), (2, at(2))]);
    assert_eq!(summaries[0].last_used, expected);
}

pub(crate) async fn the_last_requests_are_kept_in_full(bench: Bench) {
    let (_, subject) = used_token(&bench).await;
    let at = |number: u64| Timestamp::from_micros(BEGIN.micros() + number);
    for number in 0..30 {
        let one = Request {
            path: number,
            ..request(at(number))
        };
        add(&bench, &flush(1, number + 1, &[(&subject, &[one])])).await;
        if number % 7 == 0 {
            bench.fold().await;
        }
    }
    let told = report(&bench, &subject, DAY).await.recent;
    let paths: Vec<&str> = told.iter().map(|(recent, _)| recent.path()).collect();
    let expected: Vec<String> = (10..30).rev().map(|number| format!("/{number}")).collect();
    assert_eq!(paths, expected);
}

pub(crate) async fn a_token_takes_its_use_with_it(bench: Bench) {
    for (folded, vanishes) in [(false, false), (true, false), (false, true), (true, true)] {
        let draft = match vanishes {
            true => ending_after(HOUR),
            false => draft(),
        };
        let id = bench.create(draft).await.id;
        let subject = Subject::Token(id);
        let tenant = Subject::Namespace(namespace("default"));
        let requests = [request(bench.now())];
        let both: [(&Subject, &[Request]); 2] = [(&subject, &requests), (&tenant, &requests)];
        let process = u64::from(folded) * 2 + u64::from(vanishes);
        add(&bench, &flush(process, 1, &both)).await;
        let before = counted(&bench, &tenant).await;
        if folded {
            bench.pass(HOUR * 3);
            bench.fold().await;
        }
        // One that is judged meanwhile is told later.
        let late = flush(process, 2, &[(&subject, &requests)]);
        if vanishes {
            bench.pass(DAY * 2);
            assert_eq!(swept(bench.store.as_ref()).await, 1);
        } else {
            bench.store.delete(id, willing()).await.unwrap();
        }
        let from = Hour::from_number(0);
        let book = bench.store.usage(&subject, from).await;
        assert_eq!(book, Ok(Default::default()));
        add(&bench, &late).await;
        for _ in 0..2 {
            assert_eq!(
                bench.store.usage(&subject, from).await,
                Ok(Default::default())
            );
            let now = Hour::of(bench.now());
            let summaries = bench.store.summaries(&[id], now).await;
            assert_eq!(summaries, Ok(vec![Default::default()]));
            bench.fold().await;
        }
        assert_eq!(
            counted(&bench, &tenant).await.1,
            before.1,
            "its namespace keeps it"
        );
    }
}

pub(crate) async fn subjects_share_nothing(bench: Bench) {
    let (_, token) = used_token(&bench).await;
    let shop = Subject::Namespace(namespace("shop"));
    let shops = Subject::Namespace(namespace("shops"));
    bench.create(within("shop")).await;
    let requests = [request(bench.now()); 3];
    let all: [(&Subject, &[Request]); 3] = [
        (&token, &requests[..1]),
        (&shop, &requests[..2]),
        (&shops, &requests),
    ];
    add(&bench, &flush(1, 1, &all)).await;
    for _ in 0..2 {
        assert_eq!(counted(&bench, &token).await, (1, 1));
        assert_eq!(counted(&bench, &shop).await, (2, 2));
        assert_eq!(counted(&bench, &shops).await, (3, 3));
        bench.fold().await;
    }
}

pub(crate) async fn hours_are_dropped_in_time_and_days_later(bench: Bench) {
    let (_, subject) = used_token(&bench).await;
    let requests = [request(bench.now()); 2];
    add(&bench, &flush(1, 1, &[(&subject, &requests)])).await;
    bench.pass(HOUR * 4);
    bench.fold().await;
    for (days, hours, total) in [(34, 2, 2), (3, 0, 2), (300, 0, 2), (64, 0, 0)] {
        bench.pass(DAY * days);
        add(&bench, &flush(2, bench.now().micros(), &[(&subject, &[])])).await;
        bench.fold().await;
        let all = report(&bench, &subject, DAY * 3660).await;
        let detailed: u64 = all.hourly.iter().map(|(_, counts)| counts.requests()).sum();
        let told = (detailed, all.totals.requests());
        assert_eq!(told, (hours, total), "after {days} more days");
    }
}

pub(crate) async fn many_subjects_are_added_at_once(bench: Bench) {
    let mut subjects = Vec::new();
    for _ in 0..300 {
        subjects.push(used_token(&bench).await.1);
    }
    let requests = [request(bench.now())];
    let all: Vec<(&Subject, &[Request])> = subjects
        .iter()
        .map(|subject| (subject, &requests[..]))
        .collect();
    for sequence in 1..=2 {
        add(&bench, &flush(1, sequence, &all)).await;
        bench.fold().await;
    }
    for subject in &subjects {
        assert_eq!(counted(&bench, subject).await, (2, 2));
    }
}
