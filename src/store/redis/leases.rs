//! The acts on leases. Each is one script on the keys of one pool, which share a slot; what it may
//! change is decided there, by the store's time, and what is answered is read from the tenure.

use async_trait::async_trait;

use super::RedisStore;
use super::error::micros;
use super::scripts::{KEEP_LEASE, LEAVE_QUEUE, RELEASE_LEASE};
use super::tokens::{ATTEMPTS_MAX, pause_before};
use crate::domain::caller::Reach;
use crate::domain::lease::{Lease, LeaseId, LeaseMark, WaiterId};
use crate::domain::page::PageSize;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::{Refusal, RequestKey, Token, TokenId};
use crate::store::bells::Bells;
use crate::store::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Pools, Released};
use crate::store::{LeaseStore, StoreError};

/// Why a script ends a lease, in the numbers of the stored form.
const RELEASED: &str = "1";
const FORCED: &str = "4";

#[async_trait]
impl LeaseStore for RedisStore {
    async fn acquire(&self, asking: &Asking) -> Result<Acquired, StoreError> {
        self.acquire_lease(asking).await
    }

    async fn leave(&self, pool: &Pool, waiter: WaiterId) -> Result<(), StoreError> {
        let keys = &self.access.keys;
        let line = self.access.links.line()?;
        let call = LEAVE_QUEUE
            .call([keys.base(id_in(pool))])
            .arg(place_of(pool))
            .arg(waiter.as_str())
            .arg(self.access.now())
            .arg(keys.wake_channel());
        let answer = line.script(self.access.write_timeout, &call).await;
        answer.map(drop)
    }

    async fn release(&self, target: LeaseTarget, reach: &Reach) -> Result<Released, StoreError> {
        let (keys, id) = (&self.access.keys, target.token());
        let limit = self.access.write_timeout;
        let line = &self.access.changing().await?;
        let mark = target.mark();
        let call = RELEASE_LEASE
            .call([keys.base(id), keys.record(id), keys.tenure(id)])
            .arg(id.after_tag())
            .arg(mark.as_ref().map_or("", LeaseMark::as_str))
            .arg(reach_text(reach))
            .arg(if mark.is_some() { RELEASED } else { FORCED })
            .arg(self.access.now())
            .arg(keys.wake_channel());
        let (reading, ended) = self.act(line, id, &call).await?;
        let now = reading.now;
        let token = reading.present();
        if ended {
            self.teller.poke(token.as_ref().and_then(pool_of));
        }
        let Some(token) = token.filter(|token| reach.covers(&token.namespace)) else {
            line.confirm(limit).await?;
            return Ok(Released::Absent);
        };
        let Some(tenure) = &token.tenure else {
            return Ok(match mark {
                Some(_) => Released::Absent,
                None => Released::Unpooled,
            });
        };
        let lease = match mark {
            Some(mark) => tenure.lease(mark, now),
            None => tenure.last(now),
        };
        match (lease.cloned(), mark) {
            (Some(lease), _) => Ok(Released::Ended {
                token: Box::new(token),
                lease: Box::new(lease),
                now,
                before: !ended,
            }),
            (None, None) => Ok(Released::Idle(Box::new(token))),
            (None, Some(_)) => {
                line.confirm(limit).await?;
                Ok(Released::Absent)
            }
        }
    }

    async fn keep_alive(&self, beat: &Beat) -> Result<KeptAlive, StoreError> {
        match beat.target {
            LeaseTarget::Lease(lease) => self.keep_lease(lease, beat).await,
            LeaseTarget::Token(id) => self.keep_token(id, &beat.reach).await,
        }
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
        let line = self.access.links.line()?;
        self.see(&line).await.map(drop)
    }

    fn bells(&self) -> &Bells {
        &self.bells
    }
}

impl RedisStore {
    /// Extends a lease, in one step.
    async fn keep_lease(&self, lease: LeaseId, beat: &Beat) -> Result<KeptAlive, StoreError> {
        let LeaseId { token: id, mark } = lease;
        let keys = &self.access.keys;
        let limit = self.access.write_timeout;
        let line = &self.access.changing().await?;
        let span = beat.duration.map(|span| span.as_micros().to_string());
        let call = KEEP_LEASE
            .call([keys.base(id), keys.record(id), keys.tenure(id)])
            .arg(id.after_tag())
            .arg(mark.as_str())
            .arg(reach_text(&beat.reach))
            .arg(span.unwrap_or_default())
            .arg(self.access.now());
        let (reading, kept) = self.act(line, id, &call).await?;
        let now = reading.now;
        let token = reading.present();
        let Some(token) = token.filter(|token| beat.reach.covers(&token.namespace)) else {
            line.confirm(limit).await?;
            return Ok(KeptAlive::Absent);
        };
        let Some(tenure) = &token.tenure else {
            return Ok(KeptAlive::Absent);
        };
        match tenure.lease(mark, now).cloned() {
            Some(_) if kept => {
                let token = Box::new(token);
                Ok(KeptAlive::Kept { token, now })
            }
            Some(lease) => Ok(over(token, lease)),
            None => {
                line.confirm(limit).await?;
                Ok(KeptAlive::Absent)
            }
        }
    }

    /// Keeps a token alive and leaves its lease as it is.
    async fn keep_token(&self, id: TokenId, reach: &Reach) -> Result<KeptAlive, StoreError> {
        let limit = self.access.write_timeout;
        for attempt in 0..ATTEMPTS_MAX {
            pause_before(attempt).await;
            let line = &self.access.changing().await?;
            let reading = self.read(line, id, limit).await?;
            let (stored, now) = (reading.tenure.clone(), reading.now);
            let token = reading.present();
            let Some(token) = token.filter(|token| reach.covers(&token.namespace)) else {
                line.confirm(limit).await?;
                return Ok(KeptAlive::Absent);
            };
            let Some(mut tenure) = token.tenure.clone() else {
                return Ok(KeptAlive::Unpooled);
            };
            if token.revoked.is_some() || token.expired(now) {
                let state = token.state(now);
                return Ok(KeptAlive::Refused(Refusal::Over { state }));
            }
            let goes = token.lapse_time();
            tenure.beat(&token, now);
            let tenure = Some(tenure);
            let token = Token { tenure, ..token };
            if self.amend(line, &token, &stored, goes, now).await? {
                let token = Box::new(token);
                return Ok(KeptAlive::Kept { token, now });
            }
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }
}

fn over(token: Token, lease: Lease) -> KeptAlive {
    KeptAlive::Over {
        token: Box::new(token),
        lease: Box::new(lease),
    }
}

/// The pool as scripts know it.
pub(super) fn place_of(pool: &Pool) -> String {
    let Pool { namespace, name } = pool;
    format!("{namespace}:{}", name.as_str())
}

/// The pool of a token that is in one.
pub(super) fn pool_of(token: &Token) -> Option<Pool> {
    let name = token.profile.pool.clone()?;
    let namespace = token.namespace.clone();
    Some(Pool { namespace, name })
}

/// An id that lives where all tokens of the pool do.
pub(super) fn id_in(pool: &Pool) -> TokenId {
    let Pool { namespace, name } = pool;
    TokenId::derived(&RequestKey([0; 32])).in_pool(namespace, name)
}

/// The id of the token that a script calls by what follows the pool's tag.
pub(super) fn id_of(pool: &Pool, rest: &str) -> Result<TokenId, StoreError> {
    let text = format!("{}{rest}", id_in(pool).tag());
    let damaged = |_| StoreError::Corrupt("an entry of a pool that is no token".to_owned());
    TokenId::parse(&text).map_err(damaged)
}

/// The namespaces in reach, as scripts search them.
fn reach_text(reach: &Reach) -> String {
    match reach {
        Reach::All => "*".to_owned(),
        Reach::Only(namespaces) => {
            let names = namespaces.iter().map(|namespace| format!("{namespace}:"));
            format!(":{}", names.collect::<String>())
        }
    }
}

/// When a script's time was, in microseconds since 1970, as text.
pub(super) fn time(text: &str) -> Result<Timestamp, StoreError> {
    micros(text).map(Timestamp::from_micros)
}
