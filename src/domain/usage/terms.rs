//! What is kept of requests, as the operator wants it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Keeping;
use crate::domain::endpoint::{Endpoints, Pattern, matching};
use crate::domain::flaw::Flaw;

/// What is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTerms {
    /// Whether anything is.
    pub enabled: bool,
    pub keeping: Keeping,
    pub clients: ClientAddresses,
    /// Whether user agents are.
    pub user_agents: bool,
    pub templates: Templates,
}

impl Default for UsageTerms {
    fn default() -> Self {
        Self {
            enabled: true,
            keeping: Keeping::default(),
            clients: ClientAddresses::Full,
            user_agents: true,
            templates: Templates::default(),
        }
    }
}

/// How much of a client's address is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddresses {
    Full,
    /// The first address of its /24, or of its /48 of IPv6.
    Network,
    None,
}

impl ClientAddresses {
    /// What is kept of an address.
    pub fn of(self, address: IpAddr) -> Option<IpAddr> {
        match (self, address) {
            (Self::Full, address) => Some(address),
            (Self::Network, IpAddr::V4(address)) => {
                Some(Ipv4Addr::from_bits(address.to_bits() >> 8 << 8).into())
            }
            (Self::Network, IpAddr::V6(address)) => {
                Some(Ipv6Addr::from_bits(address.to_bits() >> 80 << 80).into())
            }
            (Self::None, _) => None,
        }
    }
}

/// Paths that fold requests before the patterns of their token do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates(Endpoints);

impl Templates {
    /// Most of them.
    pub const COUNT_MAX: usize = Pattern::COUNT_MAX;

    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(Endpoints::new(patterns))
    }

    /// One of them, which is a pattern of endpoints that names no method.
    pub fn parse(text: &str) -> Result<Pattern, Flaw> {
        let pattern = Pattern::parse(text)?;
        match text.contains(' ') {
            false => Ok(pattern),
            true => Err(Flaw::new("must be a path alone, without a method")),
        }
    }

    /// The first that a path matches.
    pub fn folding(&self, path: Option<&str>) -> Option<&str> {
        matching(self.0.texts(), None, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_no_more_is_kept_than_is_wanted() {
        let kept = |how: ClientAddresses, text: &str| {
            let kept = how.of(text.parse().unwrap());
            kept.map_or("nothing".to_owned(), |kept| kept.to_string())
        };
        let (v4, v6) = ("192.0.2.77", "2001:db8:1:2:3::4");
        assert_eq!(kept(ClientAddresses::Full, v4), v4);
        assert_eq!(kept(ClientAddresses::Full, v6), v6);
        assert_eq!(kept(ClientAddresses::Network, v4), "192.0.2.0");
        assert_eq!(kept(ClientAddresses::Network, v6), "2001:db8:1::");
        assert_eq!(kept(ClientAddresses::None, v4), "nothing");
    }

    #[test]
    fn the_first_template_that_matches_folds() {
        let templates = ["/users/*/keys", "/users/*", "/files/**"].map(Templates::parse);
        let templates = Templates::new(templates.map(Result::unwrap).into());
        assert_eq!(templates.folding(Some("/users/7?all")), Some("/users/*"));
        assert_eq!(
            templates.folding(Some("/users/7/keys")),
            Some("/users/*/keys")
        );
        assert_eq!(templates.folding(Some("/files/a/b")), Some("/files/**"));
        assert_eq!(templates.folding(Some("/other")), None);
        assert_eq!(templates.folding(None), None);
        assert!(Templates::parse("GET /users/*").is_err());
        assert!(Templates::parse("users").is_err());
    }
}
