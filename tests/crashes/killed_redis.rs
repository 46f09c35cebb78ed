//! `kill -9` of a Redis that flushes before each answer, under two authorities that stay up.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{ListRequest, ValidateResponse, Verdict};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::audit::Books;
use crate::callers::Round;
use crate::harness::{Authority, Client, create, is_outage, named, presenting};
use crate::kit::{
    HEALED_WITHIN, by_id, connect, deletion, get, marked_redis, rounds, serving_over, within,
};

/// One of so many times it is killed once more as soon as it is back, while it is found again.
const AGAIN_EVERY: usize = 4;

/// Tokens of which it is known what Validate must say, if it says anything.
#[derive(Clone)]
struct Landmarks {
    standing: String,
    ended: String,
    secrets: [(String, Verdict); 3],
}

impl Landmarks {
    async fn set(client: &mut Client) -> Self {
        let (standing, valid) = create(client, named("standing")).await;
        let (ended, revoked) = create(client, named("ended")).await;
        let (gone, deleted) = create(client, named("gone")).await;
        client.revoke(by_id(&ended.token_id, "")).await.unwrap();
        client.delete(deletion(&gone.token_id)).await.unwrap();
        Self {
            standing: standing.token_id,
            ended: ended.token_id,
            secrets: [
                (valid, Verdict::Valid),
                (revoked, Verdict::Revoked),
                (deleted, Verdict::NotFound),
            ],
        }
    }

    /// Asks about all of them, again and again, until told to stop: each answer is the true one, or
    /// says that the store is away.
    fn watched(&self, mut client: Client, stop: watch::Receiver<bool>) -> JoinHandle<usize> {
        let landmarks = self.clone();
        tokio::spawn(async move {
            let mut outages = 0;
            while !*stop.borrow() {
                for (secret, expected) in &landmarks.secrets {
                    outages += usize::from(is_true(&mut client, secret, *expected).await);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            outages
        })
    }

    /// Nothing is answered about any of them, nor changed, as soon as the lease has run out by which
    /// answers come from memory.
    async fn are_hidden(&self, client: &mut Client) {
        let patience = Instant::now() + Duration::from_secs(5);
        for (secret, _) in &self.secrets {
            let mut answer = client.validate(presenting(secret)).await;
            while answer.is_ok() && Instant::now() < patience {
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer = client.validate(presenting(secret)).await;
            }
            is_outage("Validate", answer);
        }
        for id in [self.standing.as_str(), "zzzzzzzzzzzzzzzzzzzzzz"] {
            is_outage("Get", client.get(get(id)).await);
            is_outage("Revoke", client.revoke(by_id(id, "")).await);
            is_outage("Delete", client.delete(deletion(id)).await);
        }
        is_outage("List", client.list(ListRequest::default()).await);
        is_outage("Create", client.create(named("lost")).await);
    }
}

/// Asks about a secret; answers whether the store was away.
async fn is_true(client: &mut Client, secret: &str, expected: Verdict) -> bool {
    let answer = client.validate(presenting(secret)).await;
    match verdict(answer.map(|answer| answer.into_inner())) {
        Some(told) => {
            assert_eq!(told, expected);
            false
        }
        None => true,
    }
}

/// The verdict; `None` for an outage.
fn verdict(answer: Result<ValidateResponse, Status>) -> Option<Verdict> {
    match answer {
        Ok(answer) => Some(answer.verdict()),
        outage => {
            is_outage("Validate", outage);
            None
        }
    }
}

/// Waits until each authority finds the store again by itself.
async fn heal(authorities: &[Authority], landmarks: &Landmarks) {
    let (secret, expected) = &landmarks.secrets[0];
    for authority in authorities {
        let mut client = connect(authority);
        within(HEALED_WITHIN, "the store is found again", async || {
            !is_true(&mut client, secret, *expected).await
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_after_kill_of_redis() {
    let mut redis = marked_redis(&["--appendfsync", "always"]);
    let mut authorities = Vec::new();
    for _ in 0..2 {
        // Who watches asks about tokens that are gone all the time, and all from one address.
        let unlimited = "limits.failures_per_minute=0";
        let flags = ["--min-durability", "strict", "--set", unlimited];
        authorities.push(serving_over(&redis.url(), &flags).await);
    }
    let connections = || authorities.iter().map(connect).collect::<Vec<_>>();
    let mut books = Books::open(&mut connect(&authorities[0])).await;
    let landmarks = Landmarks::set(&mut connect(&authorities[1])).await;
    books.expect_also(&[landmarks.standing.clone(), landmarks.ended.clone()]);
    for number in 0..rounds() {
        let (stop, stopped) = watch::channel(false);
        let watched = |client| landmarks.watched(client, stopped.clone());
        let watchers: Vec<_> = connections().into_iter().map(watched).collect();
        let round = Round::begin(number, &books.purses, connections);
        round.is_under_way().await;
        redis.kill();
        let told = round.over().await;
        for client in &mut connections() {
            landmarks.are_hidden(client).await;
        }
        redis.restart();
        if number % AGAIN_EVERY == 0 {
            redis.kill();
            redis.restart();
        }
        heal(&authorities, &landmarks).await;
        stop.send_replace(true);
        for watcher in watchers {
            assert!(watcher.await.unwrap() > 0, "round {number} was not noticed");
        }
        for caller in &told {
            is_outage("a caller's last", Err::<(), _>(caller.status.clone()));
        }
        books.settle(&connections(), told).await;
    }
    books.are_true(&connections()).await;
}
