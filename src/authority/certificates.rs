//! Callers that are known by the certificate of their connection.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::caller::{Caller, Grants, Identity};
use crate::domain::peer_name::PeerName;

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

    /// The one caller that `names` stand for. A certificate that stands for two is refused: which
    /// of them calls, it does not say.
    pub(super) fn find(&self, names: &[PeerName]) -> Result<Option<Arc<Caller>>, Error> {
        let mut found: Option<&Arc<Caller>> = None;
        for caller in names.iter().filter_map(|name| self.0.get(name)) {
            match found {
                Some(other) if !Arc::ptr_eq(other, caller) => {
                    return Err(Error::Unauthenticated(
                        "the certificate stands for two callers",
                    ));
                }
                _ => found = Some(caller),
            }
        }
        Ok(found.cloned())
    }
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
            let found = callers.find(&names).map_err(drop)?;
            Ok(found.map(|caller| caller.identity.to_string()))
        };
        assert_eq!(find(&["x:a", "x:other"]), Ok(Some("certificate:a".into())));
        assert_eq!(find(&["x:a", "x:a"]), Ok(Some("certificate:a".into())));
        assert_eq!(find(&["x:other"]), Ok(None));
        assert_eq!(find(&["x:a", "x:b"]), Err(()));
    }
}
