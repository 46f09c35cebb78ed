//! Access: who calls, and what that caller may do. The right to act is a value, made here only.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::caller::{Caller, Grants, Identity, Namespaces, Permission, Reach};
use crate::domain::name::Namespace;
use crate::domain::peer_name::PeerName;
use crate::domain::spending::Scope;
use crate::domain::token::{Refusal, Token, TokenId};
use crate::domain::verdict::{self, Consistency, Verdict};
use crate::trail::Trail;

use super::Authority;
use super::act::Act;
use super::audit::{self, Audit};
use super::call::Call;
use super::decide::{Decision, Inquiry, Use};
use super::error::Error;
use super::failures::Suspect;
use super::seen::Seen;

/// A root token: its name, and the SHA-256 of its secret.
#[derive(Clone)]
pub struct Root {
    caller: Arc<Caller>,
    digest: [u8; 32],
}

impl Root {
    pub fn new(name: String, digest: [u8; 32]) -> Self {
        let caller = Caller {
            identity: Identity::Root { name },
            grants: Grants::root(),
        };
        Self {
            caller: Arc::new(caller),
            digest,
        }
    }
}

/// A caller who has proven who it is, for one call.
#[derive(Clone, Debug)]
pub struct Session {
    pub caller: Arc<Caller>,
    pub call: Call,
    pub(super) own: Option<Decision>,
}

impl Session {
    /// Whether the store could not be asked who calls: then it is who it was when it last could.
    fn is_degraded(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.degraded)
    }
}

/// What a caller shows of itself.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    /// The secret of a token, or a root token.
    pub secret: Option<&'a str>,
    /// The names in the certificate of the connection, where there is one; they count where no
    /// secret is shown.
    pub certificate: Option<&'a [PeerName]>,
}

/// What a caller is told who shows nothing of itself.
pub(super) const NEEDED: &str =
    "a credential is needed in metadata \"authorization: Bearer <secret>\" or \"x-api-key\"";

/// What a call of the authority takes from the caller's own rate limits.
pub(super) const CALL: Use = Use {
    cost: 1,
    scope: Scope::Rates,
    dry_run: false,
};

/// A look at who calls that takes nothing.
const LOOK: Use = Use {
    cost: 0,
    dry_run: true,
    ..CALL
};

/// The right to do `A`, held by one caller for one call, in some namespaces.
///
/// There is no way to come by one but [`Authority::permit`], and no use case without one. It
/// writes the call's audit line when it is concluded or dropped.
#[derive(Debug)]
pub struct Right<A> {
    caller: Arc<Caller>,
    reach: Arc<Reach>,
    degraded: bool,
    call: Call,
    trail: Arc<Trail>,
    audit: Option<Audit>,
    act: PhantomData<fn() -> A>,
}

impl Authority {
    /// Finds out who calls by the secret that is shown, or where none is, by the certificate.
    ///
    /// Root tokens are known by heart; every other secret must be one of this authority whose
    /// token is in force for the peer's address. A wrong secret is never made good by a certificate.
    pub async fn authenticate(
        &self,
        rpc: &'static str,
        proof: Proof<'_>,
        call: Call,
    ) -> Result<Session, Error> {
        let stranger = Some(Suspect::peer(call.peer));
        match self.known_caller(stranger, proof, &call, CALL).await {
            Ok(session) => Ok(session),
            Err(error @ (Error::Unauthenticated(_) | Error::FailuresLimited { .. })) => {
                Err(self.unknown_caller(rpc, &call, error))
            }
            Err(error) => {
                if let Error::CallerLimited { caller, .. } = &error {
                    audit::refused(&self.trail, &call, rpc, caller, &error);
                }
                Err(error)
            }
        }
    }

    /// The session of a caller who is known by its address alone, as the configuration says.
    pub fn peer_session(&self, caller: &Arc<Caller>, call: Call) -> Session {
        Session {
            caller: caller.clone(),
            call,
            own: None,
        }
    }

    /// Writes the audit line of a caller who could not be known, and hands the error on.
    pub fn unknown_caller(&self, rpc: &'static str, call: &Call, error: Error) -> Error {
        audit::refused(&self.trail, call, rpc, &"unknown", &error);
        error
    }

    /// Finds out who calls by now, for a call that took its time since it was let in; whoever else
    /// is at its address cannot keep it from that. It is never who was known before.
    pub async fn caller_by_now(&self, proof: Proof<'_>, call: &Call) -> Result<Session, Error> {
        let session = self.known_caller(None, proof, call, LOOK).await?;
        match session.is_degraded() {
            true => Err(beyond_degraded()),
            false => Ok(session),
        }
    }

    pub(super) async fn known_caller(
        &self,
        suspect: Option<Suspect<'_>>,
        proof: Proof<'_>,
        call: &Call,
        use_: Use,
    ) -> Result<Session, Error> {
        let known = |caller, own| Session {
            caller,
            own,
            call: call.clone(),
        };
        let Some(secret) = proof.secret else {
            let names = proof
                .certificate
                .ok_or(Error::Unauthenticated(NEEDED.into()))?;
            return Ok(known(self.certificates.find(names)?, None));
        };
        if let Some(caller) = self.root_caller(secret) {
            return Ok(known(caller, None));
        }
        let refused = Error::Unauthenticated("the credential is not in force".into());
        let Some(presented) = self.mint.read(secret) else {
            return Err(refused);
        };
        let judge = |token: &Token, own, now| {
            // Why not is nobody's business: all other verdicts are one refusal.
            match verdict::authenticates(token, own, call.peer, now) {
                true => Verdict::Valid,
                false => Verdict::NotFound,
            }
        };
        let inquiry = Inquiry {
            suspect,
            presented: &presented,
            reach: &Reach::All,
            judge,
            use_,
            consistency: Consistency::Cached,
        };
        let Some(own) = self.decide(&inquiry).await? else {
            return Err(refused);
        };
        let token = &own.token;
        match (own.verdict, &own.left) {
            (Verdict::Valid, _) => {}
            (Verdict::RateLimited, Some(left)) => {
                return Err(Error::CallerLimited {
                    caller: Identity::of(token),
                    left: left.passing(token),
                    retry_after: left.retry_after(token, use_.cost).unwrap_or_default(),
                });
            }
            _ => return Err(refused),
        }
        Ok(known(self.callers.of(token), Some(own)))
    }

    /// The caller's own token; `None` for callers that are none.
    pub async fn own_token(&self, session: Session) -> Result<Option<Seen>, Error> {
        if session.is_degraded() {
            return Err(beyond_degraded());
        }
        match session.own {
            None => Ok(None),
            Some(Decision { token, now, .. }) => self.see_used(token, now).await.map(Some),
        }
    }

    /// Compares with every root token, in constant time, so that nothing tells which came near.
    fn root_caller(&self, secret: &str) -> Option<Arc<Caller>> {
        let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(secret.as_bytes())));
        let matching = |found: Option<Arc<Caller>>, root: &Root| {
            if bool::from(root.digest.ct_eq(&*digest)) {
                Some(root.caller.clone())
            } else {
                found
            }
        };
        self.roots.iter().fold(None, matching)
    }

    /// Answers the right to do `A` wherever the caller holds it; refused where that is nowhere, and
    /// where its audit line could not be written. A caller that may not be any more who it was, may
    /// ask for verdicts and do nothing else, though the store be back by now.
    pub fn permit<A: Act>(&self, session: &Session) -> Result<Right<A>, Error> {
        let Session { caller, call, .. } = session;
        let degraded = session.is_degraded();
        let refused = |error| {
            audit::refused(&self.trail, call, A::RPC, &caller.identity, &error);
            error
        };
        if degraded && A::PERMISSION != Permission::Validate {
            let error = beyond_degraded();
            return Err(if A::AUDITED { refused(error) } else { error });
        }
        let reach = caller.grants.reach(A::PERMISSION).cloned().ok_or_else(|| {
            refused(Error::PermissionMissing {
                permission: A::PERMISSION,
                namespace: None,
            })
        })?;
        let audit = A::AUDITED.then(|| Audit::open(&self.trail, call, A::RPC, &caller.identity));
        Ok(Right {
            caller: caller.clone(),
            reach,
            degraded,
            call: call.clone(),
            trail: self.trail.clone(),
            audit: audit.transpose()?,
            act: PhantomData,
        })
    }
}

/// Why a caller of whom is only known who it was, is refused.
pub(super) fn beyond_degraded() -> Error {
    Error::StoreUnavailable("the store could not be asked who calls".to_owned())
}

impl<A: Act> Right<A> {
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whom it speaks against if a secret is not in force that the call presents, of a client at
    /// the address that it names, if it names one.
    pub(super) fn suspect(&self, named: Option<IpAddr>) -> Suspect<'_> {
        Suspect::client_of(&self.caller.identity, named, self.call.peer)
    }

    /// The caller, for what is done in several tasks at once.
    pub(super) fn caller_shared(&self) -> Arc<Caller> {
        self.caller.clone()
    }

    /// Whether it is that of a caller who may not be any more who it was; what is answered by it is
    /// degraded, too.
    pub(super) fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The namespaces that the right holds for.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The namespaces that a call which asks for `asked` is about; refused where the right does
    /// not cover them.
    pub fn within(&self, asked: &Namespaces) -> Result<Arc<Reach>, Error> {
        let named = match asked {
            Namespaces::All if *self.reach == Reach::All => return Ok(self.reach.clone()),
            Namespaces::All => {
                return Err(Error::PermissionMissing {
                    permission: A::PERMISSION,
                    namespace: None,
                });
            }
            Namespaces::Own => self.caller.identity.own_namespace(),
            Namespaces::Named(named) => Some(named),
        };
        // As a rule a caller asks about the one namespace that it may ask about.
        match named.filter(|named| self.audit.is_none() && self.reach.is_only(named)) {
            Some(_) => Ok(self.reach.clone()),
            None => self.in_namespace(named).map(Reach::only).map(Arc::new),
        }
    }

    /// The one namespace that a call is about: the named one, else the caller's own.
    pub fn in_namespace(&self, named: Option<&Namespace>) -> Result<Namespace, Error> {
        let namespace = named
            .cloned()
            .unwrap_or_else(|| self.caller.identity.home());
        if let Some(audit) = &self.audit {
            audit.within(&namespace);
        }
        if self.reach.covers(&namespace) {
            return Ok(namespace);
        }
        Err(Error::PermissionMissing {
            permission: A::PERMISSION,
            namespace: Some(namespace),
        })
    }

    /// Refuses what the caller, as it is by now, may not do in `namespace` any more.
    pub(super) fn recheck(&self, by_now: &Caller, namespace: &Namespace) -> Result<(), Error> {
        let reach = by_now.grants.reach(A::PERMISSION);
        match reach.is_some_and(|reach| reach.covers(namespace)) {
            true => Ok(()),
            false => Err(Error::PermissionMissing {
                permission: A::PERMISSION,
                namespace: Some(namespace.clone()),
            }),
        }
    }

    /// Judges what stands against a change of a token: that it is out of sight, or carries a scope
    /// that the caller does not hold, or governs only as an admin of its namespace. Asked in the
    /// same step as the change.
    pub(super) fn guard(&self) -> impl Fn(&Token) -> Option<Refusal> + Send + Sync + use<A> {
        let (reach, caller) = (self.reach.clone(), self.caller.clone());
        move |token| {
            if !reach.covers(&token.namespace) {
                return Some(Refusal::OutOfSight);
            }
            let (scopes, namespace) = (&token.profile.scopes, &token.namespace);
            let admin = caller.grants.reach(Permission::Admin);
            let governs = admin.is_some_and(|reach| reach.covers(namespace));
            let beyond = match governs {
                true => caller.grants.exceeded_by(scopes, namespace),
                false => token.profile.authority_scope(),
            };
            beyond.map(|scope| Refusal::ExceedsCaller {
                scope: scope.clone(),
            })
        }
    }

    /// Names the token that the call is about, for the audit line.
    pub(super) fn about(&mut self, id: TokenId) {
        if let Some(audit) = &mut self.audit {
            audit.about(id);
        }
    }

    /// Names the namespace that the token turned out to live in, for the audit line.
    pub(super) fn found_in(&self, namespace: &Namespace) {
        if let Some(audit) = &self.audit {
            audit.within(namespace);
        }
    }

    /// Ends the call: writes its audit line and hands the result on.
    pub fn conclude<T>(mut self, result: Result<T, Error>) -> Result<T, Error> {
        match self.audit.take() {
            Some(audit) => audit.conclude(&result),
            None => self.tell_refusal(&result),
        }
        result
    }

    /// Hands on the result of one question of many, which leaves a line only where it is refused.
    pub fn answered<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        self.tell_refusal(&result);
        result
    }

    fn tell_refusal<T>(&self, result: &Result<T, Error>) {
        if let Err(error @ (Error::PermissionMissing { .. } | Error::GrantExceedsCaller { .. })) =
            result
        {
            let caller = &self.caller.identity;
            audit::refused(&self.trail, &self.call, A::RPC, caller, error);
        }
    }
}
