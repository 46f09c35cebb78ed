//! Making several tokens that are alike: all of them, or none where one is refused.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::domain::flaw::{Flaw, Violations};
use crate::domain::token::{RequestKey, Ruling, TokenId};
use crate::store::Rule;

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;
use super::tokens::{Issued, Order};

/// Most tokens of one call.
pub const COUNT_MAX: u32 = 1000;
/// Most bytes of one answer, and about what a token takes besides its profile: its id and secret,
/// times, and the names of fields.
const ANSWER_BYTES_MAX: usize = 3 << 20;
const TOKEN_BYTES: usize = 512;
/// Tokens that one call makes at once.
const AT_ONCE: usize = 32;

/// What is asked of BatchCreate.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What each token shall be.
    pub template: Order,
    /// 1 to [`COUNT_MAX`].
    pub count: u32,
}

impl Batch {
    /// The batch, if its answer is not too large.
    pub fn new(template: Order, count: u32) -> Result<Self, Flaw> {
        Self::check(count)?;
        let each = template.profile.bytes() + TOKEN_BYTES;
        let most = u32::try_from(ANSWER_BYTES_MAX / each).unwrap_or(COUNT_MAX);
        if count > most {
            return Err(Flaw::new(format!(
                "must be 1 to {most} for tokens as large as these: one answer carries all; got {count}"
            )));
        }
        Ok(Self { template, count })
    }

    /// Checks what holds for any template.
    pub fn check(count: u32) -> Result<(), Flaw> {
        match (1..=COUNT_MAX).contains(&count) {
            true => Ok(()),
            false => Err(Flaw::new(format!("must be 1 to {COUNT_MAX}; got {count}"))),
        }
    }
}

/// One token of a batch.
struct Made {
    index: u32,
    issued: Issued,
    /// Made by this call, and not by an earlier one that it repeats.
    new: bool,
}

impl Authority {
    /// Issues all tokens of the batch. Where one of them is refused, none stays that this call made;
    /// after an outage some may.
    pub async fn batch_create(
        self: &Arc<Self>,
        right: &Right<act::BatchCreate>,
        batch: Batch,
    ) -> Result<Vec<Issued>, Error> {
        let Batch { template, count } = batch;
        let namespace = right.in_namespace(template.namespace.as_ref())?;
        let (template, caller) = (Arc::new(template), right.caller_shared());
        let name = caller.identity.to_string();
        let mut making = JoinSet::new();
        let (mut made, mut failed) = (Vec::new(), None);
        let mut indexes = 0..count;
        loop {
            let next = match failed.is_none() && making.len() < AT_ONCE {
                true => indexes.next(),
                false => None,
            };
            if let Some(index) = next {
                let key = template
                    .request_id
                    .as_ref()
                    .map(|id| RequestKey::of_batch(&name, &namespace, id, index));
                let (authority, caller) = (Arc::clone(self), caller.clone());
                let (template, namespace) = (template.clone(), namespace.clone());
                making.spawn(async move {
                    let made = authority
                        .make(&caller, &template, namespace, key, &mut |_| {})
                        .await;
                    made.map(|(issued, new)| Made { index, issued, new })
                });
                continue;
            }
            match making.join_next().await {
                None => break,
                Some(Ok(Ok(one))) => made.push(one),
                Some(Ok(Err(error))) => drop(failed.get_or_insert(error)),
                Some(Err(panic)) => {
                    failed.get_or_insert(Error::Internal(panic.to_string()));
                }
            }
        }
        match failed {
            None => {
                made.sort_by_key(|made| made.index);
                Ok(made.into_iter().map(|made| made.issued).collect())
            }
            Some(error) => {
                if is_refusal(&error) {
                    let new = made.iter().filter(|made| made.new);
                    let ids = new.map(|made| made.issued.seen.token.id).collect();
                    self.unmake(ids).await?;
                }
                Err(of_template(error))
            }
        }
    }

    /// Deletes what this call made.
    async fn unmake(&self, ids: Vec<TokenId>) -> Result<(), Error> {
        let rule: Rule = Arc::new(|_, _| Ruling::Keep);
        for id in ids {
            self.store.delete(id, rule.clone()).await?;
            self.metrics.tokens_deleted.inc();
        }
        Ok(())
    }
}

/// Whether nothing is unknown after the error.
fn is_refusal(error: &Error) -> bool {
    !matches!(
        error,
        Error::StoreUnavailable(_) | Error::Contended | Error::Internal(_)
    )
}

/// The error with the fields as a BatchCreateRequest names them.
fn of_template(error: Error) -> Error {
    let Error::Invalid(violations) = error else {
        return error;
    };
    let mut renamed = Violations::default();
    for (field, flaw) in violations.iter() {
        renamed.add(format!("template.{field}"), flaw.clone());
    }
    Error::Invalid(renamed)
}
