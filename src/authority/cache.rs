//! The cache: tokens as they were read, from which answers may come while a lease says that no change
//! of them was missed.
//!
//! The lease is looked at first ([`Cache::hold`]), and only then the record ([`Cache::recall`]): a lease
//! that is in force when a question is here says that every change which returned before was applied.
//! The other way round a lease that had run out could be renewed in between.

mod flights;
mod lease;
mod records;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SteadyClock;
use crate::domain::brief::Brief;
use crate::domain::coherence::Invalidation;
use crate::domain::coherence::bound::TimeBound;
use crate::domain::coherence::registry::News;
use crate::domain::time::{Steady, Timestamp};
use crate::domain::token::{Token, TokenId};
use crate::metrics::{Metrics, Remembered};
use crate::store::{Found, StoreError, TokenStore};

use flights::{Flight, Flights};
use lease::{Grant, Lease};
pub(super) use lease::{Held, Lapse};
pub use records::CacheBounds;
use records::{Record, Records};
use rounds::Rounds;

/// What is remembered, by which lease, and what is being read.
pub(super) struct Cache {
    store: Arc<dyn TokenStore>,
    bounds: CacheBounds,
    /// How long a record is answered from.
    age_max: Duration,
    /// `None` where nothing may be remembered.
    records: Option<Records>,
    rounds: Rounds,
    flights: Flights,
    lease: Lease,
    clock: Arc<dyn SteadyClock>,
    metrics: Arc<Metrics>,
}

/// A token as a read found it that others may have waited for, too.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) found: Found,
    /// It began after whoever asked came; else it is as if it came from memory.
    pub(super) own: bool,
}

impl Cache {
    pub(super) fn new(
        store: Arc<dyn TokenStore>,
        bounds: CacheBounds,
        age_max: Duration,
        clock: Arc<dyn SteadyClock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            bounds,
            age_max,
            records: Records::within(bounds),
            rounds: Rounds::default(),
            flights: Flights::default(),
            lease: Lease::default(),
            clock,
            metrics,
        }
    }

    /// Whether anything may be remembered.
    pub(super) fn is_on(&self) -> bool {
        self.records.is_some()
    }

    pub(super) fn bounds(&self) -> CacheBounds {
        self.bounds
    }

    pub(super) fn now(&self) -> Steady {
        self.clock.now()
    }

    /// The right to answer from memory what is read from now on; `None` where no lease is in force.
    pub(super) fn hold(&self) -> Option<Held> {
        self.lease.hold(self.clock.now())
    }

    /// The brief of the token as it is remembered, if it is; not for long.
    pub(super) fn recall(&self, held: &Held, id: TokenId) -> Option<Arc<Brief>> {
        let record = self.record(id)?;
        let age = held.at.saturating_since(record.begun()?);
        (age < self.age_max).then(|| {
            record.use_it();
            record.brief.clone()
        })
    }

    /// The token as it was once: to be acted upon only where a store finds it unchanged.
    pub(super) fn guess(&self, id: TokenId) -> Option<Arc<Token>> {
        self.record(id).map(|record| record.brief.token.clone())
    }

    /// What is known of the time since the last lease; `None` where there never was one.
    pub(super) fn lapse(&self) -> Option<Lapse> {
        self.lease.lapse(self.clock.now())
    }

    /// The token as it is known, however long ago it was read: as it was when the last lease ran out,
    /// or later. Not so a mere guess, which may have been out of date already.
    pub(super) fn last_known(&self, id: TokenId) -> Option<(Arc<Token>, Lapse)> {
        // First: else a lease may come in between that says more than the record.
        let lapse = self.lapse()?;
        let record = self.record(id)?;
        record.begun()?;
        Some((record.brief.token.clone(), lapse))
    }

    fn record(&self, id: TokenId) -> Option<Arc<Record>> {
        self.records.as_ref()?.get(id)
    }

    /// Takes note of a token that was read alone: what is remembered must not be older.
    pub(super) fn learn(&self, id: TokenId, found: &Found) {
        let Some(records) = &self.records else {
            return;
        };
        match &found.token {
            Some(token) => {
                records.drop_before(id, token.revision);
                self.remember_as_guess(token);
            }
            None => records.forget(id),
        }
    }

    /// Remembers a token that was read alone, where nothing is remembered of it: as a guess only,
    /// since a change may have come meanwhile.
    pub(super) fn remember_as_guess(&self, token: &Arc<Token>) {
        let Some(records) = &self.records else {
            return;
        };
        if token.is_limited()
            && records.get(token.id).is_none()
            && let Some(record) = Record::of(token, None)
        {
            records.put(record);
        }
    }

    /// Reads a token, by a read that began after this was called, or, where `may_join` says so, by one
    /// that is under way. `may_join` needs a lease that was seen in force before.
    pub(super) async fn read(
        self: &Arc<Self>,
        id: TokenId,
        may_join: Option<&Held>,
    ) -> Result<Read, StoreError> {
        let boarding = self.flights.board(id, may_join.is_some());
        if boarding.pilot {
            let (cache, flight) = (self.clone(), boarding.flight.clone());
            // Others wait for it, whatever becomes of this call.
            tokio::spawn(cache.fly(id, flight));
        }
        let found = boarding.flight.landed().await;
        if boarding.own || !boarding.flight.is_poisoned() {
            return Ok(Read {
                found: found?,
                own: boarding.own,
            });
        }
        // As rare as changes: it does not wait for others again.
        let found = self.store.find(id).await?;
        Ok(Read { found, own: true })
    }

    /// Carries out a flight, and those that wait for it to end.
    async fn fly(self: Arc<Self>, id: TokenId, first: Arc<Flight>) {
        let mut pilot = Pilot {
            cache: &self,
            id,
            flight: Some(first),
        };
        while pilot.flight.is_some() {
            let begun = self.clock.now();
            let found = match self.guess(id) {
                Some(known) => self.store.find_again(&known).await,
                None => self.store.find(id).await,
            };
            pilot.land(found, begun);
        }
    }

    fn remember(&self, id: TokenId, found: &Found, begun: Steady) {
        let Some(records) = &self.records else {
            return;
        };
        match &found.token {
            Some(token) => {
                let there = records.get(id);
                let same = there.filter(|there| there.read_anew(token.revision, begun));
                let record = same.or_else(|| {
                    let record = Record::of(token, Some(begun))?;
                    records.put(record.clone());
                    Some(record)
                });
                if let Some(record) = record {
                    self.rounds.take_up(&record);
                }
            }
            None => records.forget(id),
        }
    }

    /// Forgets a token, which was changed or may have been; reads of it that are under way are good
    /// for nobody else any more.
    pub(super) fn invalidate(&self, change: Invalidation) {
        let forget = || {
            if let Some(records) = &self.records {
                records.drop_before(change.token, change.revision);
            }
        };
        if self.flights.poison(change.token, forget) {
            self.metrics.cache.poisoned.inc();
        }
    }

    /// Applies what the registry tells.
    pub(super) fn apply(&self, news: &News) {
        match news {
            News::Entries(changes) => changes.iter().for_each(|change| self.invalidate(*change)),
            News::DropAll => self.drop_all(),
        }
    }

    fn drop_all(&self) {
        // Flights first: what lands after its poison is not remembered, what landed before is cleared.
        let poisoned = self.flights.poison_all();
        self.metrics.cache.poisoned.inc_by(poisoned);
        if let Some(records) = &self.records {
            records.clear();
        }
    }

    /// Notes a renewal that was begun at `begun`, when all that it brought was applied.
    pub(super) fn grant(&self, until: Steady, begun: Steady, time: Timestamp, members: u64) {
        self.lease.grant(Grant {
            until,
            bound: TimeBound { time, begun },
            members,
        });
    }

    /// Answers nothing from memory any more.
    pub(super) fn give_up(&self) {
        self.lease.give_up();
        self.drop_all();
    }

    /// What is remembered, and for how long it may be answered from.
    pub(super) fn remembered(&self) -> Remembered {
        let (lease_left, records) = (self.lease.left(self.clock.now()), self.records.as_ref());
        Remembered {
            records: records.map_or(0, Records::len),
            bytes: records.map_or(0, Records::bytes),
            lease_left,
            permits: 0,
        }
    }
}

/// Whoever carries out a flight; lands it even where it cannot be carried out to its end.
struct Pilot<'a> {
    cache: &'a Arc<Cache>,
    id: TokenId,
    flight: Option<Arc<Flight>>,
}

impl Pilot<'_> {
    fn land(&mut self, landing: Result<Found, StoreError>, begun: Steady) {
        if let Some(flight) = self.flight.take() {
            let remember = |found: &Found| self.cache.remember(self.id, found, begun);
            self.flight = self.cache.flights.land(self.id, &flight, landing, remember);
        }
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        while self.flight.is_some() {
            let why = "the read was given up".to_owned();
            self.land(Err(StoreError::Unreachable(why)), Steady::default());
        }
    }
}

#[cfg(test)]
mod tests;
