//! The question of all questions: may this secret do what is asked, now?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::alphabet;
use crate::domain::caller::Namespaces;
use crate::domain::secret::Presented;
use crate::domain::token::Token;
use crate::domain::verdict::{self, Request, Verdict};
use crate::entropy::{self, EntropyError};

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;

/// A judgement and what it was about.
#[derive(Clone, Debug)]
pub struct Validation {
    pub verdict: Verdict,
    /// The judged token; `None` for `Malformed` and `NotFound`.
    pub token: Option<Arc<Token>>,
    /// Unique over all processes.
    pub id: String,
}

/// Names judgements: a random name of this process, then a count.
pub(super) struct ValidationIds {
    process: String,
    count: AtomicU64,
}

impl ValidationIds {
    pub(super) fn new() -> Result<Self, EntropyError> {
        Ok(Self {
            process: entropy::digits(12)?.to_string(),
            count: AtomicU64::new(0),
        })
    }

    fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}{}", self.process, alphabet::encode(u128::from(count), 8))
    }
}

impl Authority {
    /// Judges a presented secret of a token in the asked namespaces, where the right covers them. An
    /// error means that there is no answer, never a refusal.
    pub async fn validate(
        &self,
        right: &Right<act::Validate>,
        secret: &str,
        namespaces: &Namespaces,
        request: &Request,
    ) -> Result<Validation, Error> {
        let reach = right.within(namespaces)?;
        let id = self.validation_ids.next();
        let Some(presented) = Presented::read(secret, &self.brands) else {
            return Ok(Validation {
                verdict: Verdict::Malformed,
                token: None,
                id,
            });
        };
        let found = self.store.find(presented.id).await?;
        match found.token {
            Some(token) if verdict::recognised(&token, &presented, &reach) => {
                let verdict = verdict::judge(&token, request, found.now);
                Ok(Validation {
                    verdict,
                    token: Some(token),
                    id,
                })
            }
            Some(_) => {
                // One answer, one cost: as dear as an absent token.
                self.store.confirm().await?;
                Ok(Validation {
                    verdict: Verdict::NotFound,
                    token: None,
                    id,
                })
            }
            None => Ok(Validation {
                verdict: Verdict::NotFound,
                token: None,
                id,
            }),
        }
    }
}
