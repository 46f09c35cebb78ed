//! Whatever becomes of a flush, what was counted is in the store once, or known to be lost.

use std::collections::{HashMap, VecDeque};
use std::future::pending;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{
    Book, Counts, Hour, Judged, Ledger, Outcome, Subject, Summary, TOKENS_MAX,
};
use crate::domain::verdict::Verdict;
use crate::store::usage::InForce;

use super::super::End;

/// What becomes of a flush.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Fails,
    /// It arrives, and nobody is told.
    Unclear,
    /// The same, of half of its subjects.
    Half,
    /// It arrives, and no answer comes.
    Hangs,
}

/// A store of ledgers, with the fates of the next flushes.
#[derive(Default)]
struct Ledgers {
    kept: Mutex<HashMap<Subject, Ledger>>,
    marks: Mutex<Vec<Mark>>,
    fates: Mutex<VecDeque<Fate>>,
    came: Notify,
}

impl Ledgers {
    fn with(fates: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        Arc::new(Self {
            fates: Mutex::new(fates.into_iter().collect()),
            ..Self::default()
        })
    }

    fn of(&self, subject: &Subject) -> Ledger {
        let kept = self.kept.lock().unwrap();
        kept.get(subject).cloned().unwrap_or_default()
    }

    fn total(&self, subject: &Subject) -> u64 {
        self.of(subject).total.requests()
    }
}

#[async_trait]
impl UsageStore for Ledgers {
    async fn add_usage(&self, flush: &Flush) -> Result<(), StoreError> {
        let fate = self.fates.lock().unwrap().pop_front();
        let fate = fate.unwrap_or(Fate::Arrives);
        self.marks.lock().unwrap().push(flush.mark);
        let arriving = match fate {
            Fate::Fails => 0,
            Fate::Half => flush.gains.len() / 2,
            Fate::Arrives | Fate::Unclear | Fate::Hangs => flush.gains.len(),
        };
        for (subject, gain) in flush.gains.iter().take(arriving) {
            let mut kept = self.kept.lock().unwrap();
            let ledger = kept.entry(subject.clone()).or_default();
            ledger.add(flush.mark, gain.clone());
        }
        self.came.notify_one();
        match fate {
            Fate::Arrives => Ok(()),
            Fate::Hangs => pending().await,
            Fate::Fails | Fate::Unclear | Fate::Half => {
                Err(StoreError::Unreachable("gone".to_owned()))
            }
        }
    }

    async fn usage(&self, _: &Subject, _: Hour) -> Result<Book, StoreError> {
        Err(StoreError::Closed)
    }

    async fn summaries(&self, _: &[TokenId], _: Hour) -> Result<Vec<Summary>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn standing(
        &self,
        _: Option<&Namespace>,
        _: Timestamp,
        _: usize,
    ) -> Result<InForce, StoreError> {
        Err(StoreError::Closed)
    }
}

fn flushing(store: &Arc<Ledgers>) -> Flushing {
    let recorder = Arc::new(Recorder::new(Arc::new(Metrics::new([]))));
    Flushing::new(recorder, store.clone(), Duration::from_secs(1)).unwrap()
}

fn token(number: u32) -> TokenId {
    TokenId::parse(&format!("{number:022}")).unwrap()
}

fn shop() -> Subject {
    Subject::Namespace(Namespace::fallback())
}

fn judged(verdict: Verdict) -> Judged<'static> {
    Judged {
        at: Timestamp::from_micros(3_600_000_000),
        verdict,
        cost: 1,
        secret_version: 1,
        validation_id: "v",
        method: "GET",
        path: "/a",
        client: None,
        user_agent: "",
    }
}

fn note(flushing: &Flushing, number: u32, times: u32) {
    for _ in 0..times {
        let recorder = &flushing.recorder;
        recorder.note(
            token(number),
            Namespace::fallback().as_str(),
            &judged(Verdict::Valid),
        );
    }
}

fn end(number: u32, validation_id: Option<&str>) -> End {
    End {
        token: token(number),
        namespace: Namespace::fallback(),
        at: Timestamp::from_micros(3_600_000_000),
        validation_id: validation_id.map(str::to_owned),
        method: "GET".to_owned(),
        path: "/a".to_owned(),
        outcome: Outcome {
            verdict: validation_id.map(|_| Verdict::Valid),
            status: Some(500),
            ..Outcome::default()
        },
        client: "192.0.2.1".parse().ok(),
    }
}

#[tokio::test]
async fn what_is_counted_is_kept_of_the_token_and_of_its_namespace() {
    let store = Ledgers::with([]);
    let flushing = flushing(&store);
    note(&flushing, 1, 3);
    note(&flushing, 2, 2);
    let unknown = judged(Verdict::NotFound);
    flushing
        .recorder
        .note_unknown(Namespace::fallback().as_str(), &unknown);
    assert_eq!(flushing.flush().await, Ok(true));
    assert_eq!(flushing.flush().await, Ok(false), "there is nothing more");
    let own = store.of(&Subject::Token(token(1)));
    assert_eq!((own.total.requests(), own.recent.len()), (3, 3));
    let whole = store.of(&shop());
    assert_eq!(whole.total.requests(), 6);
    assert_eq!(whole.total.of(Verdict::NotFound), 1);
    let used = &whole.open[&Hour::from_number(1)];
    let mut tokens: Vec<_> = used.tokens.as_ref().unwrap().read().0.cloned().collect();
    tokens.sort_by_key(|(id, _)| *id);
    let valid = |requests| Counts::of_parts([(Verdict::Valid, requests)], requests, None);
    assert_eq!(tokens, [(token(1), valid(3)), (token(2), valid(2))]);
    assert_eq!(used.endpoints.read().0.next().unwrap().1, valid(5));
    assert!(used.versions.is_empty() && used.clients.is_empty() && whole.recent.is_empty());
}

#[tokio::test]
async fn a_flush_whose_fate_is_unknown_counts_once_and_comes_before_what_follows() {
    let store = Ledgers::with([Fate::Fails, Fate::Half, Fate::Unclear, Fate::Half]);
    let flushing = flushing(&store);
    (1..=20).for_each(|number| note(&flushing, number, 1));
    for _ in 0..4 {
        assert!(flushing.flush().await.is_err());
        // Meanwhile it goes on.
        note(&flushing, 1, 1);
    }
    assert_eq!(flushing.flush().await, Ok(true));
    assert_eq!(store.total(&shop()), 20);
    assert_eq!(flushing.flush().await, Ok(true));
    assert_eq!(store.total(&shop()), 24);
    assert_eq!(store.total(&Subject::Token(token(1))), 5);
    assert_eq!(store.total(&Subject::Token(token(2))), 1);
    let sent: Vec<u64> = store
        .marks
        .lock()
        .unwrap()
        .iter()
        .map(|m| m.sequence)
        .collect();
    assert_eq!(sent, [1, 1, 1, 1, 1, 2]);
    assert_eq!(flushing.metrics.usage.lost.get(), 0);
}

#[tokio::test]
async fn what_is_cut_is_neither_lost_nor_counted_twice() {
    let store = Ledgers::with([Fate::Hangs]);
    let flushing = Arc::new(flushing(&store));
    note(&flushing, 1, 5);
    let cut = tokio::spawn({
        let flushing = flushing.clone();
        async move { flushing.flush().await }
    });
    store.came.notified().await;
    cut.abort();
    assert!(cut.await.unwrap_err().is_cancelled());
    note(&flushing, 1, 2);
    flushing.finish(Duration::from_secs(60)).await;
    assert_eq!(store.total(&Subject::Token(token(1))), 7);
    assert_eq!(store.total(&shop()), 7);
}

#[tokio::test]
async fn gains_that_were_cut_while_they_were_made_are_made_to_their_end() {
    let store = Ledgers::with([]);
    let flushing = flushing(&store);
    let tokens = 3 * MADE_AT_ONCE as u32;
    (0..tokens).for_each(|number| note(&flushing, number, 1));
    for _ in 0..2 {
        // It gives way after some tokens, and is dropped then.
        tokio::select! {
            biased;
            _ = flushing.flush() => panic!("it does not give way"),
            () = std::future::ready(()) => {}
        }
    }
    flushing.finish(Duration::from_secs(60)).await;
    assert_eq!(store.total(&shop()), u64::from(tokens));
}

#[tokio::test]
async fn what_cannot_be_added_before_the_end_is_told_as_lost() {
    let store = Ledgers::with([Fate::Fails, Fate::Hangs]);
    let flushing = flushing(&store);
    note(&flushing, 1, 5);
    flushing.flush().await.unwrap_err();
    note(&flushing, 2, 2);
    flushing.finish(Duration::from_millis(200)).await;
    assert_eq!(flushing.metrics.usage.lost.get(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_given_up_in_the_end_and_the_next_one_arrives() {
    let store = Ledgers::with([Fate::Fails, Fate::Fails]);
    let flushing = flushing(&store);
    note(&flushing, 1, 5);
    flushing.flush().await.unwrap_err();
    tokio::time::advance(TRIED_FOR).await;
    note(&flushing, 1, 1);
    assert_eq!(flushing.flush().await, Ok(true));
    assert_eq!(flushing.metrics.usage.lost.get(), 5);
    assert_eq!(flushing.flush().await, Ok(true));
    assert_eq!(store.total(&shop()), 1);
    assert_eq!(store.marks.lock().unwrap().last().unwrap().sequence, 2);
}

#[tokio::test(start_paused = true)]
async fn it_flushes_by_itself_and_tries_again() {
    let store = Ledgers::with([Fate::Unclear, Fate::Fails]);
    let flushing = Arc::new(flushing(&store));
    let keeping = tokio::spawn(flushing.clone().keep());
    note(&flushing, 1, 4);
    for _ in 0..3 {
        store.came.notified().await;
    }
    assert_eq!(store.total(&shop()), 4);
    keeping.abort();
}

#[tokio::test]
async fn how_requests_ended_is_counted_beside_them() {
    let store = Ledgers::with([]);
    let flushing = flushing(&store);
    note(&flushing, 1, 2);
    flushing.recorder.note_end(end(1, Some("v1"))).await;
    flushing.recorder.note_end(end(1, None)).await;
    flushing.recorder.note_end(end(2, None)).await;
    flushing.finish(Duration::from_secs(60)).await;
    let own = store.of(&Subject::Token(token(1)));
    assert_eq!(own.total.requests(), 2);
    assert_eq!((own.total.successful(), own.total.failed()), (1, 2));
    assert_eq!(own.ended.len(), 1, "of what nobody judged, none is joined");
    let used = &own.open[&Hour::from_number(1)];
    let (mut clients, _) = used.clients.read();
    assert_eq!(clients.next().unwrap().1.requests, 1);
    let whole = store.of(&shop());
    assert_eq!(whole.total.completed().unwrap().requests, 3);
    let rows = whole.open[&Hour::from_number(1)]
        .tokens
        .as_ref()
        .unwrap()
        .read()
        .0
        .count();
    assert_eq!(rows, 2, "one for each token");
}

#[tokio::test]
async fn of_many_tokens_the_busiest_have_rows_and_the_sum_is_right() {
    let store = Ledgers::with([]);
    let flushing = flushing(&store);
    let tokens = TOKENS_MAX as u32 + 50;
    (1..=tokens).for_each(|number| note(&flushing, number, number.min(60)));
    flushing.finish(Duration::from_secs(60)).await;
    let all: u64 = (1..=u64::from(tokens)).map(|number| number.min(60)).sum();
    let whole = store.of(&shop());
    assert_eq!(whole.total.requests(), all);
    let used = &whole.open[&Hour::from_number(1)];
    let (rows, other) = used.tokens.as_ref().unwrap().read();
    let rows: Vec<u64> = rows.map(|(_, counts)| counts.requests()).collect();
    assert_eq!(rows.len(), TOKENS_MAX);
    assert_eq!(rows.iter().sum::<u64>() + other.requests(), all);
    assert!(rows.iter().all(|requests| *requests > 50));
}
