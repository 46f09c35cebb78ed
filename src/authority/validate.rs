//! The question of all questions: may this secret do what is asked, now?

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::caller::Namespaces;
use crate::domain::freshness::Answer;
use crate::domain::spending::{Left, Scope};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::{self, Judged};
use crate::domain::validation_id::ValidationId;
use crate::domain::verdict::{self, Consistency, Credential, Request, Verdict};

use super::Authority;
use super::access::{Right, beyond_degraded};
use super::act::{self, Act};
use super::decide::{Decision, Inquiry, Use};
use super::error::Error;

/// What is asked of Validate.
#[derive(Clone, Debug)]
pub struct Question {
    pub namespaces: Namespaces,
    pub request: Request,
    /// What the use costs of the token's limits, at most [`crate::domain::limit::COST_MAX`].
    pub cost: u64,
    /// Only asked: nothing is spent.
    pub dry_run: bool,
    pub consistency: Consistency,
    /// What the client says it is, for the record only.
    pub user_agent: String,
}

impl Question {
    fn as_use(&self) -> Use {
        Use {
            cost: self.cost,
            scope: Scope::All,
            dry_run: self.dry_run,
        }
    }
}

/// A judgement and what it was about.
#[derive(Clone, Debug)]
pub struct Validation {
    pub verdict: Verdict,
    /// `None` for `Malformed` and `NotFound`.
    pub subject: Option<Subject>,
    /// What the judged use cost.
    pub cost: u64,
    /// How long whoever asked may repeat the answer to itself; zero for not at all.
    pub cache_ttl: Duration,
    /// The store could not be asked, about the token or about who asks, and either may have changed
    /// since it last could.
    pub degraded: bool,
    /// Unique over all processes.
    pub id: String,
}

/// The judged token, and by which of its secrets.
#[derive(Clone, Debug)]
pub struct Subject {
    pub token: Arc<Token>,
    pub credential: Credential,
    /// When it was so, by the store's time.
    pub now: Timestamp,
    /// What is left of its limits, where they were judged.
    pub left: Option<Left>,
}

/// An act that judges secrets.
pub trait Judges: Act {}
impl Judges for act::Validate {}
impl Judges for act::BatchValidate {}
impl Judges for act::ValidateStream {}

impl Authority {
    /// Judges a presented secret of a token in the asked namespaces, where the right covers them. An
    /// error means that there is no answer, never a refusal.
    pub async fn validate<A: Judges>(
        &self,
        right: &Right<A>,
        secret: &str,
        question: &Question,
    ) -> Result<Validation, Error> {
        let validation = self.judged(right, secret, question).await?;
        self.metrics.judged(validation.verdict);
        if self.usage.enabled && !question.dry_run {
            self.take_down(right, question, &validation);
        }
        if validation.degraded {
            self.metrics.cache.degraded.inc();
        }
        Ok(validation)
    }

    /// Notes a judged request for those who ask later how tokens are used.
    fn take_down<A: Judges>(&self, right: &Right<A>, question: &Question, judged: &Validation) {
        let Request {
            method,
            path,
            client_ip,
            ..
        } = &question.request;
        let (method, path) = (method.as_deref(), path.as_deref());
        let note = Judged {
            at: Timestamp::default(),
            verdict: judged.verdict,
            cost: judged.cost,
            secret_version: 0,
            validation_id: &judged.id,
            method: method.unwrap_or_default(),
            path: "",
            client: client_ip.and_then(|address| self.usage.clients.of(address)),
            user_agent: match self.usage.user_agents {
                true => &question.user_agent,
                false => "",
            },
        };
        match &judged.subject {
            Some(Subject {
                token,
                credential,
                now,
                ..
            }) => {
                let note = Judged {
                    at: *now,
                    secret_version: match credential {
                        Credential::Own { version, .. } => *version,
                        Credential::Lease { .. } => 0,
                    },
                    path: self.folded(token, method, path),
                    ..note
                };
                self.recorder.note(token.id, &token.namespace, &note);
            }
            None => {
                let at = SystemClock.now();
                let home = right.caller().identity.home();
                self.recorder.note_unknown(&home, &Judged { at, ..note });
            }
        }
    }

    /// What a request of a token on `path` counts under.
    pub(super) fn folded<'a>(
        &'a self,
        token: &'a Token,
        method: Option<&str>,
        path: Option<&'a str>,
    ) -> &'a str {
        let template = self.usage.templates.folding(path);
        template.unwrap_or_else(|| usage::endpoint(&token.profile.endpoints, method, path))
    }

    /// A new name for a judgement.
    fn validation_id(&self, judged: Option<(TokenId, Verdict)>) -> String {
        ValidationId::new(judged, self.validation_ids.next().digits()).text()
    }

    async fn judged<A: Judges>(
        &self,
        right: &Right<A>,
        secret: &str,
        question: &Question,
    ) -> Result<Validation, Error> {
        let Question {
            namespaces,
            request,
            cost,
            dry_run,
            consistency,
            user_agent: _,
        } = question;
        let reach = right.within(namespaces)?;
        if right.is_degraded() && *consistency == Consistency::Strong {
            return Err(beyond_degraded());
        }
        let about = |token: Option<TokenId>, verdict| Validation {
            verdict,
            subject: None,
            cost: *cost,
            cache_ttl: Duration::ZERO,
            degraded: right.is_degraded(),
            id: self.validation_id(token.map(|id| (id, verdict))),
        };
        let Some(presented) = self.mint.read(secret) else {
            return Ok(about(None, Verdict::Malformed));
        };
        let judge = |token: &Token, own, now| verdict::judge(token, own, request, now);
        let inquiry = Inquiry {
            suspect: Some(right.suspect(request.client_ip)),
            presented: &presented,
            reach: &reach,
            judge,
            use_: question.as_use(),
            consistency: *consistency,
        };
        let Some(decision) = self.decide(&inquiry).await? else {
            return Ok(about(None, Verdict::NotFound));
        };
        let Decision {
            verdict,
            token,
            credential,
            now,
            left,
            degraded,
        } = decision;
        let degraded = degraded || right.is_degraded();
        let answer = Answer {
            verdict,
            token: &token,
            credential,
            now,
            dry_run: *dry_run,
            degraded,
        };
        let freshness = self.policies.of(&token.namespace).freshness();
        let cache_ttl = freshness.cache_ttl(&answer);
        let id = token.id;
        let subject = Subject {
            token,
            credential,
            now,
            left,
        };
        Ok(Validation {
            subject: Some(subject),
            cache_ttl,
            degraded,
            ..about(Some(id), verdict)
        })
    }
}
