//! When the authority was seen, and when it was absent: in memory, and written down with the time.
//!
//! What is written down is never newer than what was decided by. So after an unclean stop the
//! absence that is then found covers all that was forgotten, and nobody is treated worse.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Fault;
use crate::domain::absence::{Absence, Absences};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Bytes of a stored time.
const TIME: usize = 8;

/// The absences of the authority, as known now.
#[derive(Debug)]
pub(super) struct Seen(Mutex<Arc<Absences>>);

impl Seen {
    /// Goes on from what an earlier run wrote down; the authority is back `now`.
    pub(super) fn resume(kept: Absences, now: Timestamp) -> Self {
        let seen = Self(Mutex::new(Arc::new(kept)));
        seen.see(now);
        seen
    }

    /// Notes that the authority is there.
    pub(super) fn see(&self, now: Timestamp) {
        Arc::make_mut(&mut self.lock()).see(now);
    }

    /// Those by which can be judged at `now`: one who asks then is there, and ends an absence.
    pub(super) fn until(&self, now: Timestamp) -> Arc<Absences> {
        let mut absences = self.lock();
        if absences.known_until() < now {
            Arc::make_mut(&mut absences).see(now);
        }
        Arc::clone(&absences)
    }

    /// What is written down: the last sight, then the beginning and the end of each absence.
    pub(super) fn encode(&self) -> Vec<u8> {
        let absences = self.lock();
        let bounds = absences.iter().flat_map(|one| [one.from, one.until]);
        let times = std::iter::once(absences.seen()).chain(bounds);
        times.flat_map(|time| time.micros().to_be_bytes()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Absences>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what [`Seen::encode`] made; nothing where that was never written.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Absences>, Fault> {
    let (times, cut) = bytes.as_chunks::<TIME>();
    let times: Vec<Timestamp> = times
        .iter()
        .map(|time| Timestamp::from_micros(u64::from_be_bytes(*time)))
        .collect();
    let Some((seen, bounds)) = times.split_first() else {
        return Ok(None);
    };
    let (pairs, odd) = bounds.as_chunks::<2>();
    if !cut.is_empty() || !odd.is_empty() {
        let reason = "what it keeps of the authority's absences is cut";
        return Err(StoreError::Corrupt(reason.to_owned()).into());
    }
    let list = pairs.iter().map(|[from, until]| Absence {
        from: *from,
        until: *until,
    });
    Ok(Some(Absences::new(list.collect(), *seen)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::tests::at;

    #[test]
    fn what_is_written_down_is_read_back() {
        let seen = Seen::resume(Absences::new(Vec::new(), at(1)), at(100));
        seen.see(at(200));
        seen.see(at(203));
        let absences = seen.until(at(208));
        assert_eq!(decode(&seen.encode()).unwrap(), Some((*absences).clone()));
        assert_eq!((absences.iter().count(), absences.seen()), (2, at(203)));
        assert_eq!(decode(b"").unwrap(), None);
        for cut in [1, 8, 15] {
            assert!(decode(&seen.encode()[cut..]).is_err(), "{cut}");
        }
    }

    #[test]
    fn whoever_asks_after_a_silence_ends_it() {
        let seen = Seen::resume(Absences::default(), at(0));
        assert_eq!(seen.until(at(5)).iter().count(), 0);
        let absences = seen.until(at(6));
        assert_eq!(absences.iter().count(), 1);
        assert_eq!(absences.seen(), at(6));
    }
}
