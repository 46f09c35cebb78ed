//! Making tokens and looking at them: create, get, list.

use std::sync::Arc;

use crate::domain::caller::{Caller, Namespaces};
use crate::domain::flaw::Violations;
use crate::domain::name::{Labels, Namespace, Owner, PoolName, RequestId};
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::policy::Bounds;
use crate::domain::profile::Profile;
use crate::domain::secret::{Secret, SecretDigest};
use crate::domain::token::{
    Draft, Expiration, Origin, Refusal, RequestKey, Ruling, State, TokenId,
};
use crate::entropy;
use crate::store::{Change, Creation, Rule};

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;
use super::refusal::refused;
use super::seen::Seen;

/// What is asked of Create.
#[derive(Clone, Debug)]
pub struct Order {
    pub namespace: Option<Namespace>,
    pub profile: Profile,
    /// What shall be left of the quota, if not all of it.
    pub quota_left: Option<u64>,
    pub expiration: Expiration,
    pub request_id: Option<RequestId>,
}

/// A token and its secret, which exists nowhere else.
#[derive(Debug)]
pub struct Issued {
    pub seen: Seen,
    pub secret: Secret,
}

/// What is asked of List.
#[derive(Clone, Debug)]
pub struct ListQuery {
    pub namespaces: Namespaces,
    pub owner: Option<Owner>,
    pub pool: Option<PoolName>,
    /// Empty: the default states.
    pub states: Vec<State>,
    pub labels: Labels,
    pub page_size: PageSize,
    /// Empty: from the newest.
    pub page_token: String,
    /// Whether it is asked how often each token was used.
    pub with_usage: bool,
}

/// A page of List.
#[derive(Debug)]
pub struct Listed {
    pub tokens: Vec<Seen>,
    /// Whether it was asked how often each token was used.
    pub with_usage: bool,
    /// Empty at the end.
    pub next_page_token: String,
}

/// Draws of a fresh id before giving up; two of them being taken is already beyond belief.
const ID_DRAWS: usize = 3;

impl Authority {
    /// Issues a token, or, for a replayed `request_id`, one more secret of the token it made.
    pub async fn create(
        &self,
        right: &mut Right<act::Create>,
        order: Order,
    ) -> Result<Issued, Error> {
        let namespace = right.in_namespace(order.namespace.as_ref())?;
        let caller = right.caller_shared();
        let name = caller.identity.to_string();
        let key = order
            .request_id
            .as_ref()
            .map(|id| RequestKey::of_create(&name, &namespace, id));
        let mut about = |id| right.about(id);
        let made = self.make(&caller, &order, namespace, key, &mut about).await;
        made.map(|(issued, _)| issued)
    }

    /// Makes the token of `order`, under `key` where it has one; answers whether it is a new one,
    /// and names to `about` the token that may have come to be.
    pub(super) async fn make(
        &self,
        caller: &Caller,
        order: &Order,
        namespace: Namespace,
        key: Option<RequestKey>,
        about: &mut (dyn FnMut(TokenId) + Send),
    ) -> Result<(Issued, bool), Error> {
        let exceeding = &order.profile.scopes;
        if let Some(scope) = caller.grants.exceeded_by(exceeding, &namespace) {
            return Err(Error::GrantExceedsCaller {
                scope: scope.clone(),
            });
        }
        let policy = self.policies.of(&namespace);
        for _ in 0..ID_DRAWS {
            let id = match &key {
                Some(key) => TokenId::derived(key),
                None => entropy::token_id()?,
            };
            let pool = order.profile.pool.as_ref();
            let id = pool.map_or(id, |pool| id.in_pool(&namespace, pool));
            let (secret, digest) = self.mint.make(&id)?;
            let draft = Draft {
                id,
                namespace: namespace.clone(),
                profile: order.profile.clone(),
                quota_left: order.quota_left,
                expiration: order.expiration,
                brand: self.mint.brand().clone(),
                digest: digest.clone(),
                origin: None,
                bounds: Bounds::default(),
            };
            let draft = policy
                .settle(draft.made_by(key))
                .map_err(|flaw| Error::Invalid(Violations::one("ttl", flaw)))?;
            let created = self.store.create(draft.clone()).await;
            if !matches!(created, Ok(Creation::Refused(_))) {
                // After an error too: whether the token came to be is unknown then.
                about(id);
            }
            match (created?, draft.origin) {
                (Creation::Created(token), _) => {
                    self.metrics.tokens_created.inc();
                    let now = token.create_time;
                    let seen = Seen::unspent(Arc::new(token), now);
                    return Ok((Issued { seen, secret }, true));
                }
                (Creation::Taken(token), Some(origin)) => {
                    about(token.id);
                    let replay = self.replay(caller, token.id, origin, secret, digest);
                    return Ok((replay.await?, false));
                }
                (Creation::Gone, Some(_)) => return Err(Error::RequestIdUsed(id)),
                (Creation::Refused(refusal), _) => return Err(refused(refusal, id, "expire_time")),
                (Creation::Taken(_) | Creation::Gone, None) => {}
            }
        }
        Err(Error::Internal("fresh token ids are taken".to_owned()))
    }

    async fn replay(
        &self,
        caller: &Caller,
        id: TokenId,
        origin: Origin,
        secret: Secret,
        digest: SecretDigest,
    ) -> Result<Issued, Error> {
        let caller = caller.grants.clone();
        let rule: Rule = Arc::new(move |token, now| {
            // Since it was made, others may have given the token more than its maker holds.
            let beyond = caller.exceeded_by(&token.profile.scopes, &token.namespace);
            match (token.replay(now, &origin, digest.clone()), beyond) {
                (Ruling::Replace(_), Some(scope)) => Ruling::Refuse(Refusal::ExceedsCaller {
                    scope: scope.clone(),
                }),
                (ruling, _) => ruling,
            }
        });
        match self.known(id, self.store.change(id, rule)).await? {
            Change::Changed(token) => {
                let now = token.update_time;
                let seen = self.see(Arc::new(token), now).await?;
                Ok(Issued { seen, secret })
            }
            Change::Absent | Change::Kept(..) => Err(Error::RequestIdUsed(id)),
            Change::Refused(refusal) => Err(refused(refusal, id, "expire_time")),
        }
    }

    pub async fn get(&self, right: &mut Right<act::Get>, id: TokenId) -> Result<Seen, Error> {
        right.about(id);
        let found = self.store.find(id).await?;
        match found.token {
            Some(token) if right.reach().covers(&token.namespace) => {
                right.found_in(&token.namespace);
                self.see_used(token, found.now).await
            }
            Some(_) => {
                // As dear as an absent token, so that the time tells nothing either.
                self.store.confirm().await?;
                Err(Error::TokenNotFound(id))
            }
            None => Err(Error::TokenNotFound(id)),
        }
    }

    pub async fn list(&self, right: &Right<act::List>, query: ListQuery) -> Result<Listed, Error> {
        let ListQuery {
            namespaces,
            owner,
            pool,
            states,
            labels,
            page_size,
            page_token,
            with_usage,
        } = query;
        if with_usage && !self.usage.enabled {
            return Err(Error::UsageOff);
        }
        let states = if states.is_empty() {
            Filter::default_states()
        } else {
            states.into_iter().collect()
        };
        let filter = Filter {
            reach: right.within(&namespaces)?.as_ref().clone(),
            owner,
            pool,
            states,
            labels,
        };
        let key = self.store.id()?;
        let after = match page_token.as_str() {
            "" => None,
            text => Some(
                Cursor::unseal(text, key.as_str().as_bytes(), &filter)
                    .map_err(|flaw| Error::Invalid(Violations::one("page_token", flaw)))?,
            ),
        };
        let page = self.store.list(&filter, after, page_size).await?;
        let mut tokens = self.see_all(page.tokens, page.now).await?;
        self.see_use(&mut tokens, page.now).await?;
        Ok(Listed {
            tokens,
            with_usage,
            next_page_token: page.next.map_or(String::new(), |next| {
                next.seal(key.as_str().as_bytes(), &filter)
            }),
        })
    }
}
