//! A Redis that is away, where the operator allows answers that may be late: they say so, and end.

use std::time::Duration;

use token_authority::transport::grpc::pb::{GetRequest, Verdict};
use tokio::task::JoinSet;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::doors::{scoped, switched};
use crate::harness::{Authority, Client, ask, change, create, is_outage, presenting, verdict};
use crate::history::{Nanos, now};
use crate::kit::{HEALED_WITHIN, MANAGEMENT, by_id, connect, health_says, within};
use crate::replicas::Replicas;
use crate::support::redis_server::RedisServer;

const MAX_STALENESS: Duration = Duration::from_secs(3);
/// For how long a replica may answer from memory that has not heard of the store.
const CACHE_LEASE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// What a replica is asked about while Redis is away.
#[derive(Clone)]
struct Secrets {
    known: String,
    /// Never asked about before.
    unknown: String,
    /// Of a token that was deleted.
    gone: String,
    /// Of the token of this id, which one replica is asked to revoke meanwhile.
    doubted: (String, String),
}

fn after(moment: Nanos, span: Duration) -> Nanos {
    moment + u64::try_from(span.as_nanos()).unwrap()
}

/// Answers of one replica about a token that it knows, from the moment when Redis left until there
/// are none any more.
async fn ends_in_time(mut client: Client, secrets: Secrets, left: Nanos) {
    let lapsed = after(left, CACHE_LEASE);
    let used_up = after(lapsed, MAX_STALENESS);
    let (mut late, mut silent) = (0, 0);
    while silent < 3 {
        for unheard in [&secrets.unknown, &secrets.gone] {
            is_outage("Validate", client.validate(presenting(unheard)).await);
        }
        let began = now();
        match client.validate(presenting(&secrets.known)).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert_eq!(answer.verdict(), Verdict::Valid);
                assert!(began < used_up, "{} ns too late", began - used_up);
                assert!(answer.degraded || began < lapsed, "it does not say so");
                late += usize::from(lapsed < began);
                silent = 0;
            }
            outage => {
                is_outage("Validate", outage);
                silent += usize::from(used_up < began);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert!(late > 0, "it was never answered by what was known");
}

/// Changes and looks of whoever manages are refused, and what was to be changed is not answered.
async fn nothing_is_managed(client: &mut Client, secrets: &Secrets) {
    let (id, secret) = &secrets.doubted;
    is_outage("Revoke", client.revoke(by_id(id, "")).await);
    let doubted = client.validate(presenting(secret)).await;
    is_outage("Validate", doubted);
    is_outage("Create", client.create(scoped("lost")).await);
    let token_id = id.clone();
    is_outage("Get", client.get(GetRequest { token_id }).await);
    let enabled = change(&switched(id, false), &["disabled"]);
    is_outage("Update", client.update(enabled).await);
    let doubted = client.validate(presenting(secret)).await;
    is_outage("Validate", doubted);
}

async fn known_everywhere(replicas: &[Authority]) -> Secrets {
    let mut root = connect(&replicas[0]);
    let (_, known) = create(&mut root, scoped("known")).await;
    let (token, secret) = create(&mut root, scoped("doubted")).await;
    let (deleted, gone) = create(&mut root, scoped("gone")).await;
    let (_, unknown) = create(&mut root, scoped("unknown")).await;
    let deletion = crate::kit::deletion(&deleted.token_id);
    root.delete(deletion).await.unwrap();
    for authority in replicas {
        let mut client = connect(authority);
        for secret in [&known, &secret] {
            let answer = ask(&mut client, presenting(secret)).await;
            assert_eq!(answer.verdict(), Verdict::Valid);
            assert!(!answer.degraded);
        }
    }
    let doubted = (token.token_id, secret);
    Secrets {
        known,
        unknown,
        gone,
        doubted,
    }
}

async fn away(leave: impl FnOnce(&mut RedisServer), back: impl FnOnce(&mut RedisServer)) {
    let staleness = format!(
        "namespaces.default.max_staleness={}s",
        MAX_STALENESS.as_secs()
    );
    let settings = [
        "store.read_timeout=500ms",
        "store.write_timeout=500ms",
        staleness.as_str(),
    ];
    let flags: Vec<&str> = settings.iter().flat_map(|set| ["--set", *set]).collect();
    let mut replicas = Replicas::with(&[], &flags).await;
    let secrets = known_everywhere(&replicas.authorities).await;
    leave(&mut replicas.redis);
    let left = now();
    let mut askers = JoinSet::new();
    for authority in &replicas.authorities {
        askers.spawn(ends_in_time(connect(authority), secrets.clone(), left));
    }
    let [asked, ..] = replicas.authorities.as_slice() else {
        unreachable!("there are four");
    };
    tokio::time::sleep(CACHE_LEASE).await;
    nothing_is_managed(&mut connect(asked), &secrets).await;
    health_says(asked, MANAGEMENT, ServingStatus::NotServing).await;
    let told = asked.health("").await;
    let soon = now() < after(left, MAX_STALENESS);
    assert!(!soon || told == Some(ServingStatus::Serving), "{told:?}");
    askers.join_all().await;
    for authority in &replicas.authorities {
        health_says(authority, "", ServingStatus::NotServing).await;
    }
    back(&mut replicas.redis);
    for authority in &replicas.authorities {
        health_says(authority, MANAGEMENT, ServingStatus::Serving).await;
        let mut client = connect(authority);
        within(HEALED_WITHIN, "answers are as good as ever", async || {
            let answer = client.validate(presenting(&secrets.known)).await;
            answer.is_ok_and(|answer| answer.get_ref().valid && !answer.get_ref().degraded)
        })
        .await;
    }
    let mut root = connect(&replicas.authorities[0]);
    let (id, secret) = &secrets.doubted;
    root.revoke(by_id(id, "")).await.unwrap();
    for authority in &replicas.authorities {
        let told = verdict(&mut connect(authority), secret).await;
        assert_eq!(told, Verdict::Revoked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_while_redis_hangs_say_that_they_may_be_late_and_end_in_time() {
    away(|redis| redis.signal("STOP"), |redis| redis.signal("CONT")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_while_redis_is_dead_say_that_they_may_be_late_and_end_in_time() {
    away(RedisServer::kill, RedisServer::restart).await;
}
