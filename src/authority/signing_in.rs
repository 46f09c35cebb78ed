//! Signing in: a person shows a secret once, and what follows is done with it by whoever keeps it.

use tokio::time::Instant;

use crate::domain::caller::Permission;
use crate::domain::token::TokenId;

use super::Authority;
use super::access::{Proof, Session};
use super::audit::Audit;
use super::call::Call;
use super::error::Error;

/// What it is called in audit lines.
const SIGN_IN: &str = "SignIn";

impl Authority {
    /// Finds out who signs in by a secret, who must have some permission on this authority. Each
    /// address may try 20 secrets at once and one more each second, root tokens too; and as many
    /// that were never in force as any caller may. It leaves an audit line.
    pub async fn sign_in(&self, secret: &str, call: Call) -> Result<Session, Error> {
        if let Err(limited) = self.sign_ins.admit(call.peer, Instant::now()) {
            return Err(self.unknown_caller(SIGN_IN, &call, limited));
        }
        let proof = Proof {
            secret: Some(secret),
            certificate: None,
        };
        let session = self.authenticate(SIGN_IN, proof, call).await?;
        let Session { caller, call, .. } = &session;
        let audit = Audit::open(&self.trail, call, SIGN_IN, &caller.identity)?;
        let grants = &caller.grants;
        let any = Permission::ALL
            .into_iter()
            .any(|one| grants.reach(one).is_some());
        let result = any.then_some(()).ok_or(Error::PermissionMissing {
            permission: Permission::Read,
            namespace: None,
        });
        audit.conclude(&result);
        result.map(|()| session)
    }

    /// The id of the token whose secret this may be; nothing is said of whether it is one.
    pub fn named_by(&self, text: &str) -> Option<TokenId> {
        self.mint.read(text).map(|presented| presented.id)
    }
}
