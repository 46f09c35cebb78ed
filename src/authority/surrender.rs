//! Revoking a token by presenting its secret, or ending a lease by presenting that of the lease:
//! needs no credential, tells nothing, limited per peer.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::domain::address::subscriber;
use crate::domain::caller::Reach;
use crate::domain::lease::{LeaseEnd, LeaseId};
use crate::domain::name::Reason;
use crate::domain::token::{Refusal, Ruling, TokenId};
use crate::domain::verdict::Credential;
use crate::store::leases::{LeaseTarget, Released};
use crate::store::{Change, Rule};

use super::Authority;
use super::audit;
use super::budgets::Budgets;
use super::call::Call;
use super::error::Error;

/// Every answer takes at least this long, so that the wait does not tell what the secret was.
const WAIT: Duration = Duration::from_millis(50);
/// A peer may surrender this many secrets at once, and one more each [`REFILL`].
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(1);
/// Most peers that are remembered.
const PEERS_MAX: usize = 8192;

impl Authority {
    /// Revokes the token whose secret `order` holds, if it is one's. The answer is the same, after
    /// the same wait, whatever it was; an order that could not be read is refused as it says.
    pub async fn surrender(
        &self,
        call: &Call,
        order: Result<(Zeroizing<String>, Reason), Error>,
    ) -> Result<(), Error> {
        audit::available(&self.trail)?;
        let begun = Instant::now();
        let (id, result) = match self.surrenders.admit(call.peer, begun).and(order) {
            Ok((secret, reason)) => match self.mint.read(&secret) {
                Some(presented) => {
                    let id = presented.id;
                    (Some(id), self.give_up(id, secret, reason).await)
                }
                None => (None, Ok("malformed")),
            },
            Err(error) => (None, Err(error)),
        };
        audit::surrendered(&self.trail, call, id, &result);
        result?;
        tokio::time::sleep_until(begun + WAIT).await;
        Ok(())
    }

    /// Answers what became of it, which only the audit log may know.
    async fn give_up(
        &self,
        id: TokenId,
        secret: Zeroizing<String>,
        reason: Reason,
    ) -> Result<&'static str, Error> {
        let mint = self.mint.clone();
        let leased = Arc::new(OnceLock::new());
        let found = Arc::clone(&leased);
        let rule: Rule = Arc::new(move |token, now| {
            let presented = mint.read(&secret);
            let recognised = presented
                .map(|presented| mint.recognise(token, &presented, &Reach::All))
                .transpose();
            match recognised.map(Option::flatten) {
                // A secret that was replaced and cut has no power any more, not even this one.
                Ok(Some(Credential::Own { until, .. })) if until.is_none_or(|end| now < end) => {
                    token.revoke(now, reason.clone())
                }
                Ok(Some(Credential::Lease { mark, until })) if now < until => {
                    // It is its holder's to end the lease, and no more than that.
                    found.get_or_init(|| mark);
                    Ruling::Refuse(Refusal::OutOfSight)
                }
                Ok(_) => Ruling::Refuse(Refusal::OutOfSight),
                Err(_) => Ruling::Refuse(Refusal::Undecidable),
            }
        });
        match self.known(id, self.store.change(id, rule)).await? {
            Change::Changed(_) => {
                self.metrics.tokens_revoked.inc();
                Ok("done")
            }
            Change::Kept(..) => Ok("kept"),
            Change::Absent => Ok("refused"),
            Change::Refused(Refusal::Undecidable) => Err(Error::StoreUnavailable(
                "a digest was made with a pepper that is not configured".to_owned(),
            )),
            Change::Refused(_) => {
                if let Some(mark) = leased.get() {
                    let lease = LeaseId {
                        token: id,
                        mark: *mark,
                    };
                    return self.give_back(lease).await;
                }
                // As dear as an unknown id, so that a wrong secret of a known one is not told by time.
                self.store.confirm().await?;
                Ok("refused")
            }
        }
    }

    /// Ends the lease whose secret was presented.
    async fn give_back(&self, lease: LeaseId) -> Result<&'static str, Error> {
        let target = LeaseTarget::Lease(lease);
        match self.store.release(target, &Reach::All).await? {
            Released::Ended { before: false, .. } => {
                self.metrics.lease_ended(LeaseEnd::Released);
                Ok("done")
            }
            Released::Ended { before: true, .. } => Ok("kept"),
            Released::Absent | Released::Unpooled | Released::Idle(_) => Ok("refused"),
        }
    }
}

/// How many secrets each peer may still try where that tells it something.
#[derive(Debug)]
pub(super) struct PeerBudgets(Budgets<Option<IpAddr>>);

impl Default for PeerBudgets {
    fn default() -> Self {
        Self(Budgets::new(BURST, REFILL, PEERS_MAX))
    }
}

impl PeerBudgets {
    pub(super) fn admit(&self, peer: Option<IpAddr>, now: Instant) -> Result<(), Error> {
        let taken = self.0.take(peer.map(subscriber), now);
        taken.map_err(|retry_after| Error::PeerLimited { retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn a_peer_is_limited_and_another_is_not() {
        let budgets = PeerBudgets::default();
        let now = Instant::now();
        assert!((0..BURST).all(|_| budgets.admit(peer(1), now).is_ok()));
        assert_eq!(
            budgets.admit(peer(1), now),
            Err(Error::PeerLimited {
                retry_after: REFILL
            })
        );
        assert!(budgets.admit(peer(2), now).is_ok());
        let within_64 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert!((0..BURST).all(|_| budgets.admit(within_64("2001:db8::1"), now).is_ok()));
        assert!(budgets.admit(within_64("2001:db8::ffff"), now).is_err());
        assert!(budgets.admit(peer(1), now + REFILL).is_ok());
        assert!(budgets.admit(peer(1), now + REFILL).is_err());
    }
}
