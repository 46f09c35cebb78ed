//! What tests about leases begin with: pools, and workers who lease from them.

use std::time::Duration;

use token_authority::transport::grpc::pb::release_request::Target;
use token_authority::transport::grpc::pb::{
    AcquireRequest, AcquireResponse, CreateRequest, KeepAliveRequest, KeepAliveResponse, Lease,
    ListPoolsRequest, PoolStanding, ReleaseRequest, Token, keep_alive_request,
};
use tonic::Status;

use crate::harness::{Authority, Client, create, named, span};

pub(crate) const POOL: &str = "gpu";

/// A request for a token of the pool that needs no beat.
pub(crate) fn pooled() -> CreateRequest {
    CreateRequest {
        pool: POOL.to_owned(),
        keep_alive_ttl: Some(prost_types::Duration::default()),
        ..named("pooled")
    }
}

/// Fills the pool with so many tokens; answers them with their own secrets.
pub(crate) async fn fill(root: &mut Client, count: usize) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(create(root, pooled()).await);
    }
    tokens
}

/// A request for a lease of that length from the pool.
pub(crate) fn lease_for(duration: Duration) -> AcquireRequest {
    AcquireRequest {
        lease_duration: Some(span(duration)),
        ..any()
    }
}

/// A request for a lease from the pool.
pub(crate) fn any() -> AcquireRequest {
    AcquireRequest {
        pool: POOL.to_owned(),
        holder: "worker".to_owned(),
        ..AcquireRequest::default()
    }
}

/// The same for who waits.
pub(crate) fn waiting(wait: Duration) -> AcquireRequest {
    AcquireRequest {
        wait: Some(span(wait)),
        ..any()
    }
}

pub(crate) async fn acquire(client: &mut Client, request: AcquireRequest) -> Held {
    let answer = client.acquire(request).await;
    Held::of(answer.expect("a lease").into_inner())
}

/// A lease, as its holder has it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) lease: Lease,
    pub(crate) secret: String,
}

impl Held {
    pub(crate) fn of(answer: AcquireResponse) -> Self {
        Self {
            token: answer.token.expect("a token"),
            lease: answer.lease.expect("a lease"),
            secret: answer.secret,
        }
    }

    pub(crate) fn release(&self) -> ReleaseRequest {
        release_of(&self.lease.lease_id)
    }

    pub(crate) fn beat(&self) -> KeepAliveRequest {
        beat_of(&self.lease.lease_id)
    }
}

pub(crate) fn release_of(lease_id: &str) -> ReleaseRequest {
    ReleaseRequest {
        target: Some(Target::LeaseId(lease_id.to_owned())),
        force: false,
    }
}

pub(crate) fn forced(token_id: &str) -> ReleaseRequest {
    ReleaseRequest {
        target: Some(Target::TokenId(token_id.to_owned())),
        force: true,
    }
}

pub(crate) fn beat_of(lease_id: &str) -> KeepAliveRequest {
    KeepAliveRequest {
        target: Some(keep_alive_request::Target::LeaseId(lease_id.to_owned())),
        lease_duration: None,
    }
}

pub(crate) fn token_beat(token_id: &str) -> KeepAliveRequest {
    KeepAliveRequest {
        target: Some(keep_alive_request::Target::TokenId(token_id.to_owned())),
        lease_duration: None,
    }
}

pub(crate) async fn release(client: &mut Client, request: ReleaseRequest) -> Result<Lease, Status> {
    let answer = client.release(request).await?;
    Ok(answer.into_inner().lease.expect("a lease"))
}

pub(crate) async fn keep_alive(
    client: &mut Client,
    request: KeepAliveRequest,
) -> Result<KeepAliveResponse, Status> {
    Ok(client.keep_alive(request).await?.into_inner())
}

/// How the pools stand that the caller may read by default.
pub(crate) async fn pools(client: &mut Client) -> Vec<PoolStanding> {
    let answer = client.list_pools(ListPoolsRequest::default()).await;
    answer.expect("a page").into_inner().pools
}

/// Available, leased, unavailable and waiting, of the one pool.
pub(crate) async fn standing(client: &mut Client) -> [u64; 4] {
    let pools = pools(client).await;
    assert_eq!(pools.len(), 1, "{pools:?}");
    let pool = &pools[0];
    assert_eq!(
        (pool.namespace.as_str(), pool.pool.as_str()),
        ("default", POOL)
    );
    [pool.available, pool.leased, pool.unavailable, pool.waiting]
}

/// A client of a token of the namespace with these scopes.
pub(crate) async fn caller(authority: &Authority, namespace: &str, scopes: &[&str]) -> Client {
    let request = CreateRequest {
        namespace: namespace.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..named("caller")
    };
    let (_, secret) = create(&mut authority.root().await, request).await;
    authority.client(Some(&secret))
}

pub(crate) fn micros(at: &Option<prost_types::Timestamp>) -> i64 {
    let at = at.as_ref().expect("an instant");
    at.seconds * 1_000_000 + i64::from(at.nanos) / 1000
}
