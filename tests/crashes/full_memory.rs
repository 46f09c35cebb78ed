//! A Redis whose memory is full: nothing new, but all that judges and all that takes rights away.

use token_authority::transport::grpc::pb::{
    self, CreateRequest, ListRequest, Quota, RateLimit, State, Verdict,
};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::callers::rotation;
use crate::harness::{
    Authority, Client, ask, change, create, is_outage, named, presenting, verdict,
};
use crate::kit::{
    MANAGEMENT, by_id, connect, deletion, found, health_says, marked_redis, serving_over,
};
use crate::support::redis_server::RedisServer;

/// Room for some tokens, and how far the limit is lowered beyond the last one, so that what comes
/// and goes in a Redis, such as buffers and deleted tokens, makes no room for another.
const ROOM_BYTES: u64 = 300_000;
const MARGIN_BYTES: u64 = 200_000;

/// Tokens that fit into the room, at most.
const FITTING_MAX: usize = 2000;

async fn used_bytes(redis: &RedisServer) -> u64 {
    let info: String = redis.ask(&["INFO", "memory"]).await;
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

async fn limit_to(redis: &RedisServer, bytes: u64) {
    let bytes = bytes.to_string();
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", &bytes]).await;
}

/// A bulky token under the name of its own request.
fn bulky(name: &str) -> CreateRequest {
    CreateRequest {
        description: "x".repeat(1024),
        request_id: format!("create {name}"),
        owner: "bulky".to_owned(),
        ..named(name)
    }
}

/// Creates tokens until there is no room, and sees to it that there will be none; answers how many
/// were created.
async fn fill(redis: &RedisServer, client: &mut Client) -> usize {
    limit_to(redis, used_bytes(redis).await + ROOM_BYTES).await;
    for count in 0..FITTING_MAX {
        if let Err(refused) = client.create(bulky(&count.to_string())).await {
            is_outage("Create", Err::<(), _>(refused));
            limit_to(redis, used_bytes(redis).await - MARGIN_BYTES).await;
            return count;
        }
    }
    panic!("it never gets full")
}

/// The names of all tokens, whatever their state, newest first.
async fn names(client: &mut Client) -> Vec<String> {
    let states = [State::Active, State::Disabled, State::Revoked];
    let request = ListRequest {
        states: states.map(i32::from).into(),
        page_size: 1000,
        ..ListRequest::default()
    };
    let mut answer = client.list(request).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "", "all on one page");
    answer.tokens.drain(..).map(|token| token.name).collect()
}

/// One token of each kind, made while there was room.
struct Tokens {
    plain: (pb::Token, String),
    limited: (pb::Token, String),
    quota: (pb::Token, String),
}

impl Tokens {
    async fn create(client: &mut Client) -> Self {
        let plain = CreateRequest {
            owner: "ann".to_owned(),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            ..named("plain")
        };
        let limited = CreateRequest {
            rate_limits: vec![RateLimit {
                requests: 3,
                period: Some(prost_types::Duration {
                    seconds: 86_400,
                    nanos: 0,
                }),
                ..RateLimit::default()
            }],
            ..named("limited")
        };
        let quota = CreateRequest {
            quota: Some(Quota {
                limit: 3,
                ..Quota::default()
            }),
            ..named("quota")
        };
        Self {
            plain: create(client, plain).await,
            limited: create(client, limited).await,
            quota: create(client, quota).await,
        }
    }

    /// All are judged, and what is used is counted.
    async fn are_judged(&self, client: &mut Client) {
        assert_eq!(verdict(client, &self.plain.1).await, Verdict::Valid);
        for (secret, exceeded) in [
            (&self.limited.1, Verdict::RateLimited),
            (&self.quota.1, Verdict::QuotaExhausted),
        ] {
            for _ in 0..3 {
                assert_eq!(verdict(client, secret).await, Verdict::Valid);
            }
            assert_eq!(verdict(client, secret).await, exceeded);
        }
        let left = found(client, &self.quota.0.token_id).await.unwrap();
        assert_eq!(left.quota_remaining, Some(0));
    }

    /// Rights can be taken away, bit by bit and then altogether.
    async fn lose_their_rights(&self, client: &mut Client) {
        let (plain, first) = &self.plain;
        let narrowed = pb::Token {
            token_id: plain.token_id.clone(),
            scopes: vec!["read".to_owned()],
            allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
            ..pb::Token::default()
        };
        let paths = ["scopes", "allowed_cidrs", "owner"];
        let narrowed = client.update(change(&narrowed, &paths)).await;
        let narrowed = narrowed.unwrap().into_inner().token.unwrap();
        assert_eq!((narrowed.scopes.len(), narrowed.owner.as_str()), (1, ""));
        assert_eq!(verdict(client, first).await, Verdict::AddressDenied);

        let rotated = client.rotate(rotation(&plain.token_id, "leaked")).await;
        let rotated = rotated.unwrap().into_inner().secret;
        assert_eq!(verdict(client, first).await, Verdict::Superseded);
        let mut asked = presenting(&rotated);
        asked.client_ip = "192.0.2.1".to_owned();
        assert_eq!(ask(client, asked).await.verdict(), Verdict::Valid);

        let off = pb::Token {
            token_id: plain.token_id.clone(),
            disabled: true,
            ..pb::Token::default()
        };
        client.update(change(&off, &["disabled"])).await.unwrap();
        assert_eq!(verdict(client, &rotated).await, Verdict::Disabled);
        client.revoke(by_id(&plain.token_id, "")).await.unwrap();
        assert_eq!(verdict(client, &rotated).await, Verdict::Revoked);

        let (gone, secret) = &self.limited;
        client.delete(deletion(&gone.token_id)).await.unwrap();
        assert_eq!(verdict(client, secret).await, Verdict::NotFound);
    }
}

async fn health(authority: &Authority, validates: ServingStatus, manages: ServingStatus) {
    health_says(authority, MANAGEMENT, manages).await;
    health_says(authority, "", validates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_judges_and_takes_rights_away_but_creates_nothing_by_halves() {
    use ServingStatus::{NotServing, Serving};
    let redis = marked_redis(&[]);
    let authority = serving_over(&redis.url(), &[]).await;
    let mut root = connect(&authority);
    let tokens = Tokens::create(&mut root).await;
    let created = fill(&redis, &mut root).await;
    assert!(created > 0);
    health(&authority, Serving, NotServing).await;
    // So that each script comes whole the first time, as after a restart.
    let () = redis.ask(&["SCRIPT", "FLUSH"]).await;

    let pooled = CreateRequest {
        pool: "gpu".to_owned(),
        ..bulky("pooled")
    };
    for refused in [bulky("refused"), pooled.clone(), named("unnamed")] {
        is_outage("Create", root.create(refused).await);
    }
    let mut expected: Vec<String> = (0..created).rev().map(|n| n.to_string()).collect();
    expected.extend(["quota", "limited", "plain"].map(str::to_owned));
    assert_eq!(names(&mut root).await, expected);

    tokens.are_judged(&mut root).await;
    tokens.lose_their_rights(&mut root).await;
    assert_eq!(authority.health("").await, Some(Serving));
    assert_eq!(authority.health(MANAGEMENT).await, Some(NotServing));

    limit_to(&redis, 0).await;
    health(&authority, Serving, Serving).await;
    // A request that was refused is as if it had never been made.
    let last = bulky(&created.to_string());
    for request in [last, bulky("refused"), pooled] {
        let (token, secret) = create(&mut root, request.clone()).await;
        assert_eq!((token.name, token.secret_version), (request.name, 1));
        assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    }
    expected.retain(|name| name != "limited");
    let late = [
        "pooled".to_owned(),
        "refused".to_owned(),
        created.to_string(),
    ];
    expected.splice(0..0, late);
    assert_eq!(names(&mut root).await, expected);
}
