//! Leases as workers take them: some token of a pool, and at once back.

use prost::Message;
use prost_types::Duration;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    AcquireRequest, AcquireResponse, CreateRequest, LeaseEnd, ReleaseRequest, ReleaseResponse,
    release_request::Target,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::Fault;
use crate::asking::Caller;
use crate::driving::{Heard, Script};

const ACQUIRE: &str = "/tokenauthority.v1.TokenService/Acquire";
const RELEASE: &str = "/tokenauthority.v1.TokenService/Release";
pub(crate) const POOL: &str = "seats";

/// A token of the pool that needs nobody to keep it alive.
pub(crate) fn pooled_token(number: usize) -> CreateRequest {
    CreateRequest {
        name: format!("seat {number}"),
        pool: POOL.to_owned(),
        keep_alive_ttl: Some(Duration::default()),
        ..CreateRequest::default()
    }
}

/// Leases a token and gives it back, again and again; what is timed is both.
pub(crate) struct Leasing {
    /// The lease that each slot holds, and its fence.
    held: Vec<Option<(String, u64)>>,
}

impl Leasing {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            held: vec![None; slots],
        }
    }
}

impl Script for Leasing {
    fn ask(&mut self, slot: usize, message: &mut Vec<u8>) -> Option<&'static str> {
        let (written, path) = match &self.held[slot] {
            None => (wanted().encode(message), ACQUIRE),
            Some((lease_id, _)) => (release(lease_id.clone()).encode(message), RELEASE),
        };
        written.expect("a vector has room");
        Some(path)
    }

    /// An error unless it was this lease that ended.
    fn hear(&mut self, slot: usize, answer: &[u8]) -> Result<Heard, Fault> {
        let Some((_, fence)) = self.held[slot].take() else {
            let granted = AcquireResponse::decode(answer)?.lease;
            let lease = granted.ok_or("Acquire answered no lease")?;
            self.held[slot] = Some((lease.lease_id, lease.fence));
            return Ok(Heard::Part);
        };
        let ended = ReleaseResponse::decode(answer)?.lease;
        let ended = ended.ok_or("Release answered no lease")?;
        if ended.fence != fence || ended.end_reason() != LeaseEnd::Released {
            let reason = ended.end_reason().as_str_name();
            return Err(format!("Release of {fence} answered {}, {reason}", ended.fence).into());
        }
        Ok(Heard::Whole)
    }

    fn fail(&mut self, slot: usize) {
        self.held[slot] = None;
    }
}

/// An error unless a lease that nobody was granted is refused: else leases would be made up.
pub(crate) async fn sees_a_wrong_lease(
    client: &mut TokenServiceClient<Channel>,
    caller: &Caller,
) -> Result<(), Fault> {
    let made_up = release("0".repeat(44));
    match client.release(caller.request(made_up)).await {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => Err(format!("Release of a lease that never was answered {other:?}").into()),
    }
}

fn wanted() -> AcquireRequest {
    AcquireRequest {
        pool: POOL.to_owned(),
        ..AcquireRequest::default()
    }
}

fn release(lease_id: String) -> ReleaseRequest {
    ReleaseRequest {
        target: Some(Target::LeaseId(lease_id)),
        force: false,
    }
}
