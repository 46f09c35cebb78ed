//! The secrets that everybody asks about, and those among them that are looked at most.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::doors::Subject;
use crate::draw;

/// How many secrets are asked about at a time.
pub(crate) const PLACES: usize = 64;
/// How many of them are looked at as often as all others together.
const LIT: usize = 8;

/// A subject, by its number in the history.
pub(crate) type Numbered = (usize, Arc<Subject>);

pub(crate) struct Board {
    places: [Mutex<Option<Numbered>>; PLACES],
    lit: [AtomicUsize; LIT],
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Mutex::default()),
            lit: std::array::from_fn(AtomicUsize::new),
        }
    }

    /// From now on everybody asks about this subject instead of the one that was there.
    pub(crate) fn put(&self, place: usize, subject: Numbered) {
        *self.place(place) = Some(subject);
    }

    pub(crate) fn at(&self, place: usize) -> Option<Numbered> {
        self.place(place).clone()
    }

    /// Draws attention to a place, for so long as no other is lit instead.
    pub(crate) fn light(&self, place: usize) {
        self.lit[place % LIT].store(place, Ordering::Relaxed);
    }

    /// What somebody asks about next.
    pub(crate) fn next(&self) -> Option<Numbered> {
        let place = match draw(2) {
            0 => self.lit[draw(LIT)].load(Ordering::Relaxed),
            _ => draw(PLACES),
        };
        self.at(place)
    }

    fn place(&self, place: usize) -> MutexGuard<'_, Option<Numbered>> {
        let place = &self.places[place];
        place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
