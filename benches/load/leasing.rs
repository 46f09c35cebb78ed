//! Leases as workers take them: some token of a pool, and at once back.

use prost_types::Duration;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    AcquireRequest, CreateRequest, LeaseEnd, ReleaseRequest, release_request::Target,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::Fault;
use crate::asking::Caller;

const POOL: &str = "seats";
/// How many workers share the pool at most; each has one token at a time.
pub(crate) const WORKERS_MAX: usize = 64;

/// A token of the pool that needs nobody to keep it alive.
pub(crate) fn pooled_token(number: usize) -> CreateRequest {
    CreateRequest {
        name: format!("seat {number}"),
        pool: POOL.to_owned(),
        keep_alive_ttl: Some(Duration::default()),
        ..CreateRequest::default()
    }
}

/// Leases a token and gives it back; an error unless it was this lease that ended.
pub(crate) async fn acquire_and_release(
    client: &mut TokenServiceClient<Channel>,
    caller: &Caller,
) -> Result<(), Fault> {
    let wanted = AcquireRequest {
        pool: POOL.to_owned(),
        ..AcquireRequest::default()
    };
    let granted = client.acquire(caller.request(wanted)).await?.into_inner();
    let held = granted.lease.ok_or("Acquire answered no lease")?;
    let released = client.release(caller.request(release(held.lease_id)));
    let ended = released.await?.into_inner().lease;
    let ended = ended.ok_or("Release answered no lease")?;
    if ended.fence != held.fence || ended.end_reason() != LeaseEnd::Released {
        let (fence, reason) = (held.fence, ended.end_reason().as_str_name());
        return Err(format!("Release of {fence} answered {}, {reason}", ended.fence).into());
    }
    Ok(())
}

/// An error unless a lease that nobody was granted is refused: else leases would be made up.
pub(crate) async fn sees_a_wrong_lease(
    client: &mut TokenServiceClient<Channel>,
    caller: &Caller,
) -> Result<(), Fault> {
    acquire_and_release(client, caller).await?;
    let made_up = release("0".repeat(44));
    match client.release(caller.request(made_up)).await {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => Err(format!("Release of a lease that never was answered {other:?}").into()),
    }
}

fn release(lease_id: String) -> ReleaseRequest {
    ReleaseRequest {
        target: Some(Target::LeaseId(lease_id)),
        force: false,
    }
}
