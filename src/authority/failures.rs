//! Failure budgets: whoever presents one secret after the other that is not in force, is not read for
//! any more. No verdict comes of it, and nobody else notices.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::address::subscriber;
use crate::domain::caller::Identity;
use crate::domain::verdict::Verdict;

use super::Authority;
use super::budgets::Budgets;
use super::error::Error;
use super::look::Place;

/// Most suspects that are remembered: some 4 MB, where each is another caller.
const SUSPECTS_MAX: usize = 16_384;
const MINUTE: Duration = Duration::from_secs(60);

/// Who is behind a secret that is to be judged, and so behind its failure. Never the token: else
/// strangers could use up what its owner needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect<'a> {
    /// Who asks about the secret; `None` where it is the caller's own, so that nobody is known yet.
    caller: Option<&'a Identity>,
    address: Option<IpAddr>,
}

impl<'a> Suspect<'a> {
    /// The client that `caller` asks about, by the address that it names, else by the caller's own.
    pub(super) fn client_of(
        caller: &'a Identity,
        named: Option<IpAddr>,
        peer: Option<IpAddr>,
    ) -> Self {
        Self {
            caller: Some(caller),
            address: named.or(peer).map(subscriber),
        }
    }

    /// A peer that presents a secret as its own.
    pub(super) fn peer(peer: Option<IpAddr>) -> Self {
        Self {
            caller: None,
            address: peer.map(subscriber),
        }
    }

    fn key(self) -> (Option<Identity>, Option<IpAddr>) {
        (self.caller.cloned(), self.address)
    }
}

/// What stands for one client, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    V4,
    /// An IPv6 /64.
    V6,
    /// A Unix socket.
    None,
}

impl AddressKind {
    fn of(address: Option<IpAddr>) -> Self {
        match address {
            Some(IpAddr::V4(_)) => Self::V4,
            Some(IpAddr::V6(_)) => Self::V6,
            None => Self::None,
        }
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "this IPv4 address",
            Self::V6 => "this IPv6 /64",
            Self::None => "a client without an address",
        })
    }
}

/// How many failures each suspect has left.
#[derive(Debug)]
pub(super) struct FailureBudgets {
    budgets: Budgets<(Option<Identity>, Option<IpAddr>)>,
    per_minute: u32,
}

impl FailureBudgets {
    /// So many at once, and so many in each minute after that; `None` for as many as come.
    pub(super) fn new(per_minute: u32) -> Option<Self> {
        let refill = MINUTE.checked_div(per_minute)?;
        Some(Self {
            budgets: Budgets::new(per_minute, refill, SUSPECTS_MAX),
            per_minute,
        })
    }

    /// Whether the store may be read on behalf of `suspect`.
    pub(super) fn admit(&self, suspect: Suspect<'_>) -> Result<(), Error> {
        let looked = self.budgets.look(&suspect.key(), Instant::now());
        looked.map_err(|retry_after| Error::FailuresLimited {
            retry_after,
            per_minute: self.per_minute,
            from: AddressKind::of(suspect.address),
        })
    }

    /// Counts the verdict of such a read, if it is a failure.
    pub(super) fn judged(&self, suspect: Suspect<'_>, verdict: Verdict) {
        if is_failure(verdict) {
            self.budgets.charge(suspect.key(), Instant::now());
        }
    }
}

impl Authority {
    /// Lets the store be read for `suspect`. One whose secrets failed too often is refused, unless
    /// this one `is_known`.
    pub(super) fn admit(
        &self,
        suspect: Option<Suspect<'_>>,
        is_known: impl FnOnce() -> bool,
    ) -> Result<(), Error> {
        let Some((budgets, suspect)) = self.failures.as_ref().zip(suspect) else {
            return Ok(());
        };
        let admitted = budgets.admit(suspect);
        if admitted.is_ok() || is_known() {
            return Ok(());
        }
        self.metrics.failures_shed.inc();
        admitted
    }

    /// Counts a verdict, if it is a failure of what was read for `suspect`.
    pub(super) fn count_failure(
        &self,
        suspect: Option<Suspect<'_>>,
        place: Place,
        verdict: Verdict,
    ) {
        let read_for = suspect.filter(|_| place == Place::Store);
        if let Some((budgets, suspect)) = self.failures.as_ref().zip(read_for) {
            budgets.judged(suspect, verdict);
        }
    }
}

/// Whether the secret opens nothing any more, or never did, whatever is asked of it. Who keeps
/// presenting one of those costs the store a read each time.
fn is_failure(verdict: Verdict) -> bool {
    match verdict {
        Verdict::NotFound | Verdict::Expired | Verdict::Superseded | Verdict::LeaseEnded => true,
        Verdict::Valid
        | Verdict::Malformed
        | Verdict::Revoked
        | Verdict::Disabled
        | Verdict::OwnerMismatch
        | Verdict::ScopeDenied
        | Verdict::EndpointDenied
        | Verdict::AddressDenied
        | Verdict::RateLimited
        | Verdict::QuotaExhausted => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> Identity {
        Identity::Root {
            name: name.to_owned(),
        }
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Uses up the budget of `suspect`, which was whole.
    fn fail(budgets: &FailureBudgets, suspect: Suspect<'_>) {
        for _ in 0..budgets.per_minute {
            budgets.admit(suspect).unwrap();
            budgets.judged(suspect, Verdict::NotFound);
        }
    }

    #[test]
    fn who_fails_too_often_waits_and_nobody_else_does() {
        let budgets = FailureBudgets::new(3).unwrap();
        let (gateway, other) = (root("gateway"), root("other"));
        let suspect = Suspect::client_of(&gateway, ip("192.0.2.1"), ip("127.0.0.1"));
        fail(&budgets, suspect);
        let Err(Error::FailuresLimited {
            retry_after,
            per_minute,
            from,
        }) = budgets.admit(suspect)
        else {
            panic!("the budget is used up");
        };
        assert!(retry_after > Duration::from_secs(19) && retry_after <= MINUTE / 3);
        assert_eq!((per_minute, from), (3, AddressKind::V4));
        for unconcerned in [
            Suspect::client_of(&gateway, ip("192.0.2.2"), ip("127.0.0.1")),
            Suspect::client_of(&gateway, None, ip("127.0.0.1")),
            Suspect::client_of(&other, ip("192.0.2.1"), ip("127.0.0.1")),
            Suspect::peer(ip("192.0.2.1")),
            Suspect::peer(None),
        ] {
            assert!(budgets.admit(unconcerned).is_ok(), "{unconcerned:?}");
        }
    }

    #[test]
    fn a_caller_that_names_no_client_is_known_by_its_own_address() {
        let budgets = FailureBudgets::new(3).unwrap();
        let gateway = root("gateway");
        fail(
            &budgets,
            Suspect::client_of(&gateway, None, ip("192.0.2.1")),
        );
        let named = Suspect::client_of(&gateway, ip("192.0.2.1"), None);
        assert!(budgets.admit(named).is_err());
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client_and_a_mapped_address_the_ipv4_one() {
        let budgets = FailureBudgets::new(3).unwrap();
        fail(&budgets, Suspect::peer(ip("2001:db8::1")));
        assert!(budgets.admit(Suspect::peer(ip("2001:db8::ffff"))).is_err());
        assert!(budgets.admit(Suspect::peer(ip("2001:db8:0:1::1"))).is_ok());
        fail(&budgets, Suspect::peer(ip("::ffff:192.0.2.1")));
        assert!(budgets.admit(Suspect::peer(ip("192.0.2.1"))).is_err());
    }

    #[test]
    fn what_is_in_force_or_was_ended_by_somebody_is_no_failure() {
        let budgets = FailureBudgets::new(1).unwrap();
        let suspect = Suspect::peer(ip("192.0.2.1"));
        for verdict in [
            Verdict::Valid,
            Verdict::Revoked,
            Verdict::Disabled,
            Verdict::ScopeDenied,
            Verdict::RateLimited,
        ] {
            budgets.judged(suspect, verdict);
            assert!(budgets.admit(suspect).is_ok(), "{verdict:?}");
        }
        for (verdict, last) in [
            (Verdict::NotFound, 2),
            (Verdict::Expired, 3),
            (Verdict::Superseded, 4),
            (Verdict::LeaseEnded, 5),
        ] {
            let suspect = Suspect::peer(ip(&format!("192.0.2.{last}")));
            budgets.judged(suspect, verdict);
            assert!(budgets.admit(suspect).is_err(), "{verdict:?}");
        }
    }

    #[test]
    fn without_a_budget_there_is_nothing_to_use_up() {
        assert!(FailureBudgets::new(0).is_none());
        let widest = FailureBudgets::new(1_000_000).unwrap();
        assert!(widest.admit(Suspect::peer(None)).is_ok());
    }
}
