//! The acts on leases.

use async_trait::async_trait;

use super::SqliteStore;
use super::acquire::hold;
use super::error::Fault;
use super::tokens::{Acts, Entry};
use crate::domain::caller::Reach;
use crate::domain::lease::{LeaseEnd, WaiterId};
use crate::domain::page::PageSize;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::{Refusal, State, Token};
use crate::store::bells::Bells;
use crate::store::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Pools, Released};
use crate::store::{LeaseStore, StoreError};

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire(&self, asking: &Asking) -> Result<Acquired, StoreError> {
        loop {
            let asking = asking.clone();
            let step = move |acts: &Acts<'_>| acts.acquire(&asking);
            if let Some(answer) = self.inner.write(step).await? {
                return Ok(answer);
            }
        }
    }

    async fn leave(&self, pool: &Pool, waiter: WaiterId) -> Result<(), StoreError> {
        let pool = pool.clone();
        let act = move |acts: &Acts<'_>| {
            acts.queues.leave(&pool, waiter);
            acts.call(&pool, acts.time.now())
        };
        self.inner.write(act).await
    }

    async fn release(&self, target: LeaseTarget, reach: &Reach) -> Result<Released, StoreError> {
        let reach = reach.clone();
        let act = move |acts: &Acts<'_>| acts.release(target, &reach);
        self.inner.write(act).await
    }

    async fn keep_alive(&self, beat: &Beat) -> Result<KeptAlive, StoreError> {
        let beat = beat.clone();
        let act = move |acts: &Acts<'_>| acts.keep_alive(&beat);
        self.inner.write(act).await
    }

    async fn pools(
        &self,
        reach: &Reach,
        after: Option<&Pool>,
        size: PageSize,
    ) -> Result<Pools, StoreError> {
        self.list_pools(reach, after, size).await
    }

    async fn be_seen(&self) -> Result<(), StoreError> {
        self.inner.confirm()?;
        // It is written down with the store's time, which moves on by this.
        self.inner.seen.see(self.inner.time.now());
        Ok(())
    }

    fn bells(&self) -> &Bells {
        &self.inner.bells
    }
}

impl Acts<'_> {
    pub(super) fn release(&self, target: LeaseTarget, reach: &Reach) -> Result<Released, Fault> {
        let now = self.time.now();
        let Some(Entry { row, spot, token }) = self.within(target, reach, now)? else {
            return Ok(Released::Absent);
        };
        let (Some(tenure), mark) = (&token.tenure, target.mark()) else {
            return Ok(match target {
                LeaseTarget::Lease(_) => Released::Absent,
                LeaseTarget::Token(_) => Released::Unpooled,
            });
        };
        let lease = match mark {
            Some(mark) => tenure.lease(mark, now),
            None => tenure.live(now).or_else(|| tenure.last(now)),
        };
        let Some(lease) = lease else {
            return Ok(match target {
                LeaseTarget::Lease(_) => Released::Absent,
                LeaseTarget::Token(_) => Released::Idle(Box::new(token)),
            });
        };
        if !lease.is_live(now) {
            return Ok(Released::Ended {
                lease: Box::new(lease.clone()),
                token: Box::new(token),
                now,
                before: true,
            });
        }
        let reason = match target {
            LeaseTarget::Lease(_) => LeaseEnd::Released,
            LeaseTarget::Token(_) => LeaseEnd::Forced,
        };
        let mut ended = lease.clone();
        ended.ended = Some((now, reason));
        let token = hold(token, |tenure, token| tenure.release(token, now, reason));
        Ok(Released::Ended {
            token: Box::new(self.stand(row, spot, token, now)?),
            lease: Box::new(ended),
            now,
            before: false,
        })
    }

    pub(super) fn keep_alive(&self, beat: &Beat) -> Result<KeptAlive, Fault> {
        let now = self.time.now();
        let Beat {
            target,
            duration,
            reach,
        } = beat;
        let Some(Entry { row, spot, token }) = self.within(*target, reach, now)? else {
            return Ok(KeptAlive::Absent);
        };
        let token = match (&token.tenure, target.mark()) {
            (None, Some(_)) => return Ok(KeptAlive::Absent),
            (None, None) => return Ok(KeptAlive::Unpooled),
            (Some(tenure), Some(mark)) => match tenure.lease(mark, now) {
                None => return Ok(KeptAlive::Absent),
                Some(lease) if !lease.is_live(now) => {
                    return Ok(KeptAlive::Over {
                        lease: Box::new(lease.clone()),
                        token: Box::new(token),
                    });
                }
                Some(_) => hold(token, |tenure, token| tenure.extend(token, now, *duration)),
            },
            (Some(_), None) => {
                if let Some(state) = over(&token, now) {
                    return Ok(KeptAlive::Refused(Refusal::Over { state }));
                }
                hold(token, |tenure, token| tenure.beat(token, now))
            }
        };
        let token = self.stand(row, spot, token, now)?;
        Ok(KeptAlive::Kept {
            token: Box::new(token),
            now,
        })
    }

    /// The token that is named, where it is within reach.
    fn within(
        &self,
        target: LeaseTarget,
        reach: &Reach,
        now: Timestamp,
    ) -> Result<Option<Entry>, Fault> {
        let entry = self.present(self.find(target.token())?, now)?;
        Ok(entry.filter(|entry| reach.covers(&entry.token.namespace)))
    }
}

/// In which way a token is over, if it is.
fn over(token: &Token, now: Timestamp) -> Option<State> {
    match token.revoked {
        Some(_) => Some(State::Revoked),
        None => token.expired(now).then_some(State::Expired),
    }
}
