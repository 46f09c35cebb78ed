//! The verdict: may the presented secret do what is asked, now?

use std::net::IpAddr;

use super::address::Network;
use super::brief::Brief;
use super::caller::Reach;
use super::lease::LeaseMark;
use super::name::Owner;
use super::pepper::{Comparison, Keyring, UnknownPepper};
use super::scope::RequiredScope;
use super::secret::{Presented, SecretDigest};
use super::time::Timestamp;
use super::token::Token;

/// The answer, in the order in which the rules are asked; the first that fails decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Valid,
    Malformed,
    NotFound,
    Revoked,
    Disabled,
    Expired,
    Superseded,
    LeaseEnded,
    OwnerMismatch,
    ScopeDenied,
    EndpointDenied,
    AddressDenied,
    RateLimited,
    QuotaExhausted,
}

impl Verdict {
    pub const ALL: [Verdict; 14] = [
        Self::Valid,
        Self::Malformed,
        Self::NotFound,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::Superseded,
        Self::LeaseEnded,
        Self::OwnerMismatch,
        Self::ScopeDenied,
        Self::EndpointDenied,
        Self::AddressDenied,
        Self::RateLimited,
        Self::QuotaExhausted,
    ];

    /// For ever the same: 1 for the first, and one more for each that follows.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The verdict of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }
}

/// What is asked of a token. The default asks only whether it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub owner: Option<Owner>,
    pub required_scopes: Vec<RequiredScope>,
    pub method: Option<String>,
    /// As it came: percent-encoded, perhaps with a query.
    pub path: Option<String>,
    pub client_ip: Option<IpAddr>,
}

/// Where an answer may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// From memory, too, where that is known to be current.
    #[default]
    Cached,
    /// From the store, asked after the question came.
    Strong,
}

/// A presented secret that is one of a token's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The token's own.
    Own {
        version: u32,
        /// The end of its grace if another version replaced it.
        until: Option<Timestamp>,
    },
    /// That of a lease of it.
    Lease {
        mark: LeaseMark,
        /// The end of the lease; 1970 where somebody ended it.
        until: Timestamp,
    },
}

impl Credential {
    /// When it is out of force, if ever.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::Own { until, .. } => until,
            Self::Lease { until, .. } => Some(until),
        }
    }
}

/// A token as far as verdicts ask about it.
pub trait Facts {
    fn is_revoked(&self) -> bool;
    fn is_disabled(&self) -> bool;
    fn expire_time(&self) -> Option<Timestamp>;
    fn is_owned_by(&self, owner: &Owner) -> bool;
    /// Whether one of its scopes covers this one.
    fn grants(&self, required: &RequiredScope) -> bool;
    /// Whether its endpoints allow this call.
    fn allows(&self, method: Option<&str>, path: Option<&str>) -> bool;
    /// Where it may be used from; none means everywhere.
    fn networks(&self) -> &[Network];
}

impl Facts for Token {
    fn is_revoked(&self) -> bool {
        self.revoked.is_some()
    }

    fn is_disabled(&self) -> bool {
        self.profile.disabled
    }

    fn expire_time(&self) -> Option<Timestamp> {
        self.expire_time
    }

    fn is_owned_by(&self, owner: &Owner) -> bool {
        self.profile.owner.as_ref() == Some(owner)
    }

    fn grants(&self, required: &RequiredScope) -> bool {
        let mut scopes = self.profile.scopes.iter();
        scopes.any(|scope| scope.covers(required))
    }

    fn allows(&self, method: Option<&str>, path: Option<&str>) -> bool {
        self.profile.endpoints.allow(method, path)
    }

    fn networks(&self) -> &[Network] {
        &self.profile.networks
    }
}

/// Which of the token's secrets was presented, where the token is within reach. If none, the answer
/// is [`Verdict::NotFound`] and says nothing else.
///
/// An error if it cannot be told because a pepper is missing: that is no verdict.
pub fn recognise(
    token: &Token,
    presented: &Presented<'_>,
    keyring: &Keyring,
    reach: &Reach,
) -> Result<Option<Credential>, UnknownPepper> {
    let mut search = Search::of(presented, keyring);
    for (secret, until) in token.secrets.versions() {
        for digest in &secret.digests {
            let version = secret.version;
            search.compare(digest, Credential::Own { version, until });
        }
    }
    for lease in token.tenure.iter().flat_map(|tenure| &tenure.leases) {
        for digest in &lease.digests {
            let mark = lease.mark;
            // Whoever ended it did so for good, whatever the clock says.
            let until = match lease.ended {
                Some(_) => Timestamp::from_micros(0),
                None => lease.expire_time,
            };
            search.compare(digest, Credential::Lease { mark, until });
        }
    }
    search.found(token.id == presented.id && reach.covers(&token.namespace))
}

/// The same by the brief of a token.
pub fn recognise_briefly(
    brief: &Brief,
    presented: &Presented<'_>,
    keyring: &Keyring,
    reach: &Reach,
) -> Result<Option<Credential>, UnknownPepper> {
    let mut search = Search::of(presented, keyring);
    for (digest, credential) in brief.secrets() {
        search.compare(digest, credential);
    }
    search.found(brief.id == presented.id && reach.covers_named(brief.namespace()))
}

/// The search for the secret that was presented. Every digest is compared, so that the time does not
/// tell which one matched.
struct Search<'a> {
    comparison: Comparison<'a>,
    found: Option<Credential>,
    unknown: Option<UnknownPepper>,
}

impl<'a> Search<'a> {
    fn of(presented: &'a Presented<'a>, keyring: &'a Keyring) -> Self {
        Self {
            comparison: keyring.compare(presented),
            found: None,
            unknown: None,
        }
    }

    fn compare(&mut self, digest: &SecretDigest, credential: Credential) {
        let same = match credential {
            Credential::Own { .. } => self.comparison.is(digest),
            Credential::Lease { .. } => self.comparison.is_of_lease(digest),
        };
        match same {
            Ok(true) => self.found = Some(credential),
            Ok(false) => {}
            Err(pepper) => self.unknown = Some(pepper),
        }
    }

    fn found(self, is_within_reach: bool) -> Result<Option<Credential>, UnknownPepper> {
        match (is_within_reach, self.found, self.unknown) {
            (false, _, _) => Ok(None),
            (true, None, Some(pepper)) => Err(pepper),
            (true, found, _) => Ok(found),
        }
    }
}

/// Judges a token by a [recognised](recognise) credential, all but its limits. Pure: the same
/// arguments always have the same verdict.
pub fn judge(
    token: &impl Facts,
    credential: Credential,
    request: &Request,
    now: Timestamp,
) -> Verdict {
    let foreign = |owner: &Owner| !token.is_owned_by(owner);
    let missing = |required: &RequiredScope| !token.grants(required);
    if let Some(ended) = out_of_force(token, credential, now) {
        ended
    } else if request.owner.as_ref().is_some_and(foreign) {
        Verdict::OwnerMismatch
    } else if request.required_scopes.iter().any(missing) {
        Verdict::ScopeDenied
    } else if !token.allows(request.method.as_deref(), request.path.as_deref()) {
        Verdict::EndpointDenied
    } else if !at_home(token, request.client_ip) {
        Verdict::AddressDenied
    } else {
        Verdict::Valid
    }
}

/// Whether a token may be used from `address` to call the authority itself, all but its limits. Its
/// endpoints speak of other services and do not bind it here. The secret of a lease is its holder's
/// for the services it was leased for, and never calls the authority.
pub fn authenticates(
    token: &Token,
    credential: Credential,
    address: Option<IpAddr>,
    now: Timestamp,
) -> bool {
    let own = matches!(credential, Credential::Own { .. });
    own && out_of_force(token, credential, now).is_none() && at_home(token, address)
}

/// The first instant at which time alone can change a verdict on `token`; `None` if it never does.
pub fn changes_at(token: &Token, credential: Credential) -> Option<Timestamp> {
    let deadline = token.tenure.as_ref().and_then(|tenure| tenure.deadline);
    let ends = [token.expire_time, credential.until(), deadline];
    ends.into_iter().flatten().min()
}

fn out_of_force(token: &impl Facts, credential: Credential, now: Timestamp) -> Option<Verdict> {
    if token.is_revoked() {
        Some(Verdict::Revoked)
    } else if token.is_disabled() {
        Some(Verdict::Disabled)
    } else if token.expire_time().is_some_and(|end| end <= now) {
        Some(Verdict::Expired)
    } else if credential.until().is_some_and(|end| end <= now) {
        Some(match credential {
            Credential::Own { .. } => Verdict::Superseded,
            Credential::Lease { .. } => Verdict::LeaseEnded,
        })
    } else {
        None
    }
}

fn at_home(token: &impl Facts, address: Option<IpAddr>) -> bool {
    let networks = token.networks();
    let inside = |ip: IpAddr| networks.iter().any(|network| network.contains(ip));
    networks.is_empty() || address.is_some_and(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{Network, client_address};
    use crate::domain::endpoint::{Endpoints, Pattern};
    use crate::domain::name::{Namespace, Reason};
    use crate::domain::profile::Profile;
    use crate::domain::rotation::{Grace, Rotation};
    use crate::domain::scope::Scope;
    use crate::domain::secret::{RANDOM_DIGITS, Secret};
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration, Ruling};
    use std::time::Duration;

    fn strict() -> Token {
        let profile = Profile {
            owner: Owner::parse("ann").ok(),
            scopes: vec![Scope::parse("orders:*").unwrap()],
            endpoints: Endpoints::new(vec![Pattern::parse("GET /orders/**").unwrap()]),
            networks: vec![Network::parse("10.0.0.0/8").unwrap()],
            ..Profile::default()
        };
        let restricted = Draft {
            profile,
            expiration: Expiration::After(Duration::from_secs(60)),
            ..draft()
        };
        restricted.issue(at(0)).unwrap()
    }

    fn good() -> Request {
        Request {
            owner: Owner::parse("ann").ok(),
            required_scopes: vec![RequiredScope::parse("orders:read").unwrap()],
            method: Some("GET".into()),
            path: Some("/orders/1?x=1".into()),
            client_ip: client_address("::ffff:10.1.1.1").ok(),
        }
    }

    const CURRENT: Credential = Credential::Own {
        version: 1,
        until: None,
    };

    #[test]
    fn the_first_failing_rule_decides() {
        // From a request and token where every rule fails, rules are mended one by one.
        let mut token = strict();
        token.profile.disabled = true;
        let Ruling::Replace(revoked) = token.revoke(at(1), Reason::default()) else {
            panic!()
        };
        let mut request = Request {
            owner: Owner::parse("bob").ok(),
            required_scopes: vec![RequiredScope::parse("refunds").unwrap()],
            ..Request::default()
        };
        let old = Credential::Own {
            version: 1,
            until: Some(at(59)),
        };
        let judged =
            |token: &Token, request: &Request, seconds| judge(token, CURRENT, request, at(seconds));
        assert_eq!(judged(&revoked, &request, 60), Verdict::Revoked);
        assert_eq!(judged(&token, &request, 60), Verdict::Disabled);
        token.profile.disabled = false;
        assert_eq!(judged(&token, &request, 60), Verdict::Expired);
        assert_eq!(judge(&token, old, &request, at(60)), Verdict::Expired);
        assert_eq!(judge(&token, old, &request, at(59)), Verdict::Superseded);
        assert_eq!(judge(&token, old, &request, at(58)), Verdict::OwnerMismatch);
        assert_eq!(judged(&token, &request, 59), Verdict::OwnerMismatch);
        request.owner = None;
        assert_eq!(judged(&token, &request, 59), Verdict::ScopeDenied);
        request.required_scopes = good().required_scopes;
        assert_eq!(judged(&token, &request, 59), Verdict::EndpointDenied);
        request.method = good().method;
        request.path = good().path;
        assert_eq!(judged(&token, &request, 59), Verdict::AddressDenied);
        request.client_ip = good().client_ip;
        assert_eq!(judged(&token, &request, 59), Verdict::Valid);
    }

    #[test]
    fn a_caller_is_judged_for_state_and_address_only() {
        let ip = |text| client_address(text).ok();
        let mut token = strict();
        assert!(authenticates(&token, CURRENT, ip("10.1.1.1"), at(59)));
        assert!(!authenticates(&token, CURRENT, ip("10.1.1.1"), at(60)));
        assert!(!authenticates(&token, CURRENT, ip("11.1.1.1"), at(59)));
        assert!(!authenticates(&token, CURRENT, None, at(59)));
        token.profile.disabled = true;
        assert!(!authenticates(&token, CURRENT, ip("10.1.1.1"), at(59)));
    }

    #[test]
    fn a_required_owner_is_not_met_by_no_owner() {
        let ownerless = draft().issue(at(0)).unwrap();
        let request = Request {
            owner: Owner::parse("ann").ok(),
            ..Request::default()
        };
        assert_eq!(
            judge(&ownerless, CURRENT, &request, at(1)),
            Verdict::OwnerMismatch
        );
    }

    fn secret(digit: &str) -> Secret {
        Secret::assemble(&draft().brand, &draft().id, &digit.repeat(RANDOM_DIGITS))
    }

    fn recognised(token: &Token, digit: &str, reach: &Reach) -> Option<Credential> {
        let secret = secret(digit);
        let presented = Presented::read(secret.expose(), &[draft().brand]).unwrap();
        recognise(token, &presented, &Keyring::default(), reach).unwrap()
    }

    #[test]
    fn only_an_own_secret_within_reach_is_recognised() {
        let digest = Keyring::default().digest(&secret("a"));
        let token = Draft { digest, ..draft() }.issue(at(0)).unwrap();
        assert_eq!(recognised(&token, "a", &Reach::All), Some(CURRENT));
        assert_eq!(recognised(&token, "b", &Reach::All), None);
        let elsewhere = Reach::only(Namespace::parse("elsewhere").unwrap());
        assert_eq!(recognised(&token, "a", &elsewhere), None);
    }

    #[test]
    fn a_replaced_secret_is_recognised_with_the_end_of_its_grace() {
        let digest = |digit| Keyring::default().digest(&secret(digit));
        let token = Draft {
            digest: digest("a"),
            ..draft()
        };
        let rotation = Rotation {
            brand: draft().brand,
            digest: digest("b"),
            grace: Grace::new(Duration::from_secs(5)).unwrap(),
            revision: None,
            origin: None,
        };
        let token = token.issue(at(1)).unwrap();
        let Ruling::Replace(token) = token.rotate(at(2), &rotation) else {
            panic!()
        };
        let (old, new) = (
            recognised(&token, "a", &Reach::All).unwrap(),
            recognised(&token, "b", &Reach::All).unwrap(),
        );
        let own = |version, until| Credential::Own { version, until };
        assert_eq!((old, new), (own(1, Some(at(7))), own(2, None)));
        let now = |credential| judge(&*token, credential, &Request::default(), at(7));
        assert_eq!((now(old), now(new)), (Verdict::Superseded, Verdict::Valid));
        assert_eq!(changes_at(&token, old), Some(at(7)));
        assert_eq!(changes_at(&token, new), None);
    }

    #[test]
    fn a_digest_under_a_missing_pepper_makes_no_verdict() {
        let mut unknown = Keyring::default().digest(&secret("a"));
        unknown.key_id = 9;
        let token = Draft {
            digest: unknown,
            ..draft()
        };
        let token = token.issue(at(1)).unwrap();
        let other = secret("b");
        let presented = Presented::read(other.expose(), &[draft().brand]).unwrap();
        let read = |reach| recognise(&token, &presented, &Keyring::default(), reach);
        assert_eq!(read(&Reach::All), Err(UnknownPepper(9)));
        let elsewhere = Reach::only(Namespace::parse("elsewhere").unwrap());
        assert_eq!(read(&elsewhere), Ok(None));
    }
}
