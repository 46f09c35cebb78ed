//! Scopes: what a token is granted, and whether that covers what is required.

use std::fmt;

use super::flaw::{Flaw, quoted};
use super::permission::{AUTHORITY_PREFIX, Grant};

/// A scope granted to a token: an RFC 6749 section 3.3 scope-token of 1 to 128 bytes.
///
/// A `*` at the end, after `:`, `.` or `/`, stands for everything that begins so, but never for a
/// scope that begins with `authority:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

impl Scope {
    /// Most scopes of one token, and of one requirement.
    pub const COUNT_MAX: usize = 64;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        scope_token(text)?;
        if text.starts_with(AUTHORITY_PREFIX) {
            Grant::parse(text)?;
            return Ok(Self(text.to_owned()));
        }
        match text.find('*') {
            None => Ok(Self(text.to_owned())),
            Some(at) if at + 1 == text.len() && text[..at].ends_with([':', '.', '/']) => {
                Ok(Self(text.to_owned()))
            }
            Some(_) => Err(Flaw::new(format!(
                "'*' may stand only at the end, after ':', '.' or '/'; got {}",
                quoted(text)
            ))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The permission on this authority that the scope stands for, if it is one.
    pub fn grant(&self) -> Option<Grant> {
        Grant::parse(&self.0).ok()
    }

    /// Whether this grant covers `required`.
    pub fn covers(&self, required: &RequiredScope) -> bool {
        covers(&self.0, required)
    }
}

/// Whether a scope, as it was granted, covers `required`.
pub(super) fn covers(granted: &str, required: &RequiredScope) -> bool {
    match granted.strip_suffix('*') {
        Some(prefix) if !granted.starts_with(AUTHORITY_PREFIX) => {
            required.0.starts_with(prefix) && !required.0.starts_with(AUTHORITY_PREFIX)
        }
        _ => granted == required.0,
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scope that a call demands: one exact scope-token, compared case-sensitively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredScope(String);

impl RequiredScope {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        scope_token(text).map(|()| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn scope_token(text: &str) -> Result<(), Flaw> {
    if text.is_empty() || text.len() > 128 {
        return Err(Flaw::new(format!(
            "has {} bytes; 1 to 128 are allowed",
            text.len()
        )));
    }
    let known = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if !text.bytes().all(known) {
        return Err(Flaw::new(format!(
            "must be visible ASCII without space, '\"' and '\\'; got {}",
            quoted(text)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(granted: &str, required: &str) -> bool {
        Scope::parse(granted)
            .unwrap()
            .covers(&RequiredScope::parse(required).unwrap())
    }

    #[test]
    fn a_trailing_star_covers_what_begins_so() {
        assert!(covers("orders:*", "orders:read"));
        assert!(covers("orders/*", "orders/a/b"));
        assert!(!covers("orders:*", "order:read"));
        assert!(!covers("orders:read", "orders:read:all"));
        assert!(!covers("orders:read", "Orders:read"));
    }

    #[test]
    fn no_wildcard_covers_an_authority_scope() {
        for bad in [
            "*",
            "authority*",
            "authority:*",
            "authority:admin@*x",
            "a*b:*",
            "a*",
        ] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        assert!(!covers("authority:admin@*", "authority:admin@default"));
        assert!(covers("authority:admin@*", "authority:admin@*"));
    }

    #[test]
    fn unknown_permissions_are_refused_when_granted() {
        assert!(Scope::parse("authority:validate").is_ok());
        assert!(Scope::parse("authority:read@team-1").is_ok());
        assert!(Scope::parse("authority:fly").is_err());
        assert!(Scope::parse("authority:").is_err());
    }

    proptest! {
        #[test]
        fn only_the_authority_prefix_reaches_the_authority(granted in "[a-z:./*]{1,12}", tail in "[a-z]{1,8}") {
            prop_assume!(!granted.starts_with(AUTHORITY_PREFIX));
            if let Ok(scope) = Scope::parse(&granted) {
                let required = RequiredScope::parse(&format!("authority:{tail}")).unwrap();
                prop_assert!(!scope.covers(&required));
            }
        }
    }
}
