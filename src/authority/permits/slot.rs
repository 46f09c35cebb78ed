//! What is known here of a token in one scope: its batch, if there is one, and whether one is asked
//! for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::permits::{Back, BatchId};
use crate::domain::spending::{Left, Scope};
use crate::domain::time::{Steady, Timestamp};
use crate::domain::token::Token;
use crate::store::Take;

use super::meter::Meter;

/// A batch that may be used.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    /// As it was judged when the batch was taken from its limits.
    pub(super) token: Arc<Token>,
    pub(super) scope: Scope,
    /// Before it was asked for.
    pub(super) sent: Steady,
    /// From then on it is not used.
    pub(super) until: Steady,
    /// From then on, by the store's time, its uses would be those of another period of the quota.
    pub(super) border: Option<Timestamp>,
    pub(super) granted: u64,
    pub(super) used: u64,
    /// What was left when it was granted, with all of it spent.
    pub(super) left: Left,
    /// When that was told, or later.
    pub(super) told: Steady,
}

/// A batch that is not used any more, and is to be given back.
#[derive(Clone, Debug)]
pub(super) struct Retired {
    pub(super) token: Arc<Token>,
    pub(super) scope: Scope,
    /// Before it was asked for.
    pub(super) sent: Steady,
    pub(super) back: Back,
}

/// A batch that is asked for.
#[derive(Debug)]
pub(super) struct Wished {
    /// Ends when it is known what came of it.
    pub(super) ends: watch::Receiver<()>,
    pub(super) revision: u64,
    /// The token was changed since: what comes is not used.
    pub(super) void: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) meter: Meter,
    pub(super) batch: Option<Batch>,
    pub(super) wished: Option<Wished>,
    /// Until then none is asked for, since none was granted.
    pub(super) barren_until: Steady,
}

#[derive(Debug)]
pub(super) struct Slot(Mutex<State>);

/// The slots of a token.
#[derive(Debug)]
pub(super) struct Slots {
    all: Slot,
    rates: Slot,
}

impl Slots {
    pub(super) fn begin(at: Steady) -> Self {
        Self {
            all: Slot::begin(at),
            rates: Slot::begin(at),
        }
    }

    pub(super) fn of(&self, scope: Scope) -> &Slot {
        match scope {
            Scope::All => &self.all,
            Scope::Rates => &self.rates,
        }
    }

    pub(super) fn both(&self) -> [&Slot; 2] {
        [&self.all, &self.rates]
    }
}

impl Slot {
    fn begin(at: Steady) -> Self {
        Self(Mutex::new(State {
            meter: Meter::begin(at),
            batch: None,
            wished: None,
            barren_until: Steady::default(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes `cost` from the batch, if it is one of this very token as it was judged, may still be
    /// used, and holds so many. Answers what is left then.
    pub(super) fn spend(&mut self, take: &Take, now: Timestamp, at: Steady) -> Option<Left> {
        let batch = self.batch.as_mut()?;
        let fits = batch.token.revision == take.token.revision
            && at < batch.until
            && batch.border.is_none_or(|border| now < border)
            && take.cost <= batch.unused();
        if !fits {
            return None;
        }
        batch.used += take.cost;
        self.meter.count(at, take.cost);
        Some(batch.left(at))
    }

    /// Takes the batch out, to be used no more.
    pub(super) fn retire(&mut self) -> Option<Retired> {
        let batch = self.batch.take()?;
        let (batch, unused) = (&batch, batch.unused());
        Some(Retired {
            token: batch.token.clone(),
            scope: batch.scope,
            sent: batch.sent,
            back: Back {
                batch: batch.id,
                unused,
            },
        })
    }

    /// The same, if it is this one.
    pub(super) fn retire_if(&mut self, id: BatchId) -> Option<Retired> {
        match &self.batch {
            Some(batch) if batch.id == id => self.retire(),
            _ => None,
        }
    }

    /// The same, if it is one of an earlier revision; such a one that is asked for is not used, either.
    pub(super) fn retire_before(&mut self, revision: u64) -> Option<Retired> {
        if let Some(wished) = &mut self.wished {
            wished.void |= wished.revision < revision;
        }
        match &self.batch {
            Some(batch) if batch.token.revision < revision => self.retire(),
            _ => None,
        }
    }
}

impl Batch {
    pub(super) fn unused(&self) -> u64 {
        self.granted.saturating_sub(self.used)
    }

    /// What is left of the limits, as far as it is known here: what the store told, less what was
    /// used since. What is unused counts as left; that it is held here matters to others only.
    pub(super) fn left(&self, at: Steady) -> Left {
        let since = at.saturating_since(self.told);
        let limits = self.token.profile.rate_limits.iter();
        let backlogs = limits.zip(&self.left.backlogs).map(|(limit, backlog)| {
            let pace = limit.pace();
            let before = backlog.saturating_sub(self.granted * pace.step);
            pace.drained(before, since) + self.used * pace.step
        });
        let unused = match self.scope {
            Scope::All => self.unused(),
            Scope::Rates => 0,
        };
        Left {
            now: self.left.now.saturating_add(since),
            backlogs: backlogs.collect(),
            quota: self.left.quota.map(|left| left + unused),
        }
    }
}

/// When the quota of a token begins anew, by the store's time, if the scope counts against it.
pub(super) fn border(token: &Token, scope: Scope, now: Timestamp) -> Option<Timestamp> {
    let quota = token.profile.quota.filter(|_| scope == Scope::All)?;
    let after: Duration = quota.refill_after(token.create_time, now)?;
    Some(now.saturating_add(after))
}
