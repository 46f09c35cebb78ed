//! Names that no other process gives out: a random name of this process, then a count.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::alphabet;
use crate::entropy::{self, EntropyError};
use crate::sharded::{PLACES, Sharded};

/// Base62 digits of a process's name, and of the count that follows it.
const PROCESS_DIGITS: usize = 12;
const COUNT_DIGITS: usize = 8;

/// A process's name, kept by value: every call copies it, on every core.
type Process = [u8; PROCESS_DIGITS];

/// Gives out names.
#[derive(Debug)]
pub(super) struct Numbering {
    process: Process,
    /// Each place counts in steps of [`PLACES`] from its own number on.
    counts: Sharded<AtomicU64>,
}

/// One such name; it costs nothing until it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered {
    process: Process,
    count: u64,
}

impl Numbering {
    pub(super) fn new() -> Result<Self, EntropyError> {
        let digits = entropy::digits(PROCESS_DIGITS)?;
        let mut process = Process::default();
        process.copy_from_slice(digits.as_bytes());
        Ok(Self {
            process,
            counts: Sharded::default(),
        })
    }

    pub(super) fn next(&self) -> Numbered {
        let (place, count) = self.counts.own();
        let before = count.fetch_add(PLACES as u64, Ordering::Relaxed);
        Numbered {
            process: self.process,
            count: before + place as u64,
        }
    }
}

impl Numbered {
    pub(super) fn digits(&self) -> [u8; PROCESS_DIGITS + COUNT_DIGITS] {
        let mut digits = [0; PROCESS_DIGITS + COUNT_DIGITS];
        let (process, count) = digits.split_at_mut(PROCESS_DIGITS);
        process.copy_from_slice(&self.process);
        count.copy_from_slice(&alphabet::digits_of::<COUNT_DIGITS>(self.count));
        digits
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(alphabet::text(&self.digits()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_name_is_given_out_twice_by_however_many_threads() {
        let numbering = Numbering::new().unwrap();
        let some = || -> Vec<String> { (0..100).map(|_| numbering.next().to_string()).collect() };
        let given: Vec<String> = std::thread::scope(|scope| {
            let giving: Vec<_> = (0..2 * PLACES).map(|_| scope.spawn(some)).collect();
            giving
                .into_iter()
                .flat_map(|given| given.join().unwrap())
                .collect()
        });
        let different: HashSet<_> = given.iter().collect();
        assert_eq!(different.len(), given.len());
        assert!(
            given
                .iter()
                .all(|name| name.len() == PROCESS_DIGITS + COUNT_DIGITS)
        );
    }
}
