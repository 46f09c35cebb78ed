//! Callers that are known by the certificate of their connection.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::caller::{Caller, Grants, Identity};
use crate::domain::flaw::quoted;
use crate::domain::peer_name::PeerName;

use super::access::NEEDED;
use super::error::Error;

/// Who shows which name.
#[derive(Debug, Default)]
pub struct CertificateCallers(HashMap<PeerName, Arc<Caller>>);

impl CertificateCallers {
    pub fn new(callers: impl IntoIterator<Item = (String, PeerName, Grants)>) -> Self {
        let callers = callers.into_iter().map(|(name, shows, grants)| {
            let identity = Identity::Certificate { name };
            (shows, Arc::new(Caller { identity, grants }))
        });
        Self(callers.collect())
    }

    /// The one caller that the names of a certificate stand for. One that stands for two is
    /// refused: which of them calls, it does not say.
    pub(super) fn find(&self, names: &[PeerName]) -> Result<Arc<Caller>, Error> {
        let mut found: Option<&Arc<Caller>> = None;
        for caller in names.iter().filter_map(|name| self.0.get(name)) {
            match found {
                Some(other) if !Arc::ptr_eq(other, caller) => {
                    let why = "the certificate stands for two callers of this authority";
                    return Err(Error::Unauthenticated(why.into()));
                }
                _ => found = Some(caller),
            }
        }
        found.cloned().ok_or_else(|| nobody(names))
    }
}

/// What is said to a certificate that stands for no caller. Its names are no secret, but its
/// holder's to choose: one is repeated.
fn nobody(names: &[PeerName]) -> Error {
    let shown = match names {
        [] => "the certificate has no URI and no DNS name that can stand for a caller".to_owned(),
        [first, others @ ..] => {
            let first = quoted(&first.to_string());
            let others = match others.len() {
                0 => String::new(),
                more => format!(" or its {more} other names"),
            };
            format!("no caller is configured for the certificate's name {first}{others}")
        }
    };
    Error::Unauthenticated(format!("{NEEDED}; {shown}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_stands_for_one_caller_or_none() {
        let uri = |text: &str| PeerName::uri(text).unwrap();
        let caller = |name: &str, shows: &str| (name.to_owned(), uri(shows), Grants::default());
        let callers = CertificateCallers::new([caller("a", "x:a"), caller("b", "x:b")]);
        let find = |names: &[&str]| {
            let names: Vec<PeerName> = names.iter().map(|name| uri(name)).collect();
            let found = callers.find(&names).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.identity.to_string())
        };
        assert_eq!(find(&["x:a", "x:other"]), Ok("certificate:a".into()));
        assert_eq!(find(&["x:a", "x:a"]), Ok("certificate:a".into()));
        for (names, told) in [
            (&["x:a", "x:b"][..], "two callers"),
            (&["x:other"], "name \"x:other\""),
            (&["x:c", "x:d", "x:e"], "\"x:c\" or its 2 other names"),
            (&[], "no URI and no DNS name"),
        ] {
            let why = find(names).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }
}
