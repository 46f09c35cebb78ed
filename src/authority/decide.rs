//! The one way to a judgement, of subjects and of callers: recognise, judge, take.

use std::sync::Arc;

use crate::domain::caller::Reach;
use crate::domain::secret::Presented;
use crate::domain::spending::{Exceeded, Left, Scope};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::domain::verdict::{self, Credential, Verdict};
use crate::store::limits::TAKE_ATTEMPTS;
use crate::store::{Found, Take, Taken};

use super::Authority;
use super::error::Error;
use super::failures::Suspect;

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
}

impl Authority {
    /// Decides about a presented secret; `None` if it is none of a token within reach, which is as
    /// dear as an absent token.
    ///
    /// `judge` judges all but the limits. A limited token that was seen before is judged as it was
    /// then, and taken from in the same step that finds it unchanged; a refusal is never guessed.
    ///
    /// Where the store has to be read, `suspect` must have failures left; what is read and then fails
    /// is one. Nobody is suspected who was let in with the same secret before.
    pub(super) async fn decide(
        &self,
        suspect: Option<Suspect<'_>>,
        presented: &Presented,
        reach: &Reach,
        judge: impl Fn(&Token, Credential, Timestamp) -> Verdict,
        use_: Use,
    ) -> Result<Option<Decision>, Error> {
        let (mut found, mut read_for) = match self.guessed(presented, reach, &judge, use_.scope) {
            Some(guess) => (guess, None),
            None => (self.found(suspect, presented).await?, suspect),
        };
        for _ in 0..TAKE_ATTEMPTS {
            let Found { now, token } = found;
            let Some(token) = token else {
                self.failed(read_for, Verdict::NotFound);
                return Ok(None);
            };
            let Some(credential) = self.mint.recognise(&token, presented, reach)? else {
                self.store.confirm().await?;
                self.failed(read_for, Verdict::NotFound);
                return Ok(None);
            };
            let decided = |verdict, now, left| {
                Ok(Some(Decision {
                    verdict,
                    token: token.clone(),
                    credential,
                    now,
                    left,
                }))
            };
            let verdict = judge(&token, credential, now);
            if verdict != Verdict::Valid || !counts(&token, use_.scope) {
                self.failed(read_for, verdict);
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
                Taken::Moved(moved) => {
                    self.remember(presented, &moved);
                    (found, read_for) = (moved, None);
                }
            }
        }
        let why = format!("token {} kept changing while it was judged", presented.id);
        Err(Error::StoreUnavailable(why))
    }

    /// The token as it was seen last, if it would pass: then it is worth taking at once.
    fn guessed(
        &self,
        presented: &Presented,
        reach: &Reach,
        judge: impl Fn(&Token, Credential, Timestamp) -> Verdict,
        scope: Scope,
    ) -> Option<Found> {
        let token = self.known.guess(presented.id)?;
        if !counts(&token, scope) {
            return None;
        }
        // As early as can be: whether its time has come is asked by whoever takes.
        let now = Timestamp::from_micros(0);
        let own = self.mint.guess(&token, presented, reach)?;
        let token = Some(token);
        (judge(token.as_ref()?, own, now) == Verdict::Valid).then_some(Found { now, token })
    }

    async fn found(
        &self,
        suspect: Option<Suspect<'_>>,
        presented: &Presented,
    ) -> Result<Found, Error> {
        if let Some((budgets, suspect)) = self.failures.as_ref().zip(suspect) {
            budgets.admit(suspect).inspect_err(|_| {
                self.metrics.failures_shed.inc();
            })?;
        }
        let found = self.store.find(presented.id).await?;
        self.remember(presented, &found);
        Ok(found)
    }

    /// Counts a verdict against whom the store was read for, if it was, and if it is a failure.
    fn failed(&self, read_for: Option<Suspect<'_>>, verdict: Verdict) {
        if let Some((budgets, suspect)) = self.failures.as_ref().zip(read_for) {
            budgets.judged(suspect, verdict);
        }
    }

    fn remember(&self, presented: &Presented, found: &Found) {
        match &found.token {
            Some(token) => self.known.remember(token),
            None => self.known.forget(presented.id),
        }
    }
}

fn counts(token: &Token, scope: Scope) -> bool {
    match scope {
        Scope::Rates => !token.profile.rate_limits.is_empty(),
        Scope::All => token.is_limited(),
    }
}
