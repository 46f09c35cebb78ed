//! How often, for how long, and on what these tests run.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{
    self, DeleteRequest, GetRequest, RevokeRequest, revoke_request::Target,
};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::harness::{Authority, Client, PATIENCE, ROOT_TOKEN, mark};
use crate::support::redis_server::RedisServer;

const ROUNDS: usize = 20;

/// How soon a service is well again by itself, once what it needs is there.
pub(crate) const HEALED_WITHIN: Duration = Duration::from_secs(10);

/// Name under which health tells whether changes can be kept.
pub(crate) const MANAGEMENT: &str = "tokenauthority.v1.TokenService.management";

/// How often something is ended; `TOKEN_AUTHORITY_TEST_ROUNDS` can only ask for more.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the tests' own variable, no configuration"
)]
pub(crate) fn rounds() -> usize {
    let asked = std::env::var("TOKEN_AUTHORITY_TEST_ROUNDS").ok();
    let asked = asked.map(|text| text.parse().expect("a number of rounds"));
    ROUNDS.max(asked.unwrap_or_default())
}

/// How many times the work of twenty rounds is to be done.
pub(crate) fn repetitions() -> usize {
    rounds().div_ceil(ROUNDS)
}

/// An authority that logs no more than an operator would read: traces of a load fill disks.
pub(crate) fn quiet(authority: Authority) -> Authority {
    authority.with(&["--set", "log.filter=info"])
}

/// A Redis that is marked as a store.
pub(crate) fn marked_redis(settings: &[&str]) -> RedisServer {
    let redis = RedisServer::with(settings);
    mark(&redis);
    redis
}

/// An authority over the Redis at `url`, started, once it serves.
pub(crate) async fn serving_over(url: &str, flags: &[&str]) -> Authority {
    let mut authority = quiet(Authority::over(url)).with(flags);
    authority.start();
    authority.serving(true).await;
    authority
}

/// A client over a connection of its own.
pub(crate) fn connect(authority: &Authority) -> Client {
    authority.client(Some(ROOT_TOKEN))
}

/// Waits until health says `wanted` of `service`.
pub(crate) async fn health_says(authority: &Authority, service: &str, wanted: ServingStatus) {
    let told = async || authority.health(service).await == Some(wanted);
    within(PATIENCE, &format!("health: {service:?} {wanted:?}"), told).await;
}

/// Waits for a condition, and fails if it does not come about in time.
pub(crate) async fn within(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn by_id(token_id: &str, reason: &str) -> RevokeRequest {
    RevokeRequest {
        target: Some(Target::TokenId(token_id.to_owned())),
        reason: reason.to_owned(),
    }
}

pub(crate) fn deletion(token_id: &str) -> DeleteRequest {
    DeleteRequest {
        token_id: token_id.to_owned(),
    }
}

pub(crate) fn get(token_id: &str) -> GetRequest {
    GetRequest {
        token_id: token_id.to_owned(),
    }
}

/// What Get answers; `None` where there is no such token.
pub(crate) async fn found(client: &mut Client, token_id: &str) -> Option<pb::GetResponse> {
    match client.get(get(token_id)).await {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            None
        }
    }
}

/// Whether the authority itself said so, rather than a connection that ended.
pub(crate) fn is_an_answer(status: &Status) -> bool {
    use tonic_types::StatusExt;
    status.get_details_error_info().is_some()
}
