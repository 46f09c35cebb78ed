//! A caller that asks many questions in one call: it is known again with each, and charged for each.

use std::sync::Arc;

use crate::domain::brief::Brief;
use crate::domain::caller::Identity;
use crate::domain::verdict;

use super::Authority;
use super::access::{CALL, Proof, Session};
use super::audit;
use super::decide::{Use, counts};
use super::error::Error;
use super::failures::Suspect;

/// Most attempts to take what is left of a caller's limits for the questions of one call.
const CHARGES_MAX: usize = 8;

impl Authority {
    /// Whether memory alone says that the caller of `session` is still who it was, by the same
    /// secret, and takes nothing by asking again. Where not, it has to be
    /// [asked](Authority::authenticate) who calls.
    ///
    /// The very record that was judged must still be the one that is remembered: so no digest is
    /// made again, and only its end and the like are looked at.
    pub fn is_known_again(&self, session: &Session) -> bool {
        let Some(own) = &session.own else {
            return matches!(session.caller.identity, Identity::Root { .. });
        };
        if own.degraded || counts(&own.token, CALL.scope) {
            return false;
        }
        // Before anything is read from memory.
        let cache = &self.coherence.cache;
        let Some(held) = cache.hold() else {
            return false;
        };
        let same = |brief: Arc<Brief>| Arc::ptr_eq(&brief.token, &own.token);
        let known = cache.recall(&held, own.token.id).is_some_and(same)
            && verdict::authenticates(&own.token, own.credential, session.call.peer, held.bound);
        if known {
            self.metrics.cache.hits.inc();
        }
        known
    }

    /// Takes one use of the caller's own rate limits for each of `questions`, the first of which
    /// was taken when the caller was let in. Answers for how many they last, and, where that is not
    /// for all, why not.
    ///
    /// All are asked for in one step, and where they do not pass, as many as are left: so what two
    /// calls take at once, nobody takes twice, and a limit is used up before anything is refused.
    pub async fn charge(
        &self,
        rpc: &'static str,
        session: &Session,
        proof: Proof<'_>,
        questions: u64,
    ) -> (u64, Option<Error>) {
        let own = session.own.as_ref();
        if !own.is_some_and(|own| counts(&own.token, CALL.scope)) {
            return (questions, None);
        }
        let suspect = Some(Suspect::peer(session.call.peer));
        let (mut charged, mut asked, mut refused) = (1, questions, None);
        for _ in 0..CHARGES_MAX {
            let cost = (questions - charged).min(asked);
            if cost == 0 {
                return (charged, None);
            }
            let use_ = Use { cost, ..CALL };
            let taken = self.known_caller(suspect, proof, &session.call, use_);
            match taken.await {
                Ok(_) => (charged, asked) = (charged + cost, 1),
                // When to come again is asked for one more only.
                Err(Error::CallerLimited { left, .. }) if cost > 1 => asked = left.max(1),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let refused = refused.unwrap_or(Error::Contended);
        let caller = &session.caller.identity;
        audit::refused(&self.trail, &session.call, rpc, caller, &refused);
        (charged, Some(refused))
    }
}
