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
