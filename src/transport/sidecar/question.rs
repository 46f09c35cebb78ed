//! What a held request asks of the authority: what cannot be judged as it is, is refused, never repaired.

use std::net::IpAddr;

use crate::authority::validate::Question;
use crate::domain::endpoint::{PATH_BYTES_MAX, parse_method};
use crate::domain::flaw::Flaw;
use crate::domain::route::{Demand, Routes};
use crate::domain::verdict::{Consistency, Request};

use super::credential::Credential;
use super::refusal::Refusal;

/// Longest user agent that is kept, in bytes; it is not judged, so what is beyond is left out.
const USER_AGENT_BYTES_MAX: usize = 512;

/// A request that a proxy holds, as the proxy tells of it.
#[derive(Clone, Debug)]
pub(in crate::transport) struct HeldRequest<'a> {
    /// Empty where it is not told.
    pub(in crate::transport) method: &'a str,
    /// The path, perhaps with a query; empty where it is not told.
    pub(in crate::transport) target: &'a str,
    /// Perhaps with a port; empty where it is not told.
    pub(in crate::transport) host: &'a str,
    pub(in crate::transport) client: Option<IpAddr>,
    pub(in crate::transport) credential: Credential<'a>,
    pub(in crate::transport) user_agent: &'a [u8],
}

impl<'a> HeldRequest<'a> {
    /// What the routes demand of it; `None` where none matches.
    pub(in crate::transport) fn demand<'r>(
        &self,
        routes: &'r Routes,
    ) -> Result<Option<&'r Demand>, Refusal> {
        let demand = routes.demand(self.host, self.method, self.path());
        demand.map_err(|flaw| Refusal::invalid(flaw.to_string()))
    }

    /// The secret that is judged. It may be anything, of which the authority finds what it is.
    pub(in crate::transport) fn secret(&self) -> Result<&'a str, Refusal> {
        match self.credential {
            Credential::None => Err(Refusal::without_credential()),
            Credential::One(secret) => Ok(secret),
            Credential::Conflict => Err(Refusal::two_credentials()),
        }
    }

    /// What is asked about its secret.
    pub(in crate::transport) fn question(&self, demand: &Demand) -> Result<Question, Refusal> {
        let Demand {
            namespace,
            required_scopes,
            owner,
            cost,
        } = demand;
        let method = Some(self.method).filter(|method| !method.is_empty());
        let method = method.map(parse_method).transpose();
        let method = method.map_err(|flaw| Refusal::flawed("method", &flaw))?;
        let path = self.path();
        if path.len() > PATH_BYTES_MAX {
            let (bytes, most) = (path.len(), PATH_BYTES_MAX);
            let flaw = Flaw::new(format!("has {bytes} bytes; at most {most} are judged"));
            return Err(Refusal::flawed("path", &flaw));
        }
        Ok(Question {
            namespaces: namespace.clone(),
            request: Request {
                owner: owner.clone(),
                required_scopes: required_scopes.clone(),
                method,
                path: (!path.is_empty()).then(|| path.to_owned()),
                client_ip: self.client,
            },
            cost: *cost,
            dry_run: false,
            consistency: Consistency::Cached,
            user_agent: text(self.user_agent),
        })
    }

    /// Without the query.
    fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The beginning of what a client calls itself.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(USER_AGENT_BYTES_MAX)]);
    let end = (0..=USER_AGENT_BYTES_MAX.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use proptest::prelude::*;

    fn held<'a>(method: &'a str, target: &'a str) -> HeldRequest<'a> {
        HeldRequest {
            method,
            target,
            host: "shop.example.org",
            client: None,
            credential: Credential::One("s"),
            user_agent: b"curl/8",
        }
    }

    #[test]
    fn a_request_is_asked_about_as_it_came_without_its_query() {
        let asked = held("GET", "/a/../b?secret=1?")
            .question(&Demand::default())
            .unwrap();
        assert_eq!(asked.request.path.as_deref(), Some("/a/../b"));
        assert_eq!(asked.request.method.as_deref(), Some("GET"));
        assert_eq!((asked.cost, asked.dry_run), (1, false));
        assert_eq!(asked.user_agent, "curl/8");
        let bare = held("", "").question(&Demand::default()).unwrap();
        assert_eq!((bare.request.method, bare.request.path), (None, None));
    }

    #[test]
    fn what_cannot_be_judged_is_refused_and_says_what() {
        let refused = |method, target: &str| {
            let refusal = held(method, target)
                .question(&Demand::default())
                .unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            refusal.message
        };
        assert!(refused("G T", "/").starts_with("method: "));
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        assert!(refused("GET", &long).starts_with("path: "));
        let query = format!("/?{}", "a".repeat(PATH_BYTES_MAX));
        assert!(held("GET", &query).question(&Demand::default()).is_ok());
    }

    #[test]
    fn no_credential_and_two_are_refused_each_in_its_way() {
        let secret = |credential| {
            HeldRequest {
                credential,
                ..held("GET", "/")
            }
            .secret()
        };
        let status = |credential| secret(credential).unwrap_err().status;
        assert_eq!(secret(Credential::One("s")).unwrap(), "s");
        assert_eq!(status(Credential::None), StatusCode::UNAUTHORIZED);
        assert_eq!(status(Credential::Conflict), StatusCode::BAD_REQUEST);
    }

    proptest! {
        #[test]
        fn a_user_agent_is_cut_and_never_refused(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            prop_assert!(text(&bytes).len() <= USER_AGENT_BYTES_MAX);
        }

        #[test]
        fn a_short_user_agent_stays_as_it_is(agent in "\\PC{0,100}") {
            prop_assume!(agent.len() <= USER_AGENT_BYTES_MAX);
            prop_assert_eq!(text(agent.as_bytes()), agent);
        }
    }
}
