//! What workers knew of their leases, and when: written down as it happens, by whoever survives.
//!
//! All times are microseconds of this machine's clock, by which the stores of these tests judge, too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use token_authority::clock::{Clock, SystemClock};

/// Microseconds since 1970.
pub(crate) type Micros = u64;

pub(crate) fn now() -> Micros {
    SystemClock.now().micros()
}

/// A lease as a worker was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) token: String,
    pub(crate) lease: String,
    pub(crate) fence: u64,
    /// When it was acquired and when it is over, by the store's word.
    pub(crate) from: Micros,
    pub(crate) until: Micros,
}

/// One question about a lease, and what was answered, if anything ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked<T> {
    pub(crate) sent: Micros,
    pub(crate) answer: Option<T>,
}

/// A lease from its holder's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) sent: Micros,
    pub(crate) received: Micros,
    pub(crate) granted: Granted,
    /// Answered until when it lasts now; `None` where it was over.
    pub(crate) beats: Vec<Asked<Option<Micros>>>,
    /// Answered when it ended; `None` where it is not remembered.
    pub(crate) releases: Vec<Asked<Option<Micros>>>,
}

/// How the pool stood: available, leased, unavailable.
pub(crate) type Counts = [u64; 3];

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) holds: Vec<Hold>,
    pub(crate) samples: Vec<Counts>,
}

/// The history of a run under way; what is told it stays, whoever dies.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    pub(crate) fn granted(&self, sent: Micros, granted: Granted) -> usize {
        let mut history = self.lock();
        history.holds.push(Hold {
            sent,
            received: now(),
            granted,
            beats: Vec::new(),
            releases: Vec::new(),
        });
        history.holds.len() - 1
    }

    /// Notes a question before it is sent; answers its number.
    pub(crate) fn asks(&self, hold: usize, kind: Kind) -> usize {
        let mut history = self.lock();
        let list = kind.list(&mut history.holds[hold]);
        list.push(Asked {
            sent: now(),
            answer: None,
        });
        list.len() - 1
    }

    pub(crate) fn answered(&self, hold: usize, kind: Kind, at: usize, answer: Option<Micros>) {
        let mut history = self.lock();
        kind.list(&mut history.holds[hold])[at].answer = Some(answer);
    }

    pub(crate) fn sample(&self, counts: Counts) {
        self.lock().samples.push(counts);
    }

    /// Whether so much has happened.
    pub(crate) fn has(&self, holds: usize, samples: usize) -> bool {
        let history = self.lock();
        history.holds.len() >= holds && history.samples.len() >= samples
    }

    pub(crate) fn take(&self) -> History {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Beat,
    Release,
}

impl Kind {
    fn list(self, hold: &mut Hold) -> &mut Vec<Asked<Option<Micros>>> {
        match self {
            Self::Beat => &mut hold.beats,
            Self::Release => &mut hold.releases,
        }
    }
}
