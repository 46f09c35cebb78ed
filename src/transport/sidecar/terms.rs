//! How held requests are read and answered, whichever proxy holds them.

use http::{HeaderName, header};

use crate::domain::route::Routes;

use super::identity;
use super::refusal::Manner;

/// What the configuration says of held requests.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What may carry a credential beside `authorization`.
    pub(in crate::transport) credential_headers: Vec<HeaderName>,
    pub(in crate::transport) routes: Routes,
    pub(in crate::transport) manner: Manner,
    /// What every allowed request loses: `authorization`, whatever its scheme, the other headers that
    /// may carry a credential, and all that may be taken for an identity header or one of those.
    pub(in crate::transport) removed: Vec<String>,
}

impl Terms {
    pub fn new(credential_headers: Vec<HeaderName>, routes: Routes, manner: Manner) -> Self {
        let authorization = [header::AUTHORIZATION].into_iter();
        let credentials: Vec<HeaderName> =
            authorization.chain(credential_headers.clone()).collect();
        Self {
            removed: identity::always_removed(&credentials),
            credential_headers,
            routes,
            manner,
        }
    }
}
