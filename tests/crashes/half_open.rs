//! Connections to Redis that go silent without being closed.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{CreateRequest, ListRequest, Quota, State, Verdict};
use tonic::{Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Authority, Client, create, is_outage, named, presenting, verdict};
use crate::kit::{
    HEALED_WITHIN, MANAGEMENT, by_id, connect, found, get, health_says, marked_redis, repetitions,
    serving_over, within,
};
use crate::proxy::Proxy;
use crate::support::redis_server::RedisServer;

/// How long the authority waits for Redis.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long callers wait for the authority: much longer, so that it is the store that is given up.
const DEADLINE: Duration = Duration::from_secs(20);
/// What an outage may take to be told: a timeout of the store, and what a busy machine adds.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// An authority whose connections to Redis lead through a proxy, and two tokens.
struct Scene {
    authority: Authority,
    proxy: Proxy,
    _redis: RedisServer,
    token_id: String,
    secret: String,
    limited: String,
}

impl Scene {
    async fn set() -> Self {
        let redis = marked_redis(&[]);
        let proxy = Proxy::before(redis.port).await;
        let millis = STORE_TIMEOUT.as_millis();
        let read = format!("store.read_timeout={millis}ms");
        let write = format!("store.write_timeout={millis}ms");
        let deadline = format!("limits.call_deadline={}s", DEADLINE.as_secs());
        let flags = ["--set", &read, "--set", &write, "--set", &deadline];
        let authority = serving_over(&proxy.url(), &flags).await;
        let mut client = connect(&authority);
        let (token, secret) = create(&mut client, named("plain")).await;
        let quota = Quota {
            limit: 1_000_000,
            ..Quota::default()
        };
        let limited = CreateRequest {
            quota: Some(quota),
            ..named("limited")
        };
        let (_, limited) = create(&mut client, limited).await;
        // Now it is known, and a use of it begins with what counts against its limits.
        assert_eq!(verdict(&mut client, &limited).await, Verdict::Valid);
        Self {
            authority,
            proxy,
            _redis: redis,
            token_id: token.token_id,
            secret,
            limited,
        }
    }

    /// Every kind of call says in time that the store is away, long before its own deadline; that
    /// which revokes is about `id`.
    async fn is_away_to(&self, id: &str) {
        let client = connect(&self.authority);
        let mut c = [(); 6].map(|()| client.clone());
        let [validate, limited, read, list, create, revoke] = &mut c;
        tokio::join!(
            is_told("Validate", validate.validate(presenting(&self.secret))),
            is_told("Validate", limited.validate(presenting(&self.limited))),
            is_told("Get", read.get(get(id))),
            is_told("List", list.list(ListRequest::default())),
            is_told("Create", create.create(named("unheard"))),
            is_told("Revoke", revoke.revoke(by_id(id, "unheard"))),
        );
    }

    async fn is_away(&self) {
        self.is_away_to(&self.token_id).await;
    }

    async fn health_says(&self, wanted: ServingStatus) {
        for service in ["", MANAGEMENT] {
            health_says(&self.authority, service, wanted).await;
        }
    }

    /// Waits until Validate answers again, asking all the time; until then nothing else is told
    /// than that the store is away, and that in time.
    async fn heals(&self) {
        let mut client = connect(&self.authority);
        within(HEALED_WITHIN, "it answers again", async || {
            let began = Instant::now();
            let answer = client.validate(presenting(&self.secret)).await;
            assert!(began.elapsed() < TOLD_WITHIN, "{:?}", began.elapsed());
            match answer {
                Ok(answer) => {
                    assert_eq!(answer.into_inner().verdict(), Verdict::Valid);
                    true
                }
                outage => {
                    is_outage("Validate", outage);
                    false
                }
            }
        })
        .await;
        self.health_says(ServingStatus::Serving).await;
    }

    /// Answers to many calls at once each belong to their own question.
    async fn answers_are_not_mixed_up(&self) {
        let client = connect(&self.authority);
        let tasks: Vec<_> = (0..20)
            .map(|n| tokio::spawn(round_trip(client.clone(), n.to_string())))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// Creates a token and asks about it again.
async fn round_trip(mut client: Client, name: String) {
    let (token, secret) = create(&mut client, named(&name)).await;
    let answer = client.validate(presenting(&secret)).await.unwrap();
    let told = answer.into_inner().token.unwrap();
    assert_eq!((told.token_id, told.name), (token.token_id.clone(), name));
    let got = found(&mut client, &token.token_id).await.unwrap();
    assert_eq!(got.token, Some(token));
}

/// Awaits an outage.
async fn is_told<T: std::fmt::Debug>(
    rpc: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) {
    let began = Instant::now();
    is_outage(rpc, call.await);
    assert!(
        began.elapsed() < TOLD_WITHIN,
        "{rpc}: {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_an_outage_in_time_and_new_connections_heal_it() {
    let scene = Scene::set().await;
    for _ in 0..repetitions() {
        scene.proxy.swallow_everything();
        scene.is_away().await;
        scene.health_says(ServingStatus::NotServing).await;
        scene.is_away().await;
        scene.proxy.swallow_the_old();
        scene.heals().await;
    }
    // What was swallowed never happened.
    let mut client = connect(&scene.authority);
    let listed = client.list(ListRequest::default()).await.unwrap();
    let names = listed
        .into_inner()
        .tokens
        .into_iter()
        .map(|token| token.name);
    assert_eq!(names.collect::<Vec<_>>(), ["limited", "plain"]);
    assert_eq!(verdict(&mut client, &scene.secret).await, Verdict::Valid);
    scene.answers_are_not_mixed_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_stay_silent_for_ever_are_replaced_by_new_ones() {
    let scene = Scene::set().await;
    for _ in 0..repetitions() {
        let before = scene.proxy.accepted();
        scene.proxy.swallow_the_old();
        scene.is_away().await;
        // Well again, although those connections are as silent as before.
        scene.heals().await;
        assert!(scene.proxy.accepted() > before);
    }
    scene.answers_are_not_mixed_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_come_late_are_nobody_elses() {
    let scene = Scene::set().await;
    let mut client = connect(&scene.authority);
    for n in 0..repetitions() {
        let (token, secret) = create(&mut client, named(&format!("late {n}"))).await;
        scene.proxy.hold(true);
        scene.is_away_to(&token.token_id).await;
        scene.health_says(ServingStatus::NotServing).await;
        scene.proxy.hold(false);
        scene.heals().await;
        // The revocation was on its way when its call was answered: it comes, or it does not.
        let verdict = verdict(&mut client, &secret).await;
        let got = found(&mut client, &token.token_id).await.unwrap();
        let state = got.token.unwrap().state();
        assert!(
            matches!(
                (verdict, state),
                (Verdict::Valid, State::Active) | (Verdict::Revoked, State::Revoked)
            ),
            "{verdict:?} {state:?}"
        );
        scene.answers_are_not_mixed_up().await;
    }
}
