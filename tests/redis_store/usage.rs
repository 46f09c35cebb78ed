//! Usage: that nothing counts twice or is lost, whoever folds, gives up or dies; and what it takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_authority::clock::{Clock, ManualClock};
use token_authority::domain::name::Namespace;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Token, TokenId};
use token_authority::domain::usage::{Book, Gain, Hour, Keeping, Mark, Subject, Summary};
use token_authority::store::redis::{RedisOptions, RedisStore};
use token_authority::store::usage::{Flush, encode_gain};
use token_authority::store::{StoreError, TokenStore, UsageStore};
use tokio::task::JoinSet;

use crate::kit::{Log, created, marked_server, open};
use crate::support::drafts::{draft, willing};
use crate::support::gains::{gain, gain_of, mark, recent};
use crate::support::redis_server::RedisServer;

/// 2023-11-14T22:00:00Z.
const NOON: Hour = Hour::from_number(472_222);
const HOUR: Duration = Duration::from_secs(3600);

/// A server whose clock stands where nearly all hours of these tests are over.
async fn bench() -> (RedisServer, RedisOptions, Arc<ManualClock>) {
    let (server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(NOON.begin()));
    options.clock = Some(clock.clone());
    (server, options, clock)
}

/// A store that folds with each gain.
async fn folding(options: &RedisOptions) -> RedisStore {
    open(options.clone()).await.with_ledgers_folded_every(1)
}

/// A store that does not fold what these tests add.
async fn plain(options: &RedisOptions) -> RedisStore {
    let store = open(options.clone()).await;
    store.with_ledgers_folded_every(u64::MAX)
}

fn flush(mark: Mark, gains: impl IntoIterator<Item = (Subject, Gain)>) -> Flush {
    let gains = gains.into_iter().collect();
    Flush { mark, gains }
}

async fn add(store: &RedisStore, mark: Mark, gains: impl IntoIterator<Item = (Subject, Gain)>) {
    store.add_usage(&flush(mark, gains)).await.unwrap();
}

async fn book(store: &RedisStore, subject: &Subject) -> Book {
    store.usage(subject, NOON.before(24 * 40)).await.unwrap()
}

/// All requests of a subject, which must be the same whichever way they are counted.
fn requests(book: &Book) -> u64 {
    let by_hour: u64 = (NOON.before(24 * 40).number()..=NOON.number() + 2)
        .map(|hour| book.hour(Hour::from_number(hour)).counts.requests())
        .sum();
    let of_days: u64 = book.days.values().map(|day| day.requests()).sum();
    let open = book.ledger.open.values();
    let open: u64 = open.map(|used| used.counts.requests()).sum();
    let total = book.ledger.total.requests();
    assert_eq!((by_hour, of_days + open), (total, total), "{book:?}");
    total
}

async fn total(store: &RedisStore, subject: &Subject) -> u64 {
    requests(&book(store, subject).await)
}

fn of(token: &Token) -> Subject {
    Subject::Token(token.id)
}

fn ledger_key(id: TokenId) -> String {
    format!("ta:{{{}}}:u:{}", id.tag(), id.after_tag())
}

async fn keys_of_use(server: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = server.ask(&["KEYS", "ta:*:u:*"]).await;
    let days: Vec<String> = server.ask(&["KEYS", "ta:*:y:*"]).await;
    keys.extend(days);
    keys
}

#[tokio::test]
async fn a_flush_that_is_sent_again_wholly_or_in_part_counts_once() {
    let (_server, options, _clock) = bench().await;
    for store in [plain(&options).await, folding(&options).await] {
        let mut tokens = Vec::new();
        for _ in 0..3 {
            tokens.push(created(&store, draft()).await);
        }
        let all = || tokens.iter().map(|token| gain_of(token.id, &[NOON]));
        add(&store, mark(1), all().take(2)).await;
        add(&store, mark(1), all()).await;
        add(&store, mark(1), all().skip(1)).await;
        for token in &tokens {
            assert_eq!(total(&store, &of(token)).await, 1);
        }
        add(&store, mark(2), all()).await;
        add(&store, mark(1), all()).await;
        let other = Mark {
            process: 2,
            sequence: 1,
        };
        add(&store, other, all()).await;
        for token in &tokens {
            assert_eq!(total(&store, &of(token)).await, 3);
        }
    }
}

#[tokio::test]
async fn a_large_flush_is_added_whole_in_bounded_parts() {
    let (_server, options, _clock) = bench().await;
    let store = plain(&options).await;
    let spaces = (0..1000).map(|n| Namespace::parse(&format!("n{n}")).unwrap());
    let subjects: Vec<_> = spaces.map(Subject::Namespace).collect();
    let gains = subjects
        .iter()
        .map(|subject| (subject.clone(), gain(&[NOON])));
    let before = store.round_trips();
    add(&store, mark(1), gains).await;
    let trips = store.round_trips() - before;
    assert!((4..20).contains(&trips), "{trips}");
    for subject in subjects {
        assert_eq!(total(&store, &subject).await, 1);
    }
}

/// Adds so many gains of one request each, the hours of which go round.
async fn add_many(store: Arc<RedisStore>, process: u64, subject: Subject, count: u64) {
    for sequence in 1..=count {
        let hour = NOON.before(u32::try_from(sequence * 7 % 100).unwrap());
        let mark = Mark { process, sequence };
        add(&store, mark, [(subject.clone(), gain(&[hour]))]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_reads_while_many_add_and_fold_sees_each_request_once() {
    const COUNT: u64 = 60;
    let (_server, options, _clock) = bench().await;
    let store = Arc::new(folding(&options).await);
    let token = created(&store, draft()).await;
    let subject = of(&token);
    let mut writers = JoinSet::new();
    for process in 1..=3 {
        let store = Arc::new(folding(&options).await);
        writers.spawn(add_many(store, process, subject.clone(), COUNT));
    }
    let over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, subject, over) = (store.clone(), subject.clone(), over.clone());
        async move {
            let (mut seen, mut reads) = (0, 0_u64);
            while !over.load(Ordering::Relaxed) {
                match store.usage(&subject, NOON.before(24 * 40)).await {
                    Ok(book) => {
                        let now = requests(&book);
                        assert!(now >= seen, "{now} after {seen}");
                        seen = now;
                        reads += 1;
                    }
                    // As many folded meanwhile as nobody does outside of tests.
                    Err(StoreError::Contended(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            reads
        }
    });
    writers.join_all().await;
    over.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    assert_eq!(total(&store, &subject).await, 3 * COUNT);
    // As another process finds it.
    assert_eq!(total(&plain(&options).await, &subject).await, 3 * COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_is_given_up_at_any_point_is_added_once_when_it_is_sent_again() {
    let (_server, options, _clock) = bench().await;
    let store = folding(&options).await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(created(&store, draft()).await);
    }
    let hours = [NOON.before(30), NOON.before(2), NOON];
    for sequence in 1..=40 {
        let gains = tokens.iter().map(|token| gain_of(token.id, &hours));
        let flush = flush(mark(sequence), gains);
        for microseconds in [sequence * 20, sequence * 70, sequence * 150] {
            let patience = Duration::from_micros(microseconds);
            let _ = tokio::time::timeout(patience, store.add_usage(&flush)).await;
        }
        store.add_usage(&flush).await.unwrap();
    }
    for token in &tokens {
        assert_eq!(total(&store, &of(token)).await, 3 * 40);
    }
}

#[tokio::test]
async fn closed_hours_go_by_themselves_and_days_with_the_last_that_is_kept() {
    let (server, mut options, clock) = bench().await;
    options.keeping = Keeping {
        hours: 36 * HOUR,
        days: 10 * 24 * HOUR,
    };
    let store = folding(&options).await;
    let token = created(&store, draft()).await;
    let old = NOON.before(24 * 9);
    let hours = [old, NOON.before(24 * 20), NOON.before(5), NOON];
    add(&store, mark(1), [gain_of(token.id, &hours)]).await;
    let kept = book(&store, &of(&token)).await;
    assert_eq!(kept.ledger.total.requests(), 4);
    assert_eq!(Vec::from_iter(kept.closed.keys()), [&NOON.before(5)]);
    assert_eq!(
        Vec::from_iter(kept.days.keys()),
        [&old.day(), &NOON.before(5).day()]
    );
    let day = NOON.before(5).day();
    let key = format!("{}:{}", ledger_key(token.id), day.number());
    let left: i64 = server.ask(&["PTTL", &key]).await;
    // From the end of the day for 36 hours, and for a day more.
    let ended = i64::from(NOON.number()) - i64::from(day.begin().number()) - 24;
    let expected = (36 + 24 - ended) * 3_600_000;
    assert!((expected - 60_000..=expected).contains(&left), "{left}");
    for key in [
        ledger_key(token.id),
        ledger_key(token.id).replace(":u:", ":y:"),
    ] {
        let left: i64 = server.ask(&["PTTL", &key]).await;
        assert_eq!(left, -1, "{key}");
    }
    clock.advance(2 * 24 * HOUR);
    let days = [NOON.before(5).day(), NOON.day()].map(|day| (day, ()));
    let days: Vec<_> = BTreeMap::from(days).into_keys().collect();
    // Whether an addition is followed by folding is drawn by lot.
    for sequence in 2..200 {
        add(&store, mark(sequence), [gain_of(token.id, &[NOON])]).await;
        let kept = book(&store, &of(&token)).await.days;
        if kept.keys().eq(&days) {
            return;
        }
    }
    panic!("a day is kept for too long");
}

#[tokio::test]
async fn an_hour_that_was_closed_takes_what_is_told_late() {
    let (_server, options, _clock) = bench().await;
    let store = folding(&options).await;
    let token = created(&store, draft()).await;
    let late = NOON.before(9);
    for sequence in 1..=5 {
        add(&store, mark(sequence), [gain_of(token.id, &[late])]).await;
        let kept = book(&store, &of(&token)).await;
        assert_eq!(kept.closed[&late].counts.requests(), sequence);
        assert!(kept.ledger.open.is_empty());
        assert_eq!(requests(&kept), sequence);
    }
}

#[tokio::test]
async fn what_is_told_of_a_token_that_is_gone_leaves_nothing() {
    let (server, options, clock) = bench().await;
    let store = plain(&options).await;
    let token = created(&store, draft()).await;
    let never = draft().id;
    add(&store, mark(1), [gain_of(token.id, &[NOON])]).await;
    assert_eq!(keys_of_use(&server).await, [ledger_key(token.id)]);
    store.delete(token.id, willing()).await.unwrap();
    assert_eq!(keys_of_use(&server).await, [""; 0]);
    let late = || [token.id, never].map(|id| gain_of(id, &[NOON]));
    add(&store, mark(2), late()).await;
    assert_eq!(keys_of_use(&server).await, [""; 0]);
    assert_eq!(book(&store, &of(&token)).await, Book::default());
    // An attempt that failed may have come as far as this.
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = store.add_usage(&flush(mark(3), late())).await;
    assert!(
        matches!(refused, Err(StoreError::ReadOnly(_))),
        "{refused:?}"
    );
    let () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let (_, gain) = gain_of(token.id, &[NOON]);
    let mut append = redis::cmd("APPEND");
    append
        .arg(ledger_key(token.id))
        .arg(encode_gain(mark(3), &gain));
    let _: u64 = append
        .query_async(&mut server.connection().await)
        .await
        .unwrap();
    add(&store, mark(3), late()).await;
    assert_eq!(keys_of_use(&server).await, [""; 0]);
    // A token that comes to be under the same id, once its deletion is forgotten, begins anew.
    clock.advance(HOUR);
    let again = token_authority::domain::token::Draft {
        id: token.id,
        ..draft()
    };
    created(&store, again).await;
    add(&store, mark(4), [gain_of(token.id, &[NOON])]).await;
    assert_eq!(total(&store, &of(&token)).await, 1);
}

#[tokio::test]
async fn a_deleted_token_takes_its_ledger_its_days_and_its_hours_along() {
    let (server, options, _clock) = bench().await;
    let store = folding(&options).await;
    let token = created(&store, draft()).await;
    let hours = [NOON.before(24 * 30), NOON.before(4), NOON];
    add(&store, mark(1), [gain_of(token.id, &hours)]).await;
    assert_eq!(keys_of_use(&server).await.len(), 4);
    store.delete(token.id, willing()).await.unwrap();
    assert_eq!(keys_of_use(&server).await, [""; 0]);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_is_told_once_and_keeps_no_other_from_being_added() {
    let (server, options, _clock) = bench().await;
    let store = folding(&options).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(created(&store, draft()).await);
    }
    let () = server
        .ask(&["SET", &ledger_key(tokens[0].id), "\x05rubbish"])
        .await;
    let _: u64 = server.ask(&["RPUSH", &ledger_key(tokens[1].id), "x"]).await;
    let log = Log::start();
    for sequence in 1..=3 {
        let gains = tokens.iter().map(|token| gain_of(token.id, &[NOON]));
        add(&store, mark(sequence), gains).await;
    }
    assert_eq!(total(&store, &of(&tokens[2])).await, 3);
    let told = log.lines("ERROR");
    for broken in &tokens[..2] {
        let error = store.usage(&of(broken), NOON).await;
        assert!(matches!(error, Err(StoreError::Corrupt(_))), "{error:?}");
        let of_it = told.iter().filter(|line| line.contains(broken.id.as_str()));
        assert_eq!(of_it.count(), 1, "{told:?}");
    }
    let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
    let summaries = store.summaries(&ids, NOON).await.unwrap();
    let totals = summaries.iter().map(|summary| summary.requests_total);
    assert_eq!(totals.collect::<Vec<_>>(), [0, 0, 3]);
}

#[tokio::test]
async fn summaries_are_told_in_the_order_of_the_tokens_whether_they_were_used_or_not() {
    let (_server, options, _clock) = bench().await;
    let store = folding(&options).await;
    let mut tokens = Vec::new();
    for _ in 0..40 {
        tokens.push(created(&store, draft()).await.id);
    }
    for (sequence, token) in (1..).zip(&tokens[..35]) {
        let hours: Vec<_> = (0..sequence).map(|n| NOON.before(n)).collect();
        add(&store, mark(sequence.into()), [gain_of(*token, &hours)]).await;
    }
    let summaries = store.summaries(&tokens, NOON).await.unwrap();
    assert_eq!(summaries.len(), 40);
    for (n, summary) in (1..).zip(&summaries) {
        let expected = if n <= 35 { n } else { 0 };
        let told = (summary.requests_24h, summary.requests_total);
        assert_eq!(told, (expected.min(25), expected));
        assert_eq!(*summary == Summary::default(), n > 35);
    }
}

#[tokio::test]
async fn a_long_window_is_read_in_few_round_trips() {
    let (_server, options, _clock) = bench().await;
    let store = folding(&options).await;
    let token = created(&store, draft()).await;
    let hours: Vec<_> = (0..24 * 35).map(|n| NOON.before(n)).collect();
    add(&store, mark(1), [gain_of(token.id, &hours)]).await;
    let before = store.round_trips();
    let all = store
        .usage(&of(&token), NOON.before(24 * 35))
        .await
        .unwrap();
    assert!(store.round_trips() - before <= 10);
    assert_eq!(requests(&all), 24 * 35);
    let before = store.round_trips();
    let day = store.usage(&of(&token), NOON.before(24)).await.unwrap();
    assert_eq!(store.round_trips() - before, 2);
    assert_eq!(day.closed.len(), 23);
}

#[tokio::test]
async fn an_emptied_redis_is_an_error_and_keeps_no_use() {
    let (server, options, _clock) = bench().await;
    let store = plain(&options).await;
    let token = created(&store, draft()).await;
    let () = server.ask(&["DEL", "ta:store"]).await;
    let added = store
        .add_usage(&flush(mark(1), [gain_of(token.id, &[NOON])]))
        .await;
    assert!(
        matches!(added, Err(StoreError::Unacceptable(_))),
        "{added:?}"
    );
    let read = store.usage(&of(&token), NOON).await;
    assert!(matches!(read, Err(StoreError::Unacceptable(_))), "{read:?}");
}

/// Bytes of Redis that some keys take.
async fn bytes_of(server: &RedisServer, keys: &[&String]) -> u64 {
    let mut bytes = 0;
    for key in keys {
        let own: u64 = server.ask(&["MEMORY", "USAGE", key]).await;
        bytes += own;
    }
    bytes
}

#[tokio::test]
async fn a_closed_hour_takes_at_most_100_bytes_and_a_ledger_some_kilobytes() {
    const TOKENS: usize = 60;
    const FLUSHES: u64 = 300;
    let (server, options, clock) = bench().await;
    let store = open(options).await;
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        tokens.push(created(&store, draft()).await.id);
    }
    let begin: Timestamp = clock.now();
    for sequence in 1..=FLUSHES {
        let at = begin.saturating_add(Duration::from_secs(sequence * 300));
        clock.set(at);
        let gains = tokens.iter().map(|token| {
            let (subject, mut gain) = gain_of(*token, &[Hour::of(at)]);
            gain.recent.push_back(recent(at));
            (subject, gain)
        });
        add(&store, mark(sequence), gains).await;
    }
    let keys = keys_of_use(&server).await;
    let parts = |key: &&String| key.split(':').count();
    let of_hours: Vec<_> = keys.iter().filter(|key| parts(key) == 5).collect();
    let ledgers = tokens.iter().map(|token| ledger_key(*token));
    let ledgers: Vec<_> = ledgers.collect();
    // Without those that were still open then.
    let mut closed = 0;
    for token in &tokens {
        let book = store.usage(&Subject::Token(*token), NOON).await.unwrap();
        closed += book.closed.len() as u64;
    }
    assert!(closed > 15 * TOKENS as u64, "{closed}");
    let hour = bytes_of(&server, &of_hours).await / closed;
    let ledger = bytes_of(&server, &ledgers.iter().collect::<Vec<_>>()).await / TOKENS as u64;
    assert!(hour <= 100, "{hour} bytes");
    assert!(ledger <= 24 * 1024, "{ledger} bytes");
}
