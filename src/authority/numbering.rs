//! Names that no other process gives out: a random name of this process, then a count.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::alphabet;
use crate::entropy::{self, EntropyError};

/// Base62 digits of a process's name, and of the count that follows it.
const PROCESS_DIGITS: usize = 12;
const COUNT_DIGITS: usize = 8;

/// A process's name, kept by value: every call copies it, on every core.
type Process = [u8; PROCESS_DIGITS];

/// Gives out names.
#[derive(Debug)]
pub(super) struct Numbering {
    process: Process,
    count: AtomicU64,
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
            count: AtomicU64::new(0),
        })
    }

    pub(super) fn next(&self) -> Numbered {
        Numbered {
            process: self.process,
            count: self.count.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in self.process {
            write!(f, "{}", char::from(digit))?;
        }
        f.write_str(&alphabet::encode(u128::from(self.count), COUNT_DIGITS))
    }
}
