//! Leases: acquiring one, perhaps after a wait, ending it, and keeping it alive.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::caller::Reach;
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::lease::{self, Holder, Lease, LeaseEnd, LeaseId, LeaseMark};
use crate::domain::name::{Namespace, PoolName, RequestId};
use crate::domain::pool::Pool;
use crate::domain::secret::Secret;
use crate::domain::tenure::Grant;
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, Refusal, RequestKey, Token, TokenId};
use crate::entropy;
use crate::store::leases::{Beat, KeptAlive, LeaseTarget, Released};

use super::Authority;
use super::access::Right;
use super::act::{self, Act};
use super::error::Error;
use super::refusal::refused;
use super::seen::Seen;
use super::waiting::{Granted, OnHold};

/// What is asked of Acquire.
#[derive(Clone, Debug)]
pub struct AcquireOrder {
    pub namespace: Option<Namespace>,
    pub pool: PoolName,
    pub holder: Holder,
    pub duration: Duration,
    /// How long to wait where no token is available; zero is not at all.
    pub wait: Duration,
    pub request_id: Option<RequestId>,
}

/// A leased token, and the secret of the lease, which exists nowhere else.
#[derive(Debug)]
pub struct Leased {
    pub seen: Seen,
    pub lease: Lease,
    pub secret: Secret,
}

/// A lease that has ended.
#[derive(Debug)]
pub struct Ended {
    pub lease: Lease,
    /// When it was seen so, by the store's time.
    pub now: Timestamp,
}

/// What a beat kept alive.
#[derive(Debug)]
pub struct Kept {
    pub token: Box<Token>,
    pub now: Timestamp,
}

impl Authority {
    /// Leases a token of a pool. Where none is available and the caller wants to wait, it waits, in
    /// the order of those who do; `on_hold` is asked for patience meanwhile.
    ///
    /// Whatever becomes of the caller, no place in the queue is left behind, and no lease that was
    /// granted to somebody who has gone, unless a request_id says that they may come back for it.
    pub async fn acquire(
        &self,
        right: &mut Right<act::Acquire>,
        order: AcquireOrder,
        on_hold: &mut dyn OnHold,
    ) -> Result<Leased, Error> {
        let AcquireOrder {
            namespace,
            pool: name,
            holder,
            duration,
            wait,
            request_id,
        } = order;
        let namespace = right.in_namespace(namespace.as_ref())?;
        let pool = Pool { namespace, name };
        let caller = right.caller().identity.to_string();
        let named = request_id.is_some();
        let origin = request_id.map(|request_id| Origin {
            key: RequestKey::of_acquire(&caller, &pool, &request_id),
            fingerprint: lease::fingerprint(&pool, &holder, duration),
        });
        let (digits, digest) = self.mint.draw()?;
        let grant = Grant {
            mark: mark()?,
            holder,
            duration,
            origin,
            digest,
        };
        let granted = self.granted(&pool, grant, wait, on_hold).await;
        let granted = granted.map_err(|error| self.counted(error))?;
        right.about(granted.token.id);
        self.handed_over(right, granted, &digits, named, on_hold)
            .await
    }

    /// Puts together what the holder gets. Where nobody is there any more to get it, the lease is
    /// given back; but that of a request with a name is kept for whoever asks by that name again,
    /// and may have been answered to them already.
    async fn handed_over(
        &self,
        right: &Right<act::Acquire>,
        granted: Granted,
        digits: &Zeroizing<String>,
        named: bool,
        on_hold: &mut dyn OnHold,
    ) -> Result<Leased, Error> {
        let Granted {
            token,
            lease,
            now,
            replayed,
            waited,
        } = granted;
        if !replayed {
            self.metrics.leases_granted.inc();
        }
        let secret = self.mint.assemble(&token.id, digits);
        let id = LeaseId {
            token: token.id,
            mark: lease.mark,
        };
        let may = match waited {
            true => still_may(right, &token.namespace, on_hold).await,
            false => Ok(()),
        };
        let seen = match may {
            Ok(()) => self.see(Arc::new(*token), now).await,
            Err(lost) => Err(lost),
        };
        // At the very last, so that nobody goes unnoticed meanwhile.
        let seen = match on_hold.has_gone() {
            true => seen.and(Err(Error::CallerGone)),
            false => seen,
        };
        let may_come_back = named && !matches!(&seen, Err(error) if is_denial(error));
        if seen.is_err() && !replayed && !may_come_back {
            self.taken_back(id).await;
        }
        Ok(Leased {
            seen: seen?,
            lease: *lease,
            secret,
        })
    }

    /// Ends a lease that nobody was told of. Where the store cannot be told, it ends by itself.
    async fn taken_back(&self, id: LeaseId) {
        let released = self.store.release(LeaseTarget::Lease(id), &Reach::All);
        match released.await {
            Ok(_) => self.metrics.lease_ended(LeaseEnd::Released),
            Err(why) => tracing::debug!(%why, "a lease that nobody holds is left to itself"),
        }
    }

    fn counted(&self, error: Error) -> Error {
        if matches!(error, Error::PoolExhausted { .. }) {
            self.metrics.leases_refused.inc();
        }
        error
    }

    /// Ends a lease by its name.
    pub async fn release(
        &self,
        right: &mut Right<act::Release>,
        id: LeaseId,
    ) -> Result<Ended, Error> {
        self.end(right, LeaseTarget::Lease(id)).await
    }

    /// Takes a token from whoever holds it.
    pub async fn force_release(
        &self,
        right: &mut Right<act::ForcedRelease>,
        id: TokenId,
    ) -> Result<Ended, Error> {
        self.end(right, LeaseTarget::Token(id)).await
    }

    async fn end<A: Act>(&self, right: &mut Right<A>, target: LeaseTarget) -> Result<Ended, Error> {
        let id = target.token();
        right.about(id);
        match self.store.release(target, right.reach()).await? {
            Released::Absent => Err(absent(target)),
            Released::Unpooled => Err(Error::NotPooled(id)),
            Released::Idle(token) => {
                right.found_in(&token.namespace);
                Err(Error::NotLeased(id))
            }
            Released::Ended {
                token,
                lease,
                now,
                before,
            } => {
                right.found_in(&token.namespace);
                if let (Some((_, end)), false) = (lease.end(now), before) {
                    self.metrics.lease_ended(end);
                }
                Ok(Ended { lease: *lease, now })
            }
        }
    }

    /// Keeps a lease alive, and with it its token.
    pub async fn keep_alive<A: KeepsLease>(
        &self,
        right: &Right<A>,
        id: LeaseId,
        duration: Option<Duration>,
    ) -> Result<Kept, Error> {
        self.kept(right, LeaseTarget::Lease(id), duration).await
    }

    /// Keeps a token alive, whoever holds it.
    pub async fn keep_token_alive(
        &self,
        right: &mut Right<act::TokenKeepAlive>,
        id: TokenId,
    ) -> Result<Kept, Error> {
        right.about(id);
        self.kept(right, LeaseTarget::Token(id), None).await
    }

    async fn kept<A: Act>(
        &self,
        right: &Right<A>,
        target: LeaseTarget,
        duration: Option<Duration>,
    ) -> Result<Kept, Error> {
        let id = target.token();
        let beat = Beat {
            target,
            duration,
            reach: right.reach().clone(),
        };
        match self.store.keep_alive(&beat).await? {
            KeptAlive::Absent => Err(absent(target)),
            KeptAlive::Unpooled => Err(Error::NotPooled(id)),
            KeptAlive::Over { token, lease } => {
                right.found_in(&token.namespace);
                let end = lease.ended.map_or(lease.lapse, |(_, why)| why);
                Err(Error::LeaseOver { id, end })
            }
            KeptAlive::Refused(refusal) => Err(refused(refusal, id, "")),
            KeptAlive::Kept { token, now } => {
                right.found_in(&token.namespace);
                Ok(Kept { token, now })
            }
        }
    }
}

/// An act that keeps leases alive by their names.
pub trait KeepsLease: Act {}
impl KeepsLease for act::KeepAlive {}
impl KeepsLease for act::KeepAliveStream {}

/// Whether a call that waited may still have what it waited for: its caller may be revoked by now.
async fn still_may(
    right: &Right<act::Acquire>,
    namespace: &Namespace,
    on_hold: &mut dyn OnHold,
) -> Result<(), Error> {
    let by_now = on_hold.caller_by_now().await?;
    right.recheck(&by_now, namespace)
}

fn is_denial(error: &Error) -> bool {
    matches!(
        error,
        Error::Unauthenticated(_) | Error::PermissionMissing { .. }
    )
}

fn mark() -> Result<LeaseMark, Error> {
    let digits = entropy::digits(LeaseMark::DIGITS)?;
    LeaseMark::parse(&digits).map_err(|flaw| Error::Internal(flaw.to_string()))
}

fn absent(target: LeaseTarget) -> Error {
    match target {
        LeaseTarget::Lease(id) => Error::LeaseNotFound(id.token),
        LeaseTarget::Token(id) => Error::TokenNotFound(id),
    }
}

/// The answer to an Acquire whose request was answered before.
pub(super) fn replay_refused(refusal: Refusal, pool: Pool) -> Error {
    match refusal {
        Refusal::RequestDiffers => {
            let flaw = "was used before by this caller with other arguments";
            Error::Invalid(Violations::one("request_id", Flaw::new(flaw)))
        }
        Refusal::RequestUsed => Error::AcquireUsed(pool),
        other => Error::Internal(format!("an Acquire was refused: {other:?}")),
    }
}
