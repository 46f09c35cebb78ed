//! Changing a token: update, rotate, reset its limits, revoke, delete.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use crate::domain::caller::Reach;
use crate::domain::coherence::Invalidation;
use crate::domain::name::{Reason, RequestId};
use crate::domain::permits::Ahead;
use crate::domain::rotation::{Grace, Rotation};
use crate::domain::spending::Scope;
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, Refusal, RequestKey, Revocation, Ruling, Token, TokenId};
use crate::domain::update::Patch;
use crate::store::limits::TAKE_ATTEMPTS;
use crate::store::{Change, Deletion, Rule, StoreError, Take, Taken};

use super::Authority;
use super::access::Right;
use super::act::{self, Act};
use super::error::Error;
use super::refusal::refused;
use super::seen::Seen;
use super::tokens::Issued;

/// What is asked of Rotate.
#[derive(Clone, Debug)]
pub struct RotateOrder {
    pub id: TokenId,
    pub grace: Grace,
    pub revision: Option<u64>,
    pub request_id: Option<RequestId>,
}

/// A token after a change that was allowed.
struct Outcome {
    token: Token,
    /// When it was so, by the store's time.
    now: Timestamp,
    /// Whether there was anything to be changed.
    changed: bool,
}

impl Authority {
    pub async fn update(
        &self,
        right: &mut Right<act::Update>,
        id: TokenId,
        patch: Patch,
    ) -> Result<Seen, Error> {
        let limits = patch.concerns_limits();
        if limits {
            right.about(id);
            self.settle_before(right.reach(), id).await?;
        }
        let caller = right.caller().grants.clone();
        let policies = Arc::clone(&self.policies);
        let rule = move |token: &Token, now| {
            let asked = patch.scopes.as_deref().unwrap_or_default();
            match caller.exceeded_by(asked, &token.namespace) {
                Some(scope) => Ruling::Refuse(Refusal::ExceedsCaller {
                    scope: scope.clone(),
                }),
                None => {
                    let policy = policies.of(&token.namespace);
                    let reviewed = policy.review(token, now, token.update(now, &patch));
                    reviewed.unwrap_or_else(|flaw| {
                        let field = "token.expire_time".to_owned();
                        Ruling::Refuse(Refusal::Breaks { field, flaw })
                    })
                }
            }
        };
        let Outcome { token, now, .. } = self.change(right, id, rule).await?;
        let token = Arc::new(token);
        if limits && token.is_limited() {
            self.settle(token, now).await
        } else {
            self.see(token, now).await
        }
    }

    /// Puts a new secret in force, or, for a replayed `request_id`, adds one to those that the
    /// request put in force.
    pub async fn rotate(
        &self,
        right: &mut Right<act::Rotate>,
        order: RotateOrder,
    ) -> Result<Issued, Error> {
        let RotateOrder {
            id,
            grace,
            revision,
            request_id,
        } = order;
        let (secret, digest) = self.mint.make(&id)?;
        let caller = right.caller().identity.to_string();
        let origin = request_id.map(|request_id| Origin {
            key: RequestKey::of_rotate(&caller, id, &request_id),
            fingerprint: grace.fingerprint(revision),
        });
        let rotation = Rotation {
            brand: self.mint.brand().clone(),
            digest,
            grace,
            revision,
            origin,
        };
        let rule = move |token: &Token, now| token.rotate(now, &rotation);
        let Outcome { token, now, .. } = self.change(right, id, rule).await?;
        let seen = self.see(Arc::new(token), now).await?;
        Ok(Issued { seen, secret })
    }

    pub async fn reset_limits(
        &self,
        right: &mut Right<act::ResetLimits>,
        id: TokenId,
    ) -> Result<Seen, Error> {
        let rule = |token: &Token, now| token.reset_limits(now);
        let Outcome { token, now, .. } = self.change(right, id, rule).await?;
        self.see(Arc::new(token), now).await
    }

    /// Revokes by id; repeating it answers the first revocation.
    pub async fn revoke(
        &self,
        right: &mut Right<act::Revoke>,
        id: TokenId,
        reason: Reason,
    ) -> Result<Revocation, Error> {
        let rule = move |token: &Token, now| token.revoke(now, reason.clone());
        let Outcome { token, changed, .. } = self.change(right, id, rule).await?;
        if changed {
            self.metrics.tokens_revoked.inc();
        }
        token
            .revoked
            .ok_or_else(|| Error::Internal("a revoked token is not revoked".to_owned()))
    }

    pub async fn delete(&self, right: &mut Right<act::Delete>, id: TokenId) -> Result<(), Error> {
        right.about(id);
        let guard = right.guard();
        let place = Arc::new(OnceLock::new());
        let seen = Arc::clone(&place);
        let rule: Rule = Arc::new(move |token, _| {
            seen.get_or_init(|| token.namespace.clone());
            guard(token).map_or(Ruling::Keep, Ruling::Refuse)
        });
        match self.known(id, self.store.delete(id, rule)).await? {
            Deletion::Deleted => {
                if let Some(namespace) = place.get() {
                    right.found_in(namespace);
                }
                self.metrics.tokens_deleted.inc();
                Ok(())
            }
            Deletion::Absent => Err(Error::TokenNotFound(id)),
            Deletion::Refused(refusal) => self.unseen(refused(refusal, id, "")).await,
        }
    }

    /// Carries out what may change the token `id`, and makes it known to every server before it is
    /// answered: also where nothing was to be changed, or is there any more. It may be the repeat of
    /// a call that was cut off when it had changed the token, and had told nobody.
    pub(super) async fn known<T: Changing>(
        &self,
        id: TokenId,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Error> {
        match act.await {
            Ok(done) => {
                let revision = done.revision().unwrap_or(u64::MAX);
                let change = Invalidation {
                    token: id,
                    revision,
                };
                self.coherence.changed(change).await?;
                Ok(done)
            }
            Err(error) => {
                // Nobody knows whether it was changed.
                self.coherence.doubt(id);
                Err(error.into())
            }
        }
    }

    /// Applies `rule` to a token that the right covers.
    async fn change<A: Act>(
        &self,
        right: &mut Right<A>,
        id: TokenId,
        rule: impl Fn(&Token, Timestamp) -> Ruling + Send + Sync + 'static,
    ) -> Result<Outcome, Error> {
        right.about(id);
        let guard = right.guard();
        let rule: Rule = Arc::new(move |token, now| match guard(token) {
            Some(refusal) => Ruling::Refuse(refusal),
            None => rule(token, now),
        });
        match self.known(id, self.store.change(id, rule)).await? {
            Change::Changed(token) => {
                right.found_in(&token.namespace);
                let (now, changed) = (token.update_time, true);
                Ok(Outcome {
                    token,
                    now,
                    changed,
                })
            }
            Change::Kept(token, now) => {
                right.found_in(&token.namespace);
                Ok(Outcome {
                    token,
                    now,
                    changed: false,
                })
            }
            Change::Absent => Err(Error::TokenNotFound(id)),
            Change::Refused(refusal) => {
                let error = refused(refusal, id, "token.expire_time");
                self.unseen(error).await
            }
        }
    }

    /// Writes down what is left of the limits of a token that is about to get others: what came back
    /// at their pace until now would else be owed again at another.
    async fn settle_before(&self, reach: &Reach, id: TokenId) -> Result<(), Error> {
        let mut found = self.store.find(id).await?;
        for _ in 0..TAKE_ATTEMPTS {
            let Some(token) = found.token else {
                return Ok(());
            };
            if !reach.covers(&token.namespace) {
                // As dear as an absent token.
                return Ok(self.store.confirm().await?);
            }
            if !token.is_limited() {
                return Ok(());
            }
            match self.store.take(&nothing_of(token)).await? {
                Taken::Admitted(..) | Taken::Refused(..) => return Ok(()),
                Taken::Moved(moved) => found = moved,
            }
        }
        Err(Error::Contended)
    }

    /// Sees a token whose limits were changed. What is left is written down under the new ones: so a
    /// quota that was lowered and raised again owes nothing, and a store keeps what is spent for as
    /// long as the new pace needs it.
    async fn settle(&self, token: Arc<Token>, now: Timestamp) -> Result<Seen, Error> {
        match self.store.take(&nothing_of(token.clone())).await? {
            Taken::Admitted(left, _) | Taken::Refused(_, left) => Ok(Seen {
                token,
                left,
                used: None,
            }),
            Taken::Moved(_) => self.see(token, now).await,
        }
    }

    /// Makes a token out of sight as dear as an absent one.
    async fn unseen<T>(&self, error: Error) -> Result<T, Error> {
        if matches!(error, Error::TokenNotFound(_)) {
            self.store.confirm().await?;
        }
        Err(error)
    }
}

/// What a store answers that was to change a token.
pub(super) trait Changing {
    /// The revision of the token as it stands by then; `None` where it is not told, or there is no
    /// token.
    fn revision(&self) -> Option<u64>;
}

impl Changing for Change {
    fn revision(&self) -> Option<u64> {
        match self {
            Self::Changed(token) | Self::Kept(token, _) => Some(token.revision),
            Self::Absent | Self::Refused(_) => None,
        }
    }
}

impl Changing for Deletion {
    fn revision(&self) -> Option<u64> {
        None
    }
}

/// A use that costs nothing.
fn nothing_of(token: Arc<Token>) -> Take {
    Take {
        token,
        until: None,
        cost: 0,
        scope: Scope::All,
        dry_run: false,
        ahead: Ahead::default(),
    }
}
