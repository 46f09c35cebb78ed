//! What is taken down is counted, once, whatever else happens; and what finds no room is told.

use super::*;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;
use crate::entropy;

fn recorder() -> Recorder {
    Recorder::new(Arc::new(Metrics::new([])))
}

fn judged(at: Timestamp, path: &str) -> Judged<'_> {
    Judged {
        at,
        verdict: Verdict::Valid,
        cost: 2,
        secret_version: 1,
        validation_id: "v1",
        method: "GET",
        path,
        client: "192.0.2.1".parse().ok(),
        user_agent: "curl/8",
    }
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[tokio::test]
async fn what_is_taken_down_is_counted_once() {
    let recorder = recorder();
    let (id, shop) = (entropy::token_id().unwrap(), Namespace::fallback());
    for path in ["/a", "/b", "/a"] {
        recorder.note(id, shop.as_str(), &judged(time(10), path));
    }
    recorder.note_unknown(shop.as_str(), &judged(time(3601), ""));
    let batch = recorder.count().await;
    let own = &batch.tokens[&(id, Hour::of(time(0)))];
    assert_eq!((own.used.counts.requests(), own.used.counts.cost()), (3, 6));
    assert_eq!(own.recent.len(), 3);
    assert_eq!(own.recent[0].validation_id(), "v1");
    assert_eq!(own.recent[2].path(), "/a");
    assert_eq!(own.recent[2].user_agent(), "curl/8");
    assert_eq!(batch.unknown[&(shop, Hour::of(time(3600)))].requests(), 1);
    assert_eq!(recorder.count().await, Batch::default());
    assert_eq!(recorder.metrics.usage.counted.get(), 4);
}

#[tokio::test]
async fn many_threads_lose_nothing_while_others_count() {
    const THREADS: u64 = 8;
    const EACH: u64 = 5_000;
    let recorder = Arc::new(recorder());
    let ids: Vec<TokenId> = (0..10).map(|_| entropy::token_id().unwrap()).collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (recorder, ids) = (recorder.clone(), ids.clone());
            std::thread::spawn(move || {
                for (number, id) in (0..EACH).zip(ids.iter().cycle()) {
                    recorder.note(*id, "default", &judged(time(number), "/"));
                }
            })
        })
        .collect();
    let mut counted = 0;
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        counted += recorder.count().await.requests();
    }
    counted += recorder.count().await.requests();
    assert_eq!(counted, THREADS * EACH);
    assert_eq!(recorder.metrics.usage.lost.get(), 0);
}

#[tokio::test]
async fn what_finds_no_room_is_counted_as_lost_and_there_is_room_again() {
    let recorder = recorder();
    let (id, shop) = (entropy::token_id().unwrap(), Namespace::fallback());
    let long = "/".repeat(300);
    let mut written = 0;
    while recorder.metrics.usage.lost.get() == 0 {
        recorder.note(id, shop.as_str(), &judged(time(1), &long));
        written += 1;
    }
    let batch = recorder.count().await;
    assert_eq!(batch.requests(), written - 1);
    recorder.note(id, shop.as_str(), &judged(time(1), &long));
    assert_eq!(recorder.count().await.requests(), 1);
    assert_eq!(recorder.metrics.usage.lost.get(), 1);
}

#[tokio::test]
async fn counting_that_is_cut_loses_nothing_and_counts_nothing_twice() {
    const REQUESTS: u64 = 3 * COUNTED_AT_ONCE as u64;
    let recorder = recorder();
    let (id, shop) = (entropy::token_id().unwrap(), Namespace::fallback());
    for _ in 0..REQUESTS {
        recorder.note(id, shop.as_str(), &judged(time(1), "/a"));
    }
    for cut in 1..=2 {
        // It gives way after some requests, and is dropped then.
        tokio::select! {
            biased;
            _ = recorder.count() => panic!("it does not give way"),
            () = std::future::ready(()) => {}
        }
        let counted = recorder.metrics.usage.counted.get();
        assert_eq!(counted, cut * COUNTED_AT_ONCE as u64);
    }
    recorder.note(id, shop.as_str(), &judged(time(1), "/a"));
    assert_eq!(recorder.count().await.requests(), REQUESTS + 1);
}

#[test]
fn a_batch_holds_so_many_tokens_and_goes_on_with_those() {
    let (mut batch, shop) = (Batch::default(), Namespace::fallback());
    let hour = Hour::of(time(1));
    let token = |number: usize| TokenId::parse(&format!("{number:022}")).unwrap();
    for number in 0..room::TOKENS_MAX {
        assert!(batch.of(token(number), &shop, hour, 0).is_some());
    }
    assert!(batch.of(token(room::TOKENS_MAX), &shop, hour, 0).is_none());
    assert!(batch.of(token(7), &shop, hour, 0).is_some());
}

#[tokio::test]
async fn who_tells_of_ends_waits_for_room_and_none_is_lost() {
    const ENDS: usize = 40_000;
    let recorder = Arc::new(recorder());
    let end = End {
        token: entropy::token_id().unwrap(),
        namespace: Namespace::fallback(),
        at: time(1),
        validation_id: None,
        method: String::new(),
        path: "/a".to_owned(),
        outcome: crate::domain::usage::Outcome::default(),
        client: None,
    };
    let mut telling = tokio::spawn({
        let recorder = recorder.clone();
        async move {
            for _ in 0..ENDS {
                recorder.note_end(end.clone()).await;
            }
        }
    });
    let mut told = 0;
    let mut over = false;
    while !over {
        tokio::select! {
            () = recorder.ends.many() => {}
            ended = &mut telling => over = ended.is_ok(),
        }
        let batch = recorder.count().await;
        let own = batch.tokens.values();
        let ends = own.filter_map(|own| own.used.counts.completed());
        told += ends.map(|ends| ends.requests).sum::<u64>();
    }
    assert_eq!(told, ENDS as u64);
}
