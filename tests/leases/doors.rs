//! Doors by which workers come to leases: a store itself, or a running authority.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use token_authority::domain::caller::Reach;
use token_authority::domain::lease::LeaseId;
use token_authority::domain::page::PageSize;
use token_authority::domain::pool::Pool;
use token_authority::store::Store;
use token_authority::store::leases::{Acquired, Asking, KeptAlive, LeaseTarget, Released};
use token_authority::transport::grpc::pb;
use tonic::{Code, Status};

use crate::harness::{Client, span};
use crate::history::{Counts, Granted, Micros};
use crate::support::leases::{asking_for, beat, lease_id, waiter};

/// No answer came: whether it was done is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

#[async_trait]
pub(crate) trait Door: Send + Sync {
    /// Asks for a lease, and waits for at most so long; `None` where none is to be had.
    async fn acquire(&self, duration: Duration, wait: Duration) -> Result<Option<Granted>, Lost>;

    /// Answers until when the lease lasts now; `None` where it is over.
    async fn keep_alive(&self, lease: &str) -> Result<Option<Micros>, Lost>;

    /// Answers when the lease ended; `None` where it is not remembered.
    async fn release(&self, lease: &str) -> Result<Option<Micros>, Lost>;

    async fn counts(&self) -> Result<Counts, Lost>;
}

/// A store in this process, with a pool of its own.
pub(crate) struct Inside {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pool: Pool,
}

impl Inside {
    async fn ask(&self, asking: &Asking) -> Result<Option<Granted>, Lost> {
        match self.store.acquire(asking).await.map_err(|_| Lost)? {
            Acquired::Granted { token, lease, .. } => Ok(Some(Granted {
                token: token.id.to_string(),
                lease: lease_id(&token, &lease).expose(),
                fence: lease.fence,
                from: lease.acquire_time.micros(),
                until: lease.expire_time.micros(),
            })),
            Acquired::Busy { .. } => Ok(None),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[async_trait]
impl Door for Inside {
    async fn acquire(&self, duration: Duration, wait: Duration) -> Result<Option<Granted>, Lost> {
        const AGAIN: Duration = Duration::from_millis(500);
        let mut asking = asking_for(&self.pool, duration);
        if wait.is_zero() {
            return self.ask(&asking).await;
        }
        let own = waiter();
        asking.waiter = Some(own);
        let bell = self.store.bells().hang(own);
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let granted = self.ask(&asking).await?;
            if granted.is_some() {
                return Ok(granted);
            }
            if left.is_zero() {
                let left = self.store.leave(&self.pool, own).await;
                return left.map(|()| None).map_err(|_| Lost);
            }
            // Rung or not, it asks again.
            let _ = tokio::time::timeout(left.min(AGAIN), bell.rung()).await;
        }
    }

    async fn keep_alive(&self, lease: &str) -> Result<Option<Micros>, Lost> {
        let id = LeaseId::parse(lease).expect("a lease");
        let kept = self.store.keep_alive(&beat(id)).await;
        match kept.map_err(|_| Lost)? {
            KeptAlive::Kept { token, now } => {
                let tenure = token.tenure.expect("a pooled token");
                let live = tenure.live(now).expect("it is in force");
                Ok(Some(live.expire_time.micros()))
            }
            KeptAlive::Over { .. } | KeptAlive::Absent => Ok(None),
            other => panic!("unexpected {other:?}"),
        }
    }

    async fn release(&self, lease: &str) -> Result<Option<Micros>, Lost> {
        let id = LeaseId::parse(lease).expect("a lease");
        let target = LeaseTarget::Lease(id);
        let released = self.store.release(target, &Reach::All).await;
        match released.map_err(|_| Lost)? {
            Released::Ended { lease, .. } => Ok(Some(lease.over_at().micros())),
            Released::Absent => Ok(None),
            other => panic!("unexpected {other:?}"),
        }
    }

    async fn counts(&self) -> Result<Counts, Lost> {
        let reach = Reach::only(self.pool.namespace.clone());
        let pools = self.store.pools(&reach, None, PageSize::asked(1000)).await;
        let pools = pools.map_err(|_| Lost)?.pools;
        let own = pools.into_iter().find(|(pool, _)| *pool == self.pool);
        let (_, standing) = own.expect("the pool is listed");
        Ok([standing.available, standing.leased, standing.unavailable])
    }
}

/// A running authority, by gRPC.
pub(crate) struct Wire {
    pub(crate) client: Client,
    pub(crate) pool: String,
}

/// The codes that answer about leases; with any other, nothing is known.
fn unless_told(status: &Status, told: &[Code]) -> Result<Option<Micros>, Lost> {
    match told.contains(&status.code()) {
        true => Ok(None),
        false => Err(Lost),
    }
}

fn micros(time: Option<prost_types::Timestamp>) -> Micros {
    let time = time.expect("a time");
    let seconds = u64::try_from(time.seconds).expect("after 1970");
    seconds * 1_000_000 + u64::try_from(time.nanos / 1000).expect("within a second")
}

#[async_trait]
impl Door for Wire {
    async fn acquire(&self, duration: Duration, wait: Duration) -> Result<Option<Granted>, Lost> {
        let request = pb::AcquireRequest {
            pool: self.pool.clone(),
            holder: "worker".to_owned(),
            lease_duration: Some(span(duration)),
            wait: Some(span(wait)),
            ..pb::AcquireRequest::default()
        };
        let answer = match self.client.clone().acquire(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                let told = [Code::ResourceExhausted, Code::DeadlineExceeded];
                return unless_told(&status, &told).map(|_| None);
            }
        };
        let lease = answer.lease.expect("a lease");
        Ok(Some(Granted {
            token: answer.token.expect("a token").token_id,
            lease: lease.lease_id,
            fence: lease.fence,
            from: micros(lease.acquire_time),
            until: micros(lease.expire_time),
        }))
    }

    async fn keep_alive(&self, lease: &str) -> Result<Option<Micros>, Lost> {
        let request = pb::KeepAliveRequest {
            target: Some(pb::keep_alive_request::Target::LeaseId(lease.to_owned())),
            lease_duration: None,
        };
        match self.client.clone().keep_alive(request).await {
            Ok(answer) => {
                let lease = answer.into_inner().lease.expect("a lease");
                Ok(Some(micros(lease.expire_time)))
            }
            Err(status) => unless_told(&status, &[Code::FailedPrecondition, Code::NotFound]),
        }
    }

    async fn release(&self, lease: &str) -> Result<Option<Micros>, Lost> {
        let request = pb::ReleaseRequest {
            target: Some(pb::release_request::Target::LeaseId(lease.to_owned())),
            force: false,
        };
        match self.client.clone().release(request).await {
            Ok(answer) => {
                let lease = answer.into_inner().lease.expect("a lease");
                Ok(Some(micros(lease.end_time)))
            }
            Err(status) => unless_told(&status, &[Code::NotFound]),
        }
    }

    async fn counts(&self) -> Result<Counts, Lost> {
        let request = pb::ListPoolsRequest::default();
        let listed = self.client.clone().list_pools(request).await;
        let pools = listed.map_err(|_| Lost)?.into_inner().pools;
        let own = pools.into_iter().find(|pool| pool.pool == self.pool);
        let own = own.expect("the pool is listed");
        Ok([own.available, own.leased, own.unavailable])
    }
}
