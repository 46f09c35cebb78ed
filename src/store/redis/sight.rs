//! When the authority was seen, and when it was away: while nobody can keep tokens alive, their clocks
//! stand still.
//!
//! One value of the store tells it. Each process remembers what it read last, which holds until an
//! absence could have begun after it; only then an act costs one more exchange.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RedisStore;
use super::error::{micros, read, unexpected};
use super::line::Line;
use super::scripts::SEE_AUTHORITY;
use crate::domain::absence::{Absence, Absences, UNSEEN_MAX};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// How often a note of an absence is made again that others came before.
const ATTEMPTS_MAX: usize = 16;

/// What this process knows of it.
#[derive(Default)]
pub(super) struct Sight(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// [`super::link::Links::verified`] when it was read: another Redis may know other absences.
    verified: u64,
    absences: Option<Arc<Absences>>,
}

impl RedisStore {
    /// The absences as they are known for sure at `now`.
    pub(super) async fn absences(
        &self,
        line: &Line<'_>,
        now: Timestamp,
    ) -> Result<Arc<Absences>, StoreError> {
        match self.known_absences() {
            Some(absences) if now <= absences.known_until() => Ok(absences),
            _ => self.see(line).await,
        }
    }

    /// The absences that were read last; `None` where that may have been from another Redis.
    pub(super) fn known_absences(&self) -> Option<Arc<Absences>> {
        self.sight_known().absences.clone()
    }

    /// Notes in the store that the authority is there, and reads all absences.
    pub(super) async fn see(&self, line: &Line<'_>) -> Result<Arc<Absences>, StoreError> {
        let longest = UNSEEN_MAX.as_micros().to_string();
        let (mut judged, mut noted) = (Vec::new(), Vec::new());
        for _ in 0..ATTEMPTS_MAX {
            let call = SEE_AUTHORITY
                .call([self.access.keys.absences()])
                .arg(longest.as_str())
                .arg(self.access.now())
                .arg(judged)
                .arg(noted);
            // Beside the marker: an emptied store has seen nobody, and must not say so.
            let answer = line.marked_script(self.access.write_timeout, &call).await?;
            let (value, now, seen): (Option<Vec<u8>>, String, u64) = read(answer)?;
            let value = value.unwrap_or_default();
            let now = Timestamp::from_micros(micros(&now)?);
            let mut absences = match value.is_empty() {
                true => Absences::new(Vec::new(), now),
                false => decode(&value)?,
            };
            if seen == 1 {
                let absences = Arc::new(absences);
                self.sight_known().absences = Some(absences.clone());
                return Ok(absences);
            }
            absences.see(now);
            (judged, noted) = (value, encode(&absences));
        }
        Err(StoreError::Contended(ATTEMPTS_MAX))
    }

    fn sight_known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.sight.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = self.access.links.verified();
        if known.verified != verified {
            *known = Known {
                verified,
                absences: None,
            };
        }
        known
    }
}

/// The absences as they are stored, and as scripts read them: when the authority was seen last, then
/// two numbers for each, all of 8 bytes.
pub(super) fn encode(absences: &Absences) -> Vec<u8> {
    let bounds = absences.iter().flat_map(|absence| {
        let Absence { from, until } = *absence;
        [from, until]
    });
    let numbers = std::iter::once(absences.seen()).chain(bounds);
    numbers
        .flat_map(|time| time.micros().to_be_bytes())
        .collect()
}

fn decode(value: &[u8]) -> Result<Absences, StoreError> {
    let (numbers, []) = value.as_chunks::<8>() else {
        return Err(damaged());
    };
    let time = |bytes: &[u8; 8]| Timestamp::from_micros(u64::from_be_bytes(*bytes));
    let Some((seen, list)) = numbers.split_first() else {
        return Err(damaged());
    };
    let (pairs, []) = list.as_chunks::<2>() else {
        return Err(damaged());
    };
    let absence = |[from, until]: &[[u8; 8]; 2]| Absence {
        from: time(from),
        until: time(until),
    };
    Ok(Absences::new(
        pairs.iter().map(absence).collect(),
        time(seen),
    ))
}

fn damaged() -> StoreError {
    unexpected("absences that are cut")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::tests::at;

    #[test]
    fn absences_are_read_back_whole_and_damaged_ones_are_an_error() {
        let mut absences = Absences::new(Vec::new(), at(100));
        for second in [400, 401, 900] {
            absences.see(at(second));
        }
        let value = encode(&absences);
        assert_eq!(decode(&value), Ok(absences.clone()));
        for cut in [0, 7, 16, value.len() - 1] {
            assert!(decode(&value[..cut]).is_err(), "{cut}");
        }
    }
}
