//! Leases whose fate their pool's name tells.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use token_authority::transport::grpc::pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Answer, ID, refused, token};

pub(crate) const LEASE_SECRET: &str =
    "ta_7fUe0Vn3cK2rQhJx5mTzWaLease678901234567890123456789012345678901230123ab";

/// What became of the leases so far.
#[derive(Default)]
pub(crate) struct Leases {
    acquires: AtomicU64,
    pub(crate) streams: AtomicU64,
    pub(crate) beats: AtomicU64,
    pub(crate) releases: AtomicU64,
    /// Names of leases that calls named.
    pub(crate) named: Mutex<Vec<String>>,
}

pub(crate) type Answers =
    Pin<Box<dyn Stream<Item = Result<pb::KeepAliveStreamResponse, Status>> + Send>>;

/// The name of the lease that Acquire answers of a pool.
pub(crate) fn lease_id(pool: &str) -> String {
    format!("{ID}{pool:0<22}")
}

/// How long leases of that pool last.
fn lasting(pool: &str) -> Duration {
    match pool {
        "gpu" => Duration::from_secs(60),
        _ => Duration::from_secs(2),
    }
}

fn pool_of(lease_id: &str) -> &str {
    lease_id[ID.len()..].trim_end_matches('0')
}

fn lease(lease_id: &str) -> pb::Lease {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    pb::Lease {
        lease_id: lease_id.to_owned(),
        holder: "w1".to_owned(),
        fence: 42,
        acquire_time: Some(now.into()),
        expire_time: Some((now + lasting(pool_of(lease_id))).into()),
        ..pb::Lease::default()
    }
}

fn ended(lease_id: &str, reason: pb::LeaseEnd) -> pb::Lease {
    let lease = lease(lease_id);
    pb::Lease {
        end_time: lease.acquire_time,
        end_reason: reason.into(),
        ..lease
    }
}

impl Leases {
    pub(super) fn acquire(&self, asked: &pb::AcquireRequest) -> Answer<pb::AcquireResponse> {
        match asked.pool.as_str() {
            "full" => {
                let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(12)));
                details.set_error_info("ERROR_REASON_POOL_EXHAUSTED", "tokenauthority", []);
                let why = "no token of the pool is available";
                return Err(Status::with_error_details(
                    Code::ResourceExhausted,
                    why,
                    details,
                ));
            }
            "busy" if self.acquires.fetch_add(1, SeqCst) == 0 => {
                let reason = "ERROR_REASON_DRAINING";
                let why = "the wait ends: the connection does";
                return Err(refused(Code::Unavailable, reason, why));
            }
            "absent" => {
                let reason = "ERROR_REASON_POOL_NOT_FOUND";
                return Err(refused(Code::NotFound, reason, "the pool has no token"));
            }
            _ => {}
        }
        let lease = lease(&lease_id(&asked.pool));
        Ok(Response::new(pb::AcquireResponse {
            token: Some(pb::Token {
                pool: asked.pool.clone(),
                lease: Some(pb::Lease {
                    lease_id: String::new(),
                    ..lease.clone()
                }),
                ..token("pooled")
            }),
            lease: Some(lease),
            secret: LEASE_SECRET.to_owned(),
        }))
    }

    /// Notes the name of a lease, which messages do not print.
    fn name<'a>(&self, id: &'a str) -> &'a str {
        self.named.lock().unwrap().push(id.to_owned());
        id
    }

    pub(super) fn release(&self, asked: pb::ReleaseRequest) -> Answer<pb::ReleaseResponse> {
        use pb::release_request::Target;
        self.releases.fetch_add(1, SeqCst);
        let lease = match asked.target {
            Some(Target::LeaseId(id)) => ended(self.name(&id), pb::LeaseEnd::Released),
            Some(Target::TokenId(_)) if asked.force => pb::Lease {
                lease_id: String::new(),
                ..ended(&lease_id("gpu"), pb::LeaseEnd::Forced)
            },
            _ => {
                let why = "invalid request: force: must be set with token_id";
                return Err(Status::invalid_argument(why));
            }
        };
        Ok(Response::new(pb::ReleaseResponse { lease: Some(lease) }))
    }

    pub(super) fn keep_alive(
        &self,
        asked: &pb::KeepAliveRequest,
    ) -> Result<pb::KeepAliveResponse, Status> {
        use pb::keep_alive_request::Target;
        let before = self.beats.fetch_add(1, SeqCst);
        let id = match &asked.target {
            Some(Target::LeaseId(id)) => self.name(id),
            _ => return Ok(pb::KeepAliveResponse::default()),
        };
        let pool = pool_of(id);
        if pool == "lost" && before > 0 {
            let why = "the lease has ended";
            let reason = "ERROR_REASON_LEASE_OVER";
            return Err(refused(Code::FailedPrecondition, reason, why));
        }
        let third = prost_types::Duration::try_from(lasting(pool) / 3);
        Ok(pb::KeepAliveResponse {
            lease: Some(lease(id)),
            keep_alive_deadline: lease(id).expire_time,
            next_beat_after: third.ok(),
        })
    }

    /// Answers each beat; that of a lease of `cut` once on each stream, that of `mute` never.
    pub(super) fn stream(
        self: Arc<Self>,
        mut beats: Streaming<pb::KeepAliveStreamRequest>,
    ) -> Answers {
        self.streams.fetch_add(1, SeqCst);
        let (answers, outgoing) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(Ok(beat)) = beats.next().await {
                let asked = beat.request.unwrap_or_default();
                let pool = match &asked.target {
                    Some(pb::keep_alive_request::Target::LeaseId(id)) => pool_of(id).to_owned(),
                    _ => String::new(),
                };
                if pool == "mute" {
                    continue;
                }
                use pb::keep_alive_stream_response::Result as Outcome;
                let result = match self.keep_alive(&asked) {
                    Ok(kept) => Outcome::Response(kept),
                    Err(status) => Outcome::Error(tonic_types::pb::Status {
                        code: status.code().into(),
                        message: status.message().to_owned(),
                        details: Vec::new(),
                    }),
                };
                let answer = pb::KeepAliveStreamResponse {
                    id: beat.id,
                    result: Some(result),
                };
                if answers.send(Ok(answer)).await.is_err() || pool == "cut" {
                    return;
                }
            }
        });
        Box::pin(ReceiverStream::new(outgoing))
    }
}
