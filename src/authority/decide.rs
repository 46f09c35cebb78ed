//! The one way to a judgement, of subjects and of callers: recognise, judge, take.

use std::sync::Arc;

use crate::domain::brief::Brief;
use crate::domain::caller::Reach;
use crate::domain::permits::Ahead;
use crate::domain::secret::Presented;
use crate::domain::spending::{Exceeded, Left, Scope};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::domain::verdict::{self, Consistency, Credential, Verdict};
use crate::store::limits::TAKE_ATTEMPTS;
use crate::store::{Found, StoreError, Take, Taken};

use super::Authority;
use super::degraded::Undecided;
use super::error::Error;
use super::failures::Suspect;
use super::look::{Look, Place, memory_decides};
use super::permits::Asked;

/// What a use costs, and whether it is only asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) cost: u64,
    pub(super) scope: Scope,
    pub(super) dry_run: bool,
}

/// A question about a presented secret.
#[derive(Debug)]
pub(super) struct Inquiry<'a, J> {
    /// Where the store has to be read, they must have failures left.
    pub(super) suspect: Option<Suspect<'a>>,
    pub(super) presented: &'a Presented<'a>,
    pub(super) reach: &'a Reach,
    /// Judges all but the limits.
    pub(super) judge: J,
    pub(super) use_: Use,
    pub(super) consistency: Consistency,
}

/// A judgement of a token that was recognised.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) token: Arc<Token>,
    pub(super) credential: Credential,
    pub(super) now: Timestamp,
    /// What is left of the limits, where they were judged.
    pub(super) left: Option<Left>,
    /// The store could not be asked, and the token may have changed since it last could.
    pub(super) degraded: bool,
}

/// The same, by what is remembered and known to be so.
#[derive(Debug)]
pub(super) struct Recalled {
    pub(super) verdict: Verdict,
    pub(super) brief: Arc<Brief>,
    pub(super) credential: Credential,
    pub(super) now: Timestamp,
    pub(super) left: Option<Left>,
}

impl From<Recalled> for Decision {
    fn from(recalled: Recalled) -> Self {
        let Recalled {
            verdict,
            brief,
            credential,
            now,
            left,
        } = recalled;
        Self {
            verdict,
            token: brief.token.clone(),
            credential,
            now,
            left,
            degraded: false,
        }
    }
}

impl Authority {
    /// Decides by memory alone, under a lease, and waits for nobody; `None` where the store is to be
    /// asked, or has the last word. `judge` judges all but the limits.
    pub(super) fn decide_at_once<J>(
        &self,
        inquiry: &Inquiry<'_, J>,
        judge: impl Fn(&Brief, Credential, Timestamp) -> Verdict,
    ) -> Option<Recalled> {
        let Inquiry {
            presented,
            reach,
            use_,
            ..
        } = inquiry;
        if inquiry.consistency != Consistency::Cached {
            return None;
        }
        // Before anything is read from memory.
        let held = self.coherence.cache.hold()?;
        let brief = self.coherence.cache.recall(&held, presented.id)?;
        let now = held.bound;
        let credential = self.mint.recognise_briefly(&brief, presented, reach)?;
        let verdict = judge(&brief, credential, now);
        if !memory_decides(verdict) {
            return None;
        }
        let mut recalled = Recalled {
            verdict,
            brief,
            credential,
            now,
            left: None,
        };
        let brief = &recalled.brief;
        if verdict == Verdict::Valid && brief.is_limited && counts(&brief.token, use_.scope) {
            if use_.dry_run {
                return None;
            }
            let take = taking(&brief.token, credential, *use_);
            let left = self.coherence.permits.spend(&take, now, held.at)?;
            recalled.left = Some(left);
        }
        self.metrics.cache.hits.inc();
        Some(recalled)
    }

    /// Decides about a presented secret; `None` if it is none of a token within reach, which is as
    /// dear as an absent token.
    pub(super) async fn decide<J>(
        &self,
        inquiry: &Inquiry<'_, J>,
    ) -> Result<Option<Decision>, Error>
    where
        J: Fn(&Token, Credential, Timestamp) -> Verdict,
    {
        let judge = |brief: &Brief, own, now| (inquiry.judge)(&brief.token, own, now);
        match self.decide_at_once(inquiry, judge) {
            Some(recalled) => Ok(Some(recalled.into())),
            // Boxed, so that what is decided at once is not moved about with room for it.
            None => Box::pin(self.decide_by_asking(inquiry)).await,
        }
    }

    /// The same of what is not [decided at once](Self::decide_at_once).
    ///
    /// What memory cannot decide is read and judged again; what is taken from limits is taken in the
    /// same step that finds the token unchanged, or was taken ahead.
    ///
    /// Where the store has to be read, a verdict on what is read may be a failure of the suspect.
    /// Nobody is suspected who was let in with this very secret before.
    ///
    /// Where the store cannot be asked, it is decided by what is remembered, if that may be.
    pub(super) async fn decide_by_asking<J>(
        &self,
        inquiry: &Inquiry<'_, J>,
    ) -> Result<Option<Decision>, Error>
    where
        J: Fn(&Token, Credential, Timestamp) -> Verdict,
    {
        match self.decide_by_store(inquiry).await {
            Err(Undecided::Outage(why)) if inquiry.consistency == Consistency::Cached => {
                let degraded = self.decide_degraded(inquiry);
                degraded.map(Some).ok_or(why.into())
            }
            decided => Ok(decided?),
        }
    }

    async fn decide_by_store<J>(
        &self,
        inquiry: &Inquiry<'_, J>,
    ) -> Result<Option<Decision>, Undecided>
    where
        J: Fn(&Token, Credential, Timestamp) -> Verdict,
    {
        let Inquiry {
            suspect,
            presented,
            reach,
            use_,
            ..
        } = inquiry;
        let mut look = self.look(inquiry).await?;
        let mut waited = false;
        for _ in 0..TAKE_ATTEMPTS {
            let Look { found, place } = look;
            let now = found.now;
            let recognised = match &found.token {
                Some(token) => self.mint.recognise(token, presented, reach)?,
                None => None,
            };
            let verdict = match (&found.token, recognised) {
                (Some(token), Some(credential)) => (inquiry.judge)(token, credential, now),
                _ => Verdict::NotFound,
            };
            if !place.decides(verdict) {
                look = Box::pin(self.look_again(*suspect, presented.id)).await?;
                continue;
            }
            self.count_failure(*suspect, place, verdict);
            let (token, credential) = match (found.token, recognised) {
                (Some(token), Some(credential)) => (token, credential),
                (Some(_), None) => {
                    self.store.confirm().await?;
                    return Ok(None);
                }
                (None, _) => return Ok(None),
            };
            let mut decision = Decision {
                verdict,
                token,
                credential,
                now,
                left: None,
                degraded: false,
            };
            if verdict != Verdict::Valid || !counts(&decision.token, use_.scope) {
                return Ok(Some(decision));
            }
            match self.take(&mut decision, *use_, place, !waited).await? {
                Step::Decided => return Ok(Some(decision)),
                Step::Waited => {
                    waited = true;
                    look = self.look(inquiry).await?;
                }
                Step::Moved(found) => {
                    look = Look {
                        found,
                        place: Place::Taking,
                    };
                }
            }
        }
        let why = format!("token {} kept changing while it was judged", presented.id);
        Err(Error::StoreUnavailable(why).into())
    }

    /// Takes the use from the limits of a token that is otherwise valid, and decides by that; from
    /// what was taken ahead, where memory may answer. `first` says whether another may be waited for
    /// who takes uses ahead.
    async fn take(
        &self,
        decision: &mut Decision,
        use_: Use,
        place: Place,
        first: bool,
    ) -> Result<Step, StoreError> {
        let take = taking(&decision.token, decision.credential, use_);
        let permits = &self.coherence.permits;
        let asked = match place {
            Place::Memory(at) if !use_.dry_run => permits.ask(&take, decision.now, at, first),
            _ => Asked::Alone,
        };
        let taken = match asked {
            Asked::Spent(left) => {
                decision.left = Some(left);
                return Ok(Step::Decided);
            }
            Asked::Wait(waiting) => {
                waiting.ended().await;
                return Ok(Step::Waited);
            }
            Asked::Alone => self.store.take(&take).await?,
            Asked::Ahead(wishing) => permits.take(*wishing).await?,
        };
        let (verdict, left) = match taken {
            Taken::Admitted(left, _) => (Verdict::Valid, left),
            Taken::Refused(Exceeded::Rate, left) => (Verdict::RateLimited, left),
            Taken::Refused(Exceeded::Quota, left) => (Verdict::QuotaExhausted, left),
            Taken::Moved(found) => {
                self.coherence.doubt(take.token.id);
                if let Some(token) = &found.token {
                    self.coherence.cache.remember_as_guess(token);
                }
                return Ok(Step::Moved(found));
            }
        };
        decision.verdict = verdict;
        decision.now = left.now;
        decision.left = Some(left);
        Ok(Step::Decided)
    }
}

/// A use of a token as it was judged.
fn taking(token: &Arc<Token>, credential: Credential, use_: Use) -> Take {
    Take {
        token: token.clone(),
        until: verdict::changes_at(token, credential),
        cost: use_.cost,
        scope: use_.scope,
        dry_run: use_.dry_run,
        ahead: Ahead::default(),
    }
}

/// What came of taking a use from limits.
enum Step {
    Decided,
    /// Nothing yet: another was waited for, and there may be something to take from.
    Waited,
    /// The token is not, or no longer, as it was judged.
    Moved(Found),
}

/// Whether a use of the token takes from any of its limits.
pub(super) fn counts(token: &Token, scope: Scope) -> bool {
    match scope {
        Scope::Rates => !token.profile.rate_limits.is_empty(),
        Scope::All => token.is_limited(),
    }
}
