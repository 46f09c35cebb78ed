//! Taking down how requests ended, as those tell who served them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::caller::Reach;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::{self, ENDPOINT_BYTES_MAX, Outcome, beginning};
use crate::domain::validation_id::ValidationId;

use super::Authority;
use super::access::Right;
use super::act::{self, Act};
use super::error::Error;
use super::recorder::End;

/// How long after its end a request may be told of with its own time, and how far the clocks may differ.
const LATE_MAX: Duration = Duration::from_secs(24 * 3600);
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// How a request ended, as it is told.
#[derive(Clone, Debug)]
pub struct Told {
    pub about: Reported,
    pub method: Option<String>,
    pub path: Option<String>,
    /// Its verdict is that of the judgement, whatever stands here.
    pub outcome: Outcome,
    pub client: Option<IpAddr>,
    pub time: Option<Timestamp>,
}

/// Which request it was.
#[derive(Clone, Copy, Debug)]
pub enum Reported {
    Judged(ValidationId),
    /// Nobody judged it: a request with this token.
    Unjudged(TokenId),
}

/// An act that tells how requests ended.
pub trait Telling: Act {}

impl Telling for act::Report {}

impl Telling for act::AccessLogs {}

impl Authority {
    /// Takes down how a request of a token ended; answers whether there is such a token within the
    /// right. Waits while what was told before is counted.
    pub async fn report(&self, right: &Right<impl Telling>, told: Told) -> Result<bool, Error> {
        self.needs_usage()?;
        let Told {
            about,
            method,
            path,
            outcome,
            client,
            time,
        } = told;
        let (id, verdict, validation_id) = match about {
            Reported::Unjudged(id) => (id, None, None),
            Reported::Judged(name) => match name.judged() {
                Some((id, verdict)) => (id, Some(verdict), Some(name.text())),
                None => return Ok(false),
            },
        };
        let Some(token) = self.reported(right.reach(), id).await? else {
            return Ok(false);
        };
        let patterns = &token.profile.endpoints;
        let own = || usage::endpoint(patterns.texts(), method.as_deref(), path.as_deref());
        let folded = self.folded(path.as_deref(), own);
        // A path that is longer than any that is told apart shall be seen to be.
        let path = beginning(&folded, ENDPOINT_BYTES_MAX + 4).to_owned();
        let end = End {
            token: id,
            namespace: token.namespace.clone(),
            at: believed(time, SystemClock.now()),
            validation_id,
            method: method.unwrap_or_default(),
            path,
            outcome: Outcome { verdict, ..outcome },
            client: client.and_then(|address| self.usage.clients.of(address)),
        };
        let (succeeded, latency) = (end.outcome.succeeded(), end.outcome.latency);
        self.metrics.usage.reported(succeeded, latency);
        self.recorder.note_end(end).await;
        Ok(true)
    }

    /// The token of a report, if there is one within reach; as it is remembered, if it is: where it lives
    /// never changes.
    async fn reported(&self, reach: &Reach, id: TokenId) -> Result<Option<Arc<Token>>, Error> {
        let cache = &self.coherence.cache;
        let within = |token: &Arc<Token>| reach.covers(&token.namespace);
        if let Some(token) = cache.guess(id).filter(within) {
            return Ok(Some(token));
        }
        match cache.read(id, None).await?.found.token {
            Some(token) if within(&token) => Ok(Some(token)),
            Some(_) => {
                // As dear as an absent token, so that the time tells nothing either.
                self.store.confirm().await?;
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

/// When a request ended that is said to have at `told`: now, where that cannot be.
fn believed(told: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let credible = |at: &Timestamp| {
        now.saturating_since(*at) <= LATE_MAX && at.saturating_since(now) <= AHEAD_MAX
    };
    told.filter(credible).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_is_taken_as_now() {
        let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
        let now = at(1_000_000);
        assert_eq!(believed(None, now), now);
        for credible in [1_000_000 - 24 * 3600, 999_999, 1_000_300] {
            assert_eq!(believed(Some(at(credible)), now), at(credible));
        }
        for absurd in [0, 1_000_000 - 24 * 3600 - 1, 1_000_301] {
            assert_eq!(believed(Some(at(absurd)), now), now);
        }
    }
}
