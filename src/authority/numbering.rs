//! Names that no other process gives out: a random name of this process, then a count.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::alphabet;
use crate::entropy::{self, EntropyError};

/// Base62 digits of a process's name, and of the count that follows it.
const PROCESS_DIGITS: usize = 12;
const COUNT_DIGITS: usize = 8;

/// Gives out names.
#[derive(Debug)]
pub(super) struct Numbering {
    process: Arc<str>,
    count: AtomicU64,
}

/// One such name; it costs nothing until it is written.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    process: Arc<str>,
    count: u64,
}

impl Numbering {
    pub(super) fn new() -> Result<Self, EntropyError> {
        Ok(Self {
            process: entropy::digits(PROCESS_DIGITS)?.as_str().into(),
            count: AtomicU64::new(0),
        })
    }

    pub(super) fn next(&self) -> Numbered {
        Numbered {
            process: self.process.clone(),
            count: self.count.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = alphabet::encode(u128::from(self.count), COUNT_DIGITS);
        write!(f, "{}{count}", self.process)
    }
}
