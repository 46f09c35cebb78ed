//! Leases of pooled tokens: taken, kept alive while somebody works, and known to be lost in time.

use std::{error::Error, fmt, time::Duration};

use tokio::{sync::watch, task::AbortHandle, time::Instant};
use tonic::{Code, Status, transport::Channel};

use crate::{
    channel::{Authority, BadCredential, authority},
    pb::{
        AcquireRequest, AcquireResponse, KeepAliveRequest, ReleaseRequest, Token,
        keep_alive_request, release_request,
    },
    retry::RetryPolicy,
};

const PAUSE: Duration = Duration::from_millis(200);

/// Takes leases, with a credential that has the permission `lease`.
#[derive(Clone)]
pub struct Worker {
    authority: Authority,
    deadline: Duration,
}

impl Worker {
    /// Each call takes at most `deadline`.
    ///
    /// # Errors
    ///
    /// When the credential cannot stand in a header.
    pub fn new(
        channel: Channel,
        credential: &str,
        deadline: Duration,
    ) -> Result<Self, BadCredential> {
        let authority = authority(channel, credential)?;
        Ok(Self {
            authority,
            deadline,
        })
    }

    /// Leases a token of `request.pool`, and keeps it alive from now on. The request is given a `request_id` where it has
    /// none, so that attempts are safe to repeat.
    ///
    /// # Errors
    ///
    /// Where none is to be had: `RESOURCE_EXHAUSTED` after `request.wait`.
    pub async fn acquire(&self, mut request: AcquireRequest) -> Result<HeldLease, Status> {
        if request.request_id.is_empty() {
            request.request_id = format!("{:032x}", rand::random::<u128>());
        }
        let wait = request.wait.and_then(|wait| Duration::try_from(wait).ok());
        let within = self.deadline + wait.unwrap_or_default();
        let acquired = self
            .call(within, request, |mut authority, request| async move {
                authority.acquire(request).await
            })
            .await?;
        HeldLease::hold(self.clone(), acquired).await
    }

    /// Keeps a lease alive. Counted from before the call, it is never over earlier than the answer says.
    async fn beat(&self, lease_id: &str, within: Duration) -> Result<Beat, Status> {
        let begun = Instant::now();
        let request = KeepAliveRequest {
            target: Some(keep_alive_request::Target::LeaseId(lease_id.to_owned())),
            lease_duration: None,
        };
        let kept = self
            .call(
                within.min(self.deadline),
                request,
                |mut authority, request| async move { authority.keep_alive(request).await },
            )
            .await?;
        let third = kept
            .next_beat_after
            .and_then(|third| Duration::try_from(third).ok());
        let third = third.unwrap_or_default();
        Ok(Beat {
            due: begun + third,
            over: begun + 3 * third,
        })
    }

    async fn release(&self, lease_id: &str) -> Result<(), Status> {
        let request = ReleaseRequest {
            target: Some(release_request::Target::LeaseId(lease_id.to_owned())),
            force: false,
        };
        self.call(
            self.deadline,
            request,
            |mut authority, request| async move { authority.release(request).await },
        )
        .await?;
        Ok(())
    }

    async fn call<Q: Clone, A, F>(
        &self,
        within: Duration,
        request: Q,
        call: impl Fn(Authority, tonic::Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let over = Instant::now() + within;
        let attempts = RetryPolicy::DEFAULT.run(request, |mut attempt| {
            attempt.set_timeout(over.saturating_duration_since(Instant::now()));
            call(self.authority.clone(), attempt)
        });
        let answered = tokio::time::timeout_at(over, attempts).await;
        let late = |_| Err(Status::deadline_exceeded("the authority did not answer"));
        answered
            .unwrap_or_else(late)
            .map(tonic::Response::into_inner)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Beat {
    due: Instant,
    over: Instant,
}

/// The exclusive use of one token. Ask [`check`](Self::check) before each step that needs it.
///
/// One that is dropped is released in the background, where a runtime is left for it.
pub struct HeldLease {
    worker: Worker,
    acquired: AcquireResponse,
    lease_id: String,
    /// When the lease will be over, or `None` once it is lost.
    over: watch::Receiver<Option<Instant>>,
    beats: AbortHandle,
    released: bool,
}

impl HeldLease {
    async fn hold(worker: Worker, acquired: AcquireResponse) -> Result<Self, Status> {
        let lease = acquired.lease.clone().unwrap_or_default();
        // How long the answer was under way nobody knows; this beat tells how long the lease lasts.
        let first = match worker.beat(&lease.lease_id, worker.deadline).await {
            Ok(first) => first,
            Err(error) => {
                // Where that fails, too, its time ends it.
                let _ = worker.release(&lease.lease_id).await;
                return Err(error);
            }
        };
        let (tell, over) = watch::channel(Some(first.over));
        let beating = beats(worker.clone(), lease.lease_id.clone(), first, tell);
        let beats = tokio::spawn(beating).abort_handle();
        Ok(Self {
            worker,
            acquired,
            lease_id: lease.lease_id,
            over,
            beats,
            released: false,
        })
    }

    /// The leased token.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.acquired.token.as_ref()
    }

    /// A secret that is valid for exactly this lease.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.acquired.secret
    }

    /// Greater than that of every earlier lease of the token: send it along with each write.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.acquired.lease.as_ref().map_or(0, |lease| lease.fence)
    }

    /// The fence, as long as the lease is ours for sure.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self) -> Result<u64, LeaseLost> {
        match *self.over.borrow() {
            Some(over) if Instant::now() < over => Ok(self.fence()),
            _ => Err(LeaseLost),
        }
    }

    /// Waits until the lease is known to be lost.
    pub async fn lost(&self) {
        let mut over = self.over.clone();
        // Its sender goes only with the task, which tells so first.
        let _ = over.wait_for(Option::is_none).await;
    }

    /// Ends the lease.
    ///
    /// # Errors
    ///
    /// When the authority does not answer; the lease's time ends it, then.
    pub async fn release(mut self) -> Result<(), Status> {
        self.released = true;
        self.beats.abort();
        self.worker.release(&self.lease_id).await
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.beats.abort();
        if self.released {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (worker, lease_id) = (self.worker.clone(), std::mem::take(&mut self.lease_id));
            runtime.spawn(async move { worker.release(&lease_id).await });
        }
    }
}

impl fmt::Debug for HeldLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldLease")
            .field("fence", &self.fence())
            .finish_non_exhaustive()
    }
}

/// Beats until the lease is lost, and tells so.
async fn beats(
    worker: Worker,
    lease_id: String,
    mut beat: Beat,
    tell: watch::Sender<Option<Instant>>,
) {
    loop {
        tokio::time::sleep_until(beat.due.min(beat.over)).await;
        let left = beat.over.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match worker.beat(&lease_id, left).await {
            Ok(kept) => {
                beat = kept;
                tell.send_replace(Some(beat.over));
            }
            Err(error) => {
                tracing::warn!(code = ?error.code(), "a beat failed");
                // After these it will never be ours again; after others its time decides.
                if matches!(error.code(), Code::FailedPrecondition | Code::NotFound) {
                    break;
                }
                beat.due = Instant::now() + PAUSE;
            }
        }
    }
    tell.send_replace(None);
}

/// The lease is not ours any more, or may not be: whatever it protects must be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLost;

impl fmt::Display for LeaseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lease is lost")
    }
}

impl Error for LeaseLost {}
