//! Questions of one stream that wait for the store: so many, and no more are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use token_authority::transport::grpc::pb::{
    Consistency, ValidateRequest, ValidateStreamRequest, Verdict,
};

use crate::harness::{Authority, create, named, presenting};
use crate::questions::{Questions, of_stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_as_many_questions_as_may_wait_for_the_store_no_more_are_read() {
    const SENT: u64 = 60;
    let settings = ["limits.stream_messages=4", "store.read_timeout=60s"];
    let settings = settings.map(|setting| ["--set", setting]).concat();
    let mut authority = Authority::before_redis_start().with(&settings);
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("subject")).await;
    let Questions {
        questions,
        mut answers,
    } = Questions::open(&mut root).await.unwrap();
    authority.redis().signal("STOP");
    // So long that the windows of HTTP/2 take few of them.
    let long = ValidateRequest {
        path: format!("/?{}", "x".repeat(100_000)),
        consistency: Consistency::Strong.into(),
        ..presenting(&secret)
    };
    let sent = Arc::new(AtomicU64::default());
    let counted = sent.clone();
    tokio::spawn(async move {
        for id in 0..SENT {
            // Room for all but one is taken, so that what is sent was nearly all taken off.
            let room = questions.reserve_many(questions.max_capacity());
            drop(room.await.unwrap());
            let request = Some(long.clone());
            let question = ValidateStreamRequest { id, request };
            questions.send(question).await.unwrap();
            counted.store(id + 1, Ordering::Relaxed);
        }
    });
    let mut before = 0;
    let mut now = || {
        let now = sent.load(Ordering::Relaxed);
        std::mem::replace(&mut before, now).max(1) == now
    };
    while !now() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(before < SENT / 2, "{before} were read");
    authority.redis().signal("CONT");
    for _ in 0..SENT {
        let answer = answers.message().await.unwrap().expect("an answer");
        // One that waited too long for its connection says so.
        if let Ok(answer) = of_stream(answer) {
            assert_eq!(answer.verdict(), Verdict::Valid);
        }
    }
    assert_eq!(answers.message().await.unwrap(), None);
}
