//! The one way to a judgement, of subjects and of callers: recognise, judge, take.

use std::sync::Arc;

use crate::domain::caller::Reach;
use crate::domain::secret::Presented;
use crate::domain::spending::{Exceeded, Left, Scope};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::domain::verdict::{self, Consistency, Credential, Verdict};
use crate::store::limits::TAKE_ATTEMPTS;
use crate::store::{Take, Taken};

use super::Authority;
use super::degraded::Undecided;
use super::error::Error;
use super::failures::Suspect;
use super::look::{Look, Place};

/// What a use costs, and whether it is only asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) cost: u64,
    pub(super) scope: Scope,
    pub(super) dry_run: bool,
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

impl Authority {
    /// Decides about a presented secret; `None` if it is none of a token within reach, which is as
    /// dear as an absent token.
    ///
    /// `judge` judges all but the limits. What memory cannot decide is read and judged again; what is
    /// taken from limits is taken in the same step that finds the token unchanged.
    ///
    /// Where the store has to be read, `suspect` must have failures left, and a verdict on what is read
    /// may be one. Nobody is suspected who was let in with this very secret before.
    ///
    /// Where the store cannot be asked, it is decided by what is remembered, if that may be.
    pub(super) async fn decide(
        &self,
        suspect: Option<Suspect<'_>>,
        presented: &Presented<'_>,
        reach: &Reach,
        judge: impl Fn(&Token, Credential, Timestamp) -> Verdict,
        use_: Use,
        consistency: Consistency,
    ) -> Result<Option<Decision>, Error> {
        let asked = self.decide_by_store(suspect, presented, reach, &judge, use_, consistency);
        match asked.await {
            Err(Undecided::Outage(why)) if consistency == Consistency::Cached => {
                let degraded = self.decide_degraded(presented, reach, judge, use_);
                degraded.map(Some).ok_or(why.into())
            }
            decided => Ok(decided?),
        }
    }

    async fn decide_by_store(
        &self,
        suspect: Option<Suspect<'_>>,
        presented: &Presented<'_>,
        reach: &Reach,
        judge: impl Fn(&Token, Credential, Timestamp) -> Verdict,
        use_: Use,
        consistency: Consistency,
    ) -> Result<Option<Decision>, Undecided> {
        let look = self.look(suspect, presented, reach, &judge, use_.scope, consistency);
        let mut look = look.await?;
        for _ in 0..TAKE_ATTEMPTS {
            let Look { found, place } = look;
            let now = found.now;
            let recognised = match &found.token {
                Some(token) => self.mint.recognise(token, presented, reach)?,
                None => None,
            };
            let verdict = match (&found.token, recognised) {
                (Some(token), Some(credential)) => judge(token, credential, now),
                _ => Verdict::NotFound,
            };
            if !place.decides(verdict) {
                look = Box::pin(self.look_again(suspect, presented.id)).await?;
                continue;
            }
            self.count_failure(suspect, place, verdict);
            let (token, credential) = match (found.token, recognised) {
                (Some(token), Some(credential)) => (token, credential),
                (Some(_), None) => {
                    self.store.confirm().await?;
                    return Ok(None);
                }
                (None, _) => return Ok(None),
            };
            let decided = |verdict, now, left| {
                Ok(Some(Decision {
                    verdict,
                    token: token.clone(),
                    credential,
                    now,
                    left,
                    degraded: false,
                }))
            };
            if verdict != Verdict::Valid || !counts(&token, use_.scope) {
                return decided(verdict, now, None);
            }
            let take = Take {
                token: token.clone(),
                until: verdict::changes_at(&token, credential),
                cost: use_.cost,
                scope: use_.scope,
                dry_run: use_.dry_run,
            };
            match self.store.take(&take).await? {
                Taken::Admitted(left) => return decided(Verdict::Valid, left.now, Some(left)),
                Taken::Refused(Exceeded::Rate, left) => {
                    return decided(Verdict::RateLimited, left.now, Some(left));
                }
                Taken::Refused(Exceeded::Quota, left) => {
                    return decided(Verdict::QuotaExhausted, left.now, Some(left));
                }
                Taken::Moved(found) => {
                    self.coherence.doubt(presented.id);
                    if let Some(token) = &found.token {
                        self.coherence.cache.remember_as_guess(token);
                    }
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
}

/// Whether a use of the token takes from any of its limits.
pub(super) fn counts(token: &Token, scope: Scope) -> bool {
    match scope {
        Scope::Rates => !token.profile.rate_limits.is_empty(),
        Scope::All => token.is_limited(),
    }
}
