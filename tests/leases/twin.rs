//! A store of leases in memory, right or wrong on purpose: what the judge must let pass, and catch.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::doors::{Door, Lost};
use crate::draw;
use crate::history::{Counts, Granted, Micros, now};

/// How often the sweeper comes that decides.
const SWEEP: Micros = 400_000;
/// How many grants a restart loses.
const LOST: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// Fences count grants, and a restart loses the last of them.
    CountedFence,
    /// A release frees the token that its lease names, whoever holds it now.
    CarelessRelease,
    /// A lease is over only once a sweeper came.
    DecidingSweeper,
    /// A token that is given back is counted, too, where it was leased.
    CountedTwice,
}

#[derive(Clone, Debug, Default)]
struct Place {
    fence: u64,
    lease: Option<(String, Micros, Duration)>,
    ended: Vec<(String, Micros)>,
}

/// The store.
pub(crate) struct Twin {
    fault: Fault,
    places: Mutex<BTreeMap<String, Place>>,
}

impl Twin {
    pub(crate) fn new(fault: Fault, tokens: u64) -> Self {
        let names = (0..tokens).map(|number| format!("token {number}"));
        let places = names.map(|name| (name, Place::default())).collect();
        Self {
            fault,
            places: Mutex::new(places),
        }
    }

    /// It goes down and comes back without what it did last.
    pub(crate) fn restart(&self) {
        for place in self.lock().values_mut() {
            place.fence = place.fence.saturating_sub(LOST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, until: Micros, now: Micros) -> bool {
        match self.fault {
            Fault::DecidingSweeper => until / SWEEP < now / SWEEP,
            _ => until <= now,
        }
    }

    /// Notes that a place's lease is over, if it is.
    fn settle(&self, place: &mut Place, now: Micros) {
        if let Some((lease, until, _)) = place.lease.clone()
            && self.is_over(until, now)
        {
            place.lease = None;
            place.ended.push((lease, until));
        }
    }

    fn grant(&self, duration: Duration) -> Option<Granted> {
        let (mut places, from) = (self.lock(), now());
        places
            .values_mut()
            .for_each(|place| self.settle(place, from));
        let free: Vec<String> = places
            .iter()
            .filter(|(_, place)| place.lease.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let token = free.get(draw(free.len()))?;
        let place = places.get_mut(token)?;
        place.fence = match self.fault {
            Fault::CountedFence => place.fence + 1,
            _ => from.max(place.fence + 1),
        };
        let until = from + micros(duration);
        let lease = format!("{token}/{from}/{}", draw(usize::MAX >> 12));
        place.lease = Some((lease.clone(), until, duration));
        Some(Granted {
            token: token.clone(),
            lease,
            fence: place.fence,
            from,
            until,
        })
    }
}

fn micros(span: Duration) -> Micros {
    u64::try_from(span.as_micros()).expect("a short span")
}

fn token_of(lease: &str) -> &str {
    lease.split('/').next().expect("a token")
}

#[async_trait]
impl Door for Twin {
    async fn acquire(&self, duration: Duration, wait: Duration) -> Result<Option<Granted>, Lost> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let granted = self.grant(duration);
            if granted.is_some() || deadline <= tokio::time::Instant::now() {
                return Ok(granted);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn keep_alive(&self, lease: &str) -> Result<Option<Micros>, Lost> {
        let (mut places, now) = (self.lock(), now());
        let place = places.get_mut(token_of(lease)).expect("a token");
        self.settle(place, now);
        let held = place.lease.as_mut().filter(|held| held.0 == lease);
        Ok(held.map(|(_, until, duration)| {
            *until = now + micros(*duration);
            *until
        }))
    }

    async fn release(&self, lease: &str) -> Result<Option<Micros>, Lost> {
        let (mut places, now) = (self.lock(), now());
        let place = places.get_mut(token_of(lease)).expect("a token");
        self.settle(place, now);
        let careless = self.fault == Fault::CarelessRelease;
        if let Some((held, _, _)) = place.lease.take_if(|held| careless || held.0 == lease) {
            place.ended.push((held, now));
        }
        let ended = place.ended.iter().rev().find(|(ended, _)| ended == lease);
        Ok(ended.map(|(_, time)| *time))
    }

    async fn counts(&self) -> Result<Counts, Lost> {
        let (mut places, now) = (self.lock(), now());
        places
            .values_mut()
            .for_each(|place| self.settle(place, now));
        let leased = places.values().filter(|place| place.lease.is_some());
        let leased = leased.count() as u64;
        let all = places.len() as u64;
        let available = match self.fault {
            Fault::CountedTwice => all - leased / 2,
            _ => all - leased,
        };
        Ok([available, leased, 0])
    }
}
