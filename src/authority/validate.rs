//! The question of all questions: may this secret do what is asked, now?

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::brief::Brief;
use crate::domain::caller::{Namespaces, Reach};
use crate::domain::freshness::Answer;
use crate::domain::secret::Presented;
use crate::domain::spending::{Left, Scope};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::{self, Judged, withheld};
use crate::domain::validation_id::ValidationId;
use crate::domain::verdict::{self, Consistency, Credential, Request, Verdict};

use super::Authority;
use super::access::{Right, beyond_degraded};
use super::act::{self, Act};
use super::decide::{Decision, Inquiry, Recalled, Use};
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
    pub about: About,
    pub credential: Credential,
    /// When it was so, by the store's time.
    pub now: Timestamp,
    /// What is left of its limits, where they were judged.
    pub left: Option<Left>,
}

/// The judged token, as it was found.
#[derive(Clone, Debug)]
pub enum About {
    /// In memory.
    Brief(Arc<Brief>),
    Token(Arc<Token>),
}

impl About {
    pub fn token(&self) -> &Arc<Token> {
        match self {
            Self::Brief(brief) => &brief.token,
            Self::Token(token) => token,
        }
    }

    pub fn id(&self) -> TokenId {
        match self {
            Self::Brief(brief) => brief.id,
            Self::Token(token) => token.id,
        }
    }

    pub fn revision(&self) -> u64 {
        match self {
            Self::Brief(brief) => brief.revision,
            Self::Token(token) => token.revision,
        }
    }

    fn namespace(&self) -> &str {
        match self {
            Self::Brief(brief) => brief.namespace(),
            Self::Token(token) => token.namespace.as_str(),
        }
    }

    /// What a request on `path` counts under.
    fn endpoint<'a>(&'a self, method: Option<&str>, path: Option<&'a str>) -> &'a str {
        match self {
            Self::Brief(brief) => usage::endpoint(brief.endpoints(), method, path),
            Self::Token(token) => usage::endpoint(token.profile.endpoints.texts(), method, path),
        }
    }
}

/// An act that judges secrets.
pub trait Judges: Act {}
impl Judges for act::Validate {}
impl Judges for act::BatchValidate {}
impl Judges for act::ValidateStream {}
impl Judges for act::Check {}

impl Authority {
    /// Judges a presented secret of a token in the asked namespaces, where the right covers them. An
    /// error means that there is no answer, never a refusal.
    pub async fn validate<A: Judges>(
        &self,
        right: &Right<A>,
        secret: &str,
        question: &Question,
    ) -> Result<Validation, Error> {
        match self.validate_at_once(right, secret, question) {
            Some(answer) => answer,
            // Boxed, so that what is answered at once is not moved about with room for it.
            None => Box::pin(self.validate_by_asking(right, secret, question)).await,
        }
    }

    /// The same by memory alone, waiting for nobody; `None` where the store is to be asked.
    pub fn validate_at_once<A: Judges>(
        &self,
        right: &Right<A>,
        secret: &str,
        question: &Question,
    ) -> Option<Result<Validation, Error>> {
        let hearing = match self.hear(right, secret, question) {
            Ok(Some(hearing)) => hearing,
            Ok(None) => return Some(Ok(self.noted(right, question, Outcome::Malformed))),
            Err(error) => return Some(Err(error)),
        };
        let request = &question.request;
        let judge = |brief: &Brief, own, now| verdict::judge(brief, own, request, now);
        let recalled = self.decide_at_once(&hearing.inquiry(right, question), judge)?;
        let outcome = Outcome::Recalled(recalled);
        Some(Ok(self.noted(right, question, outcome)))
    }

    /// The same of what is not [answered at once](Self::validate_at_once).
    pub async fn validate_by_asking<A: Judges>(
        &self,
        right: &Right<A>,
        secret: &str,
        question: &Question,
    ) -> Result<Validation, Error> {
        let Some(hearing) = self.hear(right, secret, question)? else {
            return Ok(self.noted(right, question, Outcome::Malformed));
        };
        let inquiry = hearing.inquiry(right, question);
        let outcome = match self.decide_by_asking(&inquiry).await? {
            Some(decision) => Outcome::Decided(decision),
            None => Outcome::NotFound,
        };
        Ok(self.noted(right, question, outcome))
    }

    /// Reads the secret, where the right covers what is asked; `None` of one that is malformed.
    fn hear<'a, A: Judges>(
        &self,
        right: &Right<A>,
        secret: &'a str,
        question: &Question,
    ) -> Result<Option<Hearing<'a>>, Error> {
        let reach = right.within(&question.namespaces)?;
        if right.is_degraded() && question.consistency == Consistency::Strong {
            return Err(beyond_degraded());
        }
        let presented = self.mint.read(secret);
        Ok(presented.map(|presented| Hearing { presented, reach }))
    }

    /// Counts and takes down what was judged.
    fn noted<A: Judges>(
        &self,
        right: &Right<A>,
        question: &Question,
        outcome: Outcome,
    ) -> Validation {
        let validation = self.validation(right, question, outcome);
        self.metrics.judged(validation.verdict);
        if self.usage.enabled && !question.dry_run {
            self.take_down(right, question, &validation);
        }
        if validation.degraded {
            self.metrics.cache.degraded.inc();
        }
        validation
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
        let user_agent = match self.usage.user_agents {
            true => withheld(&question.user_agent),
            false => Cow::default(),
        };
        let note = Judged {
            at: Timestamp::default(),
            verdict: judged.verdict,
            cost: judged.cost,
            secret_version: 0,
            validation_id: &judged.id,
            method: method.unwrap_or_default(),
            path: "",
            client: client_ip.and_then(|address| self.usage.clients.of(address)),
            user_agent: &user_agent,
        };
        match &judged.subject {
            Some(Subject {
                about,
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
                    path: &self.folded(path, || about.endpoint(method, path)),
                    ..note
                };
                self.recorder.note(about.id(), about.namespace(), &note);
            }
            None => {
                let at = SystemClock.now();
                let home = right.caller().identity.home();
                self.recorder
                    .note_unknown(home.as_str(), &Judged { at, ..note });
            }
        }
    }

    /// What a request on `path` counts under: what the configuration folds it into, else what its token
    /// does, without whatever in it may be a secret.
    pub(super) fn folded<'a>(
        &'a self,
        path: Option<&'a str>,
        by_token: impl FnOnce() -> &'a str,
    ) -> Cow<'a, str> {
        let template = self.usage.templates.folding(path);
        template.map_or_else(|| withheld(by_token()), Cow::Borrowed)
    }

    /// A new name for a judgement.
    fn validation_id(&self, judged: Option<(TokenId, Verdict)>) -> String {
        ValidationId::new(judged, self.validation_ids.next().digits()).text()
    }

    fn validation<A: Judges>(
        &self,
        right: &Right<A>,
        question: &Question,
        outcome: Outcome,
    ) -> Validation {
        let about = |token: Option<TokenId>, verdict| Validation {
            verdict,
            subject: None,
            cost: question.cost,
            cache_ttl: Duration::ZERO,
            degraded: right.is_degraded(),
            id: self.validation_id(token.map(|id| (id, verdict))),
        };
        let (verdict, subject, degraded) = match outcome {
            Outcome::Malformed => return about(None, Verdict::Malformed),
            Outcome::NotFound => return about(None, Verdict::NotFound),
            Outcome::Recalled(recalled) => recalled.into_subject(),
            Outcome::Decided(decision) => decision.into_subject(),
        };
        let degraded = degraded || right.is_degraded();
        let answer = Answer {
            verdict,
            token: subject.about.token(),
            credential: subject.credential,
            now: subject.now,
            dry_run: question.dry_run,
            degraded,
        };
        let policy = self.policies.of_named(subject.about.namespace());
        let cache_ttl = policy.freshness().cache_ttl(&answer);
        let id = subject.about.id();
        Validation {
            subject: Some(subject),
            cache_ttl,
            degraded,
            ..about(Some(id), verdict)
        }
    }
}

impl Recalled {
    /// The verdict, what it is about, and whether it is degraded.
    fn into_subject(self) -> (Verdict, Subject, bool) {
        let subject = Subject {
            about: About::Brief(self.brief),
            credential: self.credential,
            now: self.now,
            left: self.left,
        };
        (self.verdict, subject, false)
    }
}

impl Decision {
    fn into_subject(self) -> (Verdict, Subject, bool) {
        let subject = Subject {
            about: About::Token(self.token),
            credential: self.credential,
            now: self.now,
            left: self.left,
        };
        (self.verdict, subject, self.degraded)
    }
}

/// A secret that may be one, and where its token is looked for.
struct Hearing<'a> {
    presented: Presented<'a>,
    reach: Arc<Reach>,
}

impl Hearing<'_> {
    fn inquiry<'a, A: Judges>(
        &'a self,
        right: &'a Right<A>,
        question: &'a Question,
    ) -> Inquiry<'a, impl Fn(&Token, Credential, Timestamp) -> Verdict + use<'a, A>> {
        let request = &question.request;
        Inquiry {
            suspect: Some(right.suspect(request.client_ip)),
            presented: &self.presented,
            reach: &self.reach,
            judge: move |token: &Token, own, now| verdict::judge(token, own, request, now),
            use_: question.as_use(),
            consistency: question.consistency,
        }
    }
}

/// What came of a question.
enum Outcome {
    Malformed,
    NotFound,
    Recalled(Recalled),
    Decided(Decision),
}
