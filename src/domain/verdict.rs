//! The verdict: may the presented secret do what is asked, now?

use std::net::IpAddr;

use super::caller::Reach;
use super::name::Owner;
use super::scope::RequiredScope;
use super::secret::Presented;
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
    OwnerMismatch,
    ScopeDenied,
    EndpointDenied,
    AddressDenied,
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

/// Whether the secret is one of the token's, and the token within reach. If not, the answer is
/// [`Verdict::NotFound`] and says nothing else.
pub fn recognised(token: &Token, presented: &Presented, reach: &Reach) -> bool {
    // Every digest is compared, so that the time does not tell which one matched.
    let own = token
        .secret
        .digests
        .iter()
        .fold(false, |found, digest| found | presented.is(digest));
    own && token.id == presented.id && reach.covers(&token.namespace)
}

/// Judges a [`recognised`] token. Pure: the same arguments always have the same verdict.
pub fn judge(token: &Token, request: &Request, now: Timestamp) -> Verdict {
    let missing = |required: &RequiredScope| {
        !token
            .profile
            .scopes
            .iter()
            .any(|scope| scope.covers(required))
    };
    if let Some(ended) = out_of_force(token, now) {
        ended
    } else if request.owner.is_some() && request.owner != token.profile.owner {
        Verdict::OwnerMismatch
    } else if request.required_scopes.iter().any(missing) {
        Verdict::ScopeDenied
    } else if !token
        .profile
        .endpoints
        .allow(request.method.as_deref(), request.path.as_deref())
    {
        Verdict::EndpointDenied
    } else if !at_home(token, request.client_ip) {
        Verdict::AddressDenied
    } else {
        Verdict::Valid
    }
}

/// Whether a [`recognised`] token may be used from `address` to call the authority itself. Its
/// endpoints speak of other services and do not bind it here.
pub fn authenticates(token: &Token, address: Option<IpAddr>, now: Timestamp) -> bool {
    out_of_force(token, now).is_none() && at_home(token, address)
}

fn out_of_force(token: &Token, now: Timestamp) -> Option<Verdict> {
    if token.revoked.is_some() {
        Some(Verdict::Revoked)
    } else if token.profile.disabled {
        Some(Verdict::Disabled)
    } else if token.expired(now) {
        Some(Verdict::Expired)
    } else {
        None
    }
}

fn at_home(token: &Token, address: Option<IpAddr>) -> bool {
    let inside = |ip: IpAddr| {
        token
            .profile
            .networks
            .iter()
            .any(|network| network.contains(ip))
    };
    token.profile.networks.is_empty() || address.is_some_and(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{Network, client_address};
    use crate::domain::endpoint::{Endpoints, Pattern};
    use crate::domain::name::{Namespace, Reason};
    use crate::domain::profile::Profile;
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
        assert_eq!(judge(&revoked, &request, at(60)), Verdict::Revoked);
        assert_eq!(judge(&token, &request, at(60)), Verdict::Disabled);
        token.profile.disabled = false;
        assert_eq!(judge(&token, &request, at(60)), Verdict::Expired);
        assert_eq!(judge(&token, &request, at(59)), Verdict::OwnerMismatch);
        request.owner = None;
        assert_eq!(judge(&token, &request, at(59)), Verdict::ScopeDenied);
        request.required_scopes = good().required_scopes;
        assert_eq!(judge(&token, &request, at(59)), Verdict::EndpointDenied);
        request.method = good().method;
        request.path = good().path;
        assert_eq!(judge(&token, &request, at(59)), Verdict::AddressDenied);
        request.client_ip = good().client_ip;
        assert_eq!(judge(&token, &request, at(59)), Verdict::Valid);
    }

    #[test]
    fn a_caller_is_judged_for_state_and_address_only() {
        let ip = |text| client_address(text).ok();
        let mut token = strict();
        assert!(authenticates(&token, ip("10.1.1.1"), at(59)));
        assert!(!authenticates(&token, ip("10.1.1.1"), at(60)));
        assert!(!authenticates(&token, ip("11.1.1.1"), at(59)));
        assert!(!authenticates(&token, None, at(59)));
        token.profile.disabled = true;
        assert!(!authenticates(&token, ip("10.1.1.1"), at(59)));
    }

    #[test]
    fn a_required_owner_is_not_met_by_no_owner() {
        let ownerless = draft().issue(at(0)).unwrap();
        let request = Request {
            owner: Owner::parse("ann").ok(),
            ..Request::default()
        };
        assert_eq!(judge(&ownerless, &request, at(1)), Verdict::OwnerMismatch);
    }

    #[test]
    fn only_an_own_secret_within_reach_is_recognised() {
        let secret = |digit: &str| {
            Secret::assemble(&draft().brand, &draft().id, &digit.repeat(RANDOM_DIGITS))
        };
        let token = Draft {
            digest: secret("a").digest(),
            ..draft()
        }
        .issue(at(0))
        .unwrap();
        let presented = |digit| Presented::read(secret(digit).expose(), &[draft().brand]).unwrap();
        assert!(recognised(&token, &presented("a"), &Reach::All));
        assert!(!recognised(&token, &presented("b"), &Reach::All));
        let elsewhere = Reach::only(Namespace::parse("elsewhere").unwrap());
        assert!(!recognised(&token, &presented("a"), &elsewhere));
    }
}
