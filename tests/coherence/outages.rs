//! A Redis that is away: what is known may be told for as long as a cache lease, then nothing is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_authority::transport::grpc::pb::{ValidateResponse, Verdict};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::doors::scoped;
use crate::harness::{Client, create, is_outage, presenting};
use crate::history::{Nanos, Spans, now};
use crate::kit::{HEALED_WITHIN, MANAGEMENT, by_id, connect, deletion, health_says, within};
use crate::replicas::Replicas;
use crate::support::redis_server::RedisServer;

/// For how long a replica may answer from memory that has not heard of the store.
const CACHE_LEASE: Duration = Duration::from_secs(1);
/// What an answer may take on a busy machine on top of the store's timeout.
const MARGIN: Duration = Duration::from_secs(3);
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// What callers grant each call.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long Redis is away.
const AWAY: Duration = Duration::from_millis(3500);
const PAUSE: Duration = Duration::from_millis(5);

/// Tokens of which it is known what Validate must say, if it says anything.
struct Landmarks([(String, Verdict); 4]);

impl Landmarks {
    async fn set(root: &mut Client) -> Self {
        let (_, valid) = create(root, scoped("standing")).await;
        let (ended, revoked) = create(root, scoped("ended")).await;
        let (gone, deleted) = create(root, scoped("gone")).await;
        root.revoke(by_id(&ended.token_id, "")).await.unwrap();
        root.delete(deletion(&gone.token_id)).await.unwrap();
        let elsewhere = Verdict::ScopeDenied;
        Self([
            (valid.clone(), Verdict::Valid),
            (revoked, Verdict::Revoked),
            (deleted, Verdict::NotFound),
            (valid, elsewhere),
        ])
    }
}

/// One question and its answer.
struct Look {
    began: Nanos,
    ended: Nanos,
    expected: Verdict,
    answer: Result<ValidateResponse, Status>,
}

impl Look {
    async fn at(client: &mut Client, secret: &str, expected: Verdict) -> Self {
        let mut question = presenting(secret);
        if expected == Verdict::ScopeDenied {
            question.required_scopes = vec!["refunds:pay".to_owned()];
        }
        let mut request = Request::new(question);
        request.set_timeout(DEADLINE);
        let began = now();
        let answer = client.validate(request).await;
        Self {
            began,
            ended: now(),
            expected,
            answer: answer.map(tonic::Response::into_inner),
        }
    }

    fn took(&self) -> Duration {
        Duration::from_nanos(self.ended - self.began)
    }

    /// Whether it is the truth, or says in time that the store is away.
    fn is_true(&self) -> bool {
        match &self.answer {
            Ok(answer) => answer.verdict() == self.expected,
            Err(status) => status.code() == Code::Unavailable,
        }
    }
}

/// Asks a replica about all landmarks, again and again, until told to stop.
async fn watch(mut client: Client, landmarks: Arc<Landmarks>, stop: Arc<AtomicBool>) -> Vec<Look> {
    let mut looks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for (secret, expected) in &landmarks.0 {
            looks.push(Look::at(&mut client, secret, *expected).await);
        }
        tokio::time::sleep(PAUSE).await;
    }
    looks
}

/// Takes Redis away and brings it back, under replicas that know the tokens they are asked about.
async fn away(leave: impl FnOnce(&mut RedisServer), back: impl FnOnce(&mut RedisServer)) {
    let timeout = format!("store.read_timeout={}ms", READ_TIMEOUT.as_millis());
    let mut replicas = Replicas::with(&[], &["--set", &timeout]).await;
    let mut root = connect(&replicas.authorities[0]);
    let landmarks = Arc::new(Landmarks::set(&mut root).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut watchers = JoinSet::new();
    for authority in &replicas.authorities {
        let client = connect(authority);
        watchers.spawn(watch(client, landmarks.clone(), stop.clone()));
    }
    // Each replica knows what it is asked about, and goes on asking for some time.
    tokio::time::sleep(CACHE_LEASE).await;
    leave(&mut replicas.redis);
    let left = now();
    for authority in &replicas.authorities {
        for service in ["", MANAGEMENT] {
            health_says(authority, service, ServingStatus::NotServing).await;
        }
        is_outage("Create", connect(authority).create(scoped("lost")).await);
    }
    let since = Duration::from_nanos(now() - left);
    tokio::time::sleep(AWAY.saturating_sub(since)).await;
    let came_back = now();
    back(&mut replicas.redis);
    for authority in &replicas.authorities {
        let mut client = connect(authority);
        within(HEALED_WITHIN, "it answers again", async || {
            let (secret, expected) = &landmarks.0[0];
            let look = Look::at(&mut client, secret, *expected).await;
            assert!(look.is_true(), "{:?}", look.answer);
            look.answer.is_ok()
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for looks in watchers.join_all().await {
        are_true(looks, left, came_back);
    }
}

/// Checks what was told at one replica of a Redis that was away from the one moment to the other.
fn are_true(looks: Vec<Look>, left: Nanos, came_back: Nanos) {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap();
    let lapsed = left + nanos(CACHE_LEASE);
    // Whatever was under way when Redis went may yet be answered.
    let settled = left + nanos(CACHE_LEASE) / 2;
    let (mut unanswered, mut before) = (Vec::new(), 0);
    for look in looks {
        assert!(look.is_true(), "{:?}: {:?}", look.expected, look.answer);
        before += usize::from(look.ended < left && look.answer.is_ok());
        let is_absence = look.expected == Verdict::NotFound;
        let must_be_silent = lapsed < look.began || (is_absence && settled < look.began);
        if must_be_silent && look.ended < came_back {
            unanswered.push(look.took());
            is_outage("Validate", look.answer);
        }
    }
    assert!(before > 0, "it knew nothing");
    let took = Spans::of(unanswered);
    assert!(took.longest() < READ_TIMEOUT + MARGIN, "{took}");
    eprintln!("Redis away: unanswered {took}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_told_in_time_and_never_an_absence() {
    away(|redis| redis.signal("STOP"), |redis| redis.signal("CONT")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_died_is_told_in_time_and_never_an_absence() {
    away(RedisServer::kill, RedisServer::restart).await;
}
