//! Looking at a token before it is judged: in memory, where that is as good as the store, or in the
//! store.

use std::sync::Arc;

use crate::domain::time::{Steady, Timestamp};
use crate::domain::token::{Token, TokenId};
use crate::domain::verdict::{Consistency, Credential, Verdict};
use crate::store::Found;

use super::Authority;
use super::cache::Held;
use super::decide::{Inquiry, counts};
use super::degraded::Undecided;
use super::failures::Suspect;

/// A token as it was found, and where.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) found: Found,
    pub(super) place: Place,
}

/// Where a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By a read that began after the question came.
    Store,
    /// By the step that was to take from its limits, and found it changed.
    Taking,
    /// In memory, while a lease said at this instant that no change was missed; the time is that of the
    /// store at the most.
    Memory(Steady),
    /// As it was once; nobody knows whether it is still so. The time is the earliest there is.
    Guess,
}

impl Place {
    /// Whether a verdict on what was found there answers the question. What time alone brings about
    /// may not have come yet, and who is not known there may be known by now: whoever is refused so is
    /// refused by the store.
    pub(super) fn decides(self, verdict: Verdict) -> bool {
        match self {
            Self::Store | Self::Taking => true,
            Self::Memory(_) => memory_decides(verdict),
            Self::Guess => verdict == Verdict::Valid,
        }
    }
}

/// Whether a verdict on what is remembered answers a question.
pub(super) fn memory_decides(verdict: Verdict) -> bool {
    let by_time = [
        Verdict::NotFound,
        Verdict::Expired,
        Verdict::Superseded,
        Verdict::LeaseEnded,
    ];
    !by_time.contains(&verdict)
}

impl Authority {
    /// Looks for a token where it is found soonest; in the store only while `suspect` has failures
    /// left, or for a secret that memory knows: whoever has that, does not guess.
    pub(super) async fn look<J>(&self, inquiry: &Inquiry<'_, J>) -> Result<Look, Undecided>
    where
        J: Fn(&Token, Credential, Timestamp) -> Verdict,
    {
        let Inquiry {
            suspect,
            presented,
            reach,
            judge,
            ..
        } = inquiry;
        let id = presented.id;
        // Before anything is read from memory.
        let held = match inquiry.consistency {
            Consistency::Cached => self.coherence.cache.hold(),
            Consistency::Strong => None,
        };
        if let Some(held) = held {
            if let Some(look) = self.recalled(&held, id) {
                return Ok(look);
            }
            let is_known = |token: &Arc<Token>| {
                let own = self.mint.guess(token, presented, reach);
                own.is_some_and(|own| judge(token, own, held.bound) == Verdict::Valid)
            };
            // Boxed like all that waits for a store, so that an answer from memory is not moved about
            // with room for it.
            return Box::pin(self.read_by_lease(*suspect, id, &held, is_known)).await;
        }
        if inquiry.consistency == Consistency::Cached && self.coherence.cache.is_on() {
            self.metrics.cache.unheld.inc();
        }
        match self.guessed(inquiry) {
            Some(found) => Ok(Look {
                found,
                place: Place::Guess,
            }),
            None => Box::pin(self.look_alone(*suspect, id)).await,
        }
    }

    /// Looks in memory.
    fn recalled(&self, held: &Held, id: TokenId) -> Option<Look> {
        let token = self.coherence.cache.recall(held, id)?.token.clone();
        self.metrics.cache.hits.inc();
        let (now, token) = (held.bound, Some(token));
        Some(Look {
            found: Found { now, token },
            place: Place::Memory(held.at),
        })
    }

    /// Reads what memory lacks, together with others.
    async fn read_by_lease(
        &self,
        suspect: Option<Suspect<'_>>,
        id: TokenId,
        held: &Held,
        is_known: impl Fn(&Arc<Token>) -> bool,
    ) -> Result<Look, Undecided> {
        let cache = &self.coherence.cache;
        self.metrics.cache.misses.inc();
        self.admit(suspect, || cache.guess(id).as_ref().is_some_and(is_known))?;
        let read = cache.read(id, Some(held)).await?;
        if read.own {
            return Ok(Look {
                found: read.found,
                place: Place::Store,
            });
        }
        let mut found = read.found;
        let pooled = |token: &Token| token.profile.pool.is_some();
        if found.token.as_deref().is_some_and(pooled) {
            // How it is held may have changed since that read began.
            return self.look_again(None, id).await;
        }
        found.now = found.now.max(held.bound);
        Ok(Look {
            found,
            place: Place::Memory(held.at),
        })
    }

    /// Reads a token, one read of it at a time: whoever comes meanwhile waits for the next.
    pub(super) async fn look_again(
        &self,
        suspect: Option<Suspect<'_>>,
        id: TokenId,
    ) -> Result<Look, Undecided> {
        self.admit(suspect, || false)?;
        let read = self.coherence.cache.read(id, None).await?;
        Ok(Look {
            found: read.found,
            place: Place::Store,
        })
    }

    /// Reads a token at once, for one question only.
    async fn look_alone(
        &self,
        suspect: Option<Suspect<'_>>,
        id: TokenId,
    ) -> Result<Look, Undecided> {
        self.admit(suspect, || false)?;
        let found = self.store.find(id).await?;
        self.coherence.cache.learn(id, &found);
        Ok(Look {
            found,
            place: Place::Store,
        })
    }

    /// A limited token as it was seen last, if it would pass: then it is worth taking at once.
    fn guessed<J>(&self, inquiry: &Inquiry<'_, J>) -> Option<Found>
    where
        J: Fn(&Token, Credential, Timestamp) -> Verdict,
    {
        let token = self.coherence.cache.guess(inquiry.presented.id)?;
        if !counts(&token, inquiry.use_.scope) {
            return None;
        }
        // As early as can be: whether its time has come is asked by whoever takes.
        let now = Timestamp::from_micros(0);
        let own = self.mint.guess(&token, inquiry.presented, inquiry.reach)?;
        ((inquiry.judge)(&token, own, now) == Verdict::Valid).then_some(Found {
            now,
            token: Some(token),
        })
    }
}
