//! Answers from memory alone, where the operator allows them, while the store cannot be asked.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, ListRequest, RevokeRequest, ValidateRequest, ValidateResponse, Verdict,
    WhoAmIRequest,
};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{
    Authority, Client, PATIENCE, ask, create, is_outage, named, presenting, until,
};
use crate::policies::configured;
use crate::questions::{Questions, ask_all, in_band};
use crate::scrape::{Scrape, http};

const MANAGEMENT: &str = "tokenauthority.v1.TokenService.management";
const ALWAYS: &str = "[namespaces.default]\nmax_staleness = \"1h\"\n";

/// Takes the store of an authority away.
fn take_away(authority: &mut Authority) {
    match &mut authority.redis {
        Some(redis) => redis.kill(),
        None => {
            let database = authority.database();
            std::fs::rename(&database, database.with_extension("away")).unwrap();
        }
    }
}

fn give_back(authority: &mut Authority) {
    match &mut authority.redis {
        Some(redis) => redis.restart(),
        None => {
            let database = authority.database();
            std::fs::rename(database.with_extension("away"), &database).unwrap();
        }
    }
}

/// A client of root, when so many servers answer from memory, this one among them.
async fn remembering(authority: &Authority, servers: f64) -> Client {
    let root = authority.root().await;
    if let Some(redis) = &authority.redis {
        // Else what is created now may be lost with it.
        redis.run("CONFIG SET appendfsync always").await;
    }
    until(|| {
        let seen = Scrape::of(authority);
        let held = seen.value("cache_lease_left_seconds") > 0.0;
        (held && seen.value("cache_replicas") == servers).then_some(())
    })
    .await;
    root
}

async fn asked(client: &mut Client, secret: &str) -> Result<ValidateResponse, Status> {
    let answer = client.validate(presenting(secret)).await;
    answer.map(tonic::Response::into_inner)
}

/// Asks until an answer is degraded; before it none may be other than that one.
async fn degraded(client: &mut Client, secret: &str) -> ValidateResponse {
    let patience = Instant::now() + PATIENCE;
    loop {
        let answer = asked(client, secret).await.unwrap();
        assert_eq!(answer.verdict(), Verdict::Valid, "{answer:?}");
        if answer.degraded {
            return answer;
        }
        assert!(Instant::now() < patience, "it never is");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until health tells this of changes.
async fn managing(authority: &Authority, status: ServingStatus) {
    let patience = Instant::now() + PATIENCE;
    while authority.health(MANAGEMENT).await != Some(status) {
        assert!(Instant::now() < patience, "{}", authority.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn gateway() -> CreateRequest {
    CreateRequest {
        scopes: ["validate@*", "create", "read"]
            .map(|permission| format!("authority:{permission}"))
            .to_vec(),
        ..named("gateway")
    }
}

pub(crate) async fn what_is_known_is_answered_while_the_store_is_away(authority: Authority) {
    let mut authority = configured(authority, ALWAYS).await;
    let mut root = remembering(&authority, 1.0).await;
    let (_, secret) = create(&mut root, named("t")).await;
    let (_, caller) = create(&mut root, gateway()).await;
    let mut caller = authority.client(Some(&caller));
    let elsewhere = CreateRequest {
        namespace: "strict".to_owned(),
        ..named("t")
    };
    let (_, elsewhere) = create(&mut root, elsewhere).await;
    let elsewhere = ValidateRequest {
        namespace: "strict".to_owned(),
        ..presenting(&elsewhere)
    };
    for client in [&mut root, &mut caller] {
        let answer = ask(client, presenting(&secret)).await;
        assert_eq!((answer.verdict(), answer.degraded), (Verdict::Valid, false));
    }
    assert!(ask(&mut root, elsewhere.clone()).await.valid);
    let mut stream = Questions::open(&mut caller).await.unwrap();
    assert!(stream.ask(presenting(&secret)).await.unwrap().valid);
    take_away(&mut authority);
    for client in [&mut root, &mut caller] {
        let answer = degraded(client, &secret).await;
        assert!(answer.valid && answer.cache_ttl.is_none(), "{answer:?}");
    }
    let refused = ValidateRequest {
        required_scopes: vec!["refunds".to_owned()],
        ..presenting(&secret)
    };
    let refused = ask(&mut root, refused).await;
    assert_eq!(
        (refused.verdict(), refused.degraded),
        (Verdict::ScopeDenied, true)
    );
    is_outage("Validate", root.validate(elsewhere.clone()).await);
    let strong = ValidateRequest {
        consistency: pb::Consistency::Strong.into(),
        ..presenting(&secret)
    };
    is_outage("Validate", root.validate(strong.clone()).await);
    let asked = vec![presenting(&secret), strong];
    let mut streamed = Vec::new();
    for question in asked.clone() {
        streamed.push(stream.ask(question).await);
    }
    for answers in [ask_all(&mut caller, asked).await.unwrap(), streamed] {
        let known = answers[0].as_ref().expect("an answer");
        assert_eq!((known.verdict(), known.degraded), (Verdict::Valid, true));
        let unknown = in_band(answers[1].as_ref().expect_err("an outage"));
        assert_eq!(unknown, (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
    }
    for client in [&mut root, &mut caller] {
        is_outage("Create", client.create(named("lost")).await);
        is_outage("List", client.list(ListRequest::default()).await);
    }
    is_outage("WhoAmI", caller.who_am_i(WhoAmIRequest {}).await);

    managing(&authority, ServingStatus::NotServing).await;
    assert_eq!(authority.health("").await, Some(ServingStatus::Serving));
    assert_eq!(http(&authority.address, "GET", "/readyz", "").status, 200);
    let seen = Scrape::of(&authority);
    assert_eq!(seen.value("ready{use=\"validate\"}"), 1.0);
    assert_eq!(seen.value("ready{use=\"manage\"}"), 0.0);
    assert!(seen.value("cache_degraded_total") >= 3.0);
    until(|| {
        authority
            .log()
            .contains("validating from memory only")
            .then_some(())
    })
    .await;
    let told = authority.cli(&["token", "validate", &secret]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.starts_with("VALID\n") && told.contains("degraded"),
        "{told}"
    );

    give_back(&mut authority);
    managing(&authority, ServingStatus::Serving).await;
    assert!(!ask(&mut root, presenting(&secret)).await.degraded);
    assert!(!ask(&mut root, elsewhere).await.degraded);
    create(&mut caller, named("kept")).await;
}

pub(crate) async fn what_is_known_is_an_outage_when_it_is_too_old(authority: Authority) {
    let file = "[namespaces.default]\nmax_staleness = \"2s\"\n";
    let mut authority = configured(authority, file).await;
    let mut root = remembering(&authority, 1.0).await;
    let (_, secret) = create(&mut root, named("t")).await;
    assert!(!ask(&mut root, presenting(&secret)).await.degraded);
    take_away(&mut authority);
    let patience = Instant::now() + PATIENCE;
    let ended = loop {
        match asked(&mut root, &secret).await {
            Ok(answer) => assert_eq!(answer.verdict(), Verdict::Valid),
            ended => break ended,
        }
        assert!(Instant::now() < patience, "it is answered for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    is_outage("Validate", ended);
    authority.serving(false).await;
    is_outage("Validate", root.validate(presenting(&secret)).await);
    let log = authority.log();
    let told = ["validating from memory only", "not serving"].map(|words| log.find(words));
    assert!(told[0].is_some() && told[0] < told[1], "{log}");
    give_back(&mut authority);
    authority.serving(true).await;
    let answer = ask(&mut root, presenting(&secret)).await;
    assert_eq!((answer.verdict(), answer.degraded), (Verdict::Valid, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_answered_for_in_time() {
    let authority = Authority::on_redis().with(&["--set", "store.read_timeout=300ms"]);
    let authority = configured(authority, ALWAYS).await;
    let mut root = remembering(&authority, 1.0).await;
    let (_, secret) = create(&mut root, named("t")).await;
    assert!(!ask(&mut root, presenting(&secret)).await.degraded);
    authority.redis().signal("STOP");
    degraded(&mut root, &secret).await;
    managing(&authority, ServingStatus::NotServing).await;
    assert_eq!(authority.health("").await, Some(ServingStatus::Serving));
    authority.redis().signal("CONT");
    managing(&authority, ServingStatus::Serving).await;
    assert!(!ask(&mut root, presenting(&secret)).await.degraded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_two_servers_admits_its_half_of_a_limit() {
    let mut one = configured(Authority::on_redis(), ALWAYS).await;
    let other = configured(Authority::beside(&one), ALWAYS).await;
    let mut clients = [remembering(&one, 2.0).await, remembering(&other, 2.0).await];
    let limited = CreateRequest {
        rate_limits: vec![pb::RateLimit {
            requests: 10,
            period: Some(prost_types::Duration {
                seconds: 3600,
                nanos: 0,
            }),
            ..pb::RateLimit::default()
        }],
        ..named("limited")
    };
    let (_, secret) = create(&mut clients[0], limited).await;
    for client in &mut clients {
        assert!(!ask(client, presenting(&secret)).await.degraded);
    }
    take_away(&mut one);
    for client in &mut clients {
        let mut admitted = 0;
        for _ in 0..20 {
            let answer = asked(client, &secret).await.unwrap();
            assert!(answer.degraded, "{answer:?}");
            let told = &answer.rate_limits[0];
            assert_eq!(told.limit, 5, "{told:?}");
            admitted += u32::from(answer.valid);
        }
        assert_eq!(admitted, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_nobody_could_be_told_of_is_not_answered_over() {
    let mut authority = configured(Authority::on_redis(), ALWAYS).await;
    let mut root = remembering(&authority, 1.0).await;
    let (token, secret) = create(&mut root, named("t")).await;
    assert!(ask(&mut root, presenting(&secret)).await.valid);
    // In the place of the log of changes: nothing can be added to it.
    authority.redis().run("SET ta:{r}:l rubbish").await;
    let revoking = root.revoke(RevokeRequest {
        target: Some(Target::TokenId(token.token_id)),
        reason: String::new(),
    });
    revoking.await.unwrap_err();
    take_away(&mut authority);
    is_outage("Validate", root.validate(presenting(&secret)).await);
}
