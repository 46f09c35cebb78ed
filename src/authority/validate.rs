//! The question of all questions: may this secret do what is asked, now?

use std::sync::Arc;

use crate::domain::caller::Namespaces;
use crate::domain::secret::Presented;
use crate::domain::token::Token;
use crate::domain::verdict::{self, Request, Verdict};

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
        let validation = self.judged(right, secret, namespaces, request).await?;
        self.metrics.judged(validation.verdict);
        Ok(validation)
    }

    async fn judged(
        &self,
        right: &Right<act::Validate>,
        secret: &str,
        namespaces: &Namespaces,
        request: &Request,
    ) -> Result<Validation, Error> {
        let reach = right.within(namespaces)?;
        let id = self.validation_ids.next().to_string();
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
