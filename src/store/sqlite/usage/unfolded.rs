//! What the journal holds and no ledger does: kept in memory too, so that whoever reads need not
//! search the journal.
//!
//! What is added goes to the *fresh* part. When that is worth folding it becomes the *old* one, which
//! goes subject by subject, and then its rows of the journal; meanwhile another fresh one fills.
//! Both stay readable. What the writer does to the parts takes effect when its transaction is on disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::items::{Items, Legend, write_frames, write_plain};
use super::journal::Lot;

use crate::domain::token::TokenId;
use crate::domain::usage::Subject;

/// Bytes of memory that both parts together may take; whoever adds more waits.
pub(super) const MEMORY_MAX: usize = 64 * 1024 * 1024;
/// Bytes of memory from which on the fresh part is folded at once.
pub(super) const WORTH_FOLDING: usize = MEMORY_MAX / 2;
/// Bytes of the journal from which on it is folded at once: so long is what is read again at the most after
/// an unclean stop.
pub(super) const JOURNAL_MAX: usize = 64 * 1024 * 1024;
/// What a subject takes beside its items: its place in the table, which may be half empty, and its
/// name.
const SUBJECT_BYTES: usize = 128;

/// Subjects of one step of folding: few enough that the writer writes them within some milliseconds.
pub(super) const STEP: usize = 128;
/// Bytes of items of one step, but for the last subject.
pub(super) const STEP_BYTES: usize = 1024 * 1024;

/// What is folded in one step: subjects, each with its items.
pub(super) type Step = Vec<(Subject, Items)>;

#[derive(Debug, Default)]
pub(in crate::store::sqlite) struct Unfolded {
    parts: Mutex<Parts>,
    /// Whether whoever folds knows that there is much to do.
    called: AtomicBool,
    /// Told whenever the old part became smaller.
    room: Notify,
}

#[derive(Debug, Default)]
struct Parts {
    fresh: Part,
    old: Part,
    /// Of the transaction under way.
    staged: Vec<Staged>,
    /// Number of the last row of the journal, committed or not.
    last: i64,
    /// About how many bytes of disk the journal takes again and again.
    room_on_disk: usize,
}

/// What is not folded of some rows of the journal.
#[derive(Debug, Default)]
struct Part {
    items: HashMap<Subject, Vec<u8>, RandomState>,
    legend: Arc<Legend>,
    /// Bytes of memory.
    bytes: usize,
    /// Bytes of the journal.
    on_disk: usize,
    /// The last row that any of it is from; 0 where there is none.
    last: i64,
}

/// What becomes of the parts once the transaction under way is on disk.
#[derive(Debug)]
enum Staged {
    Added(i64, Lot),
    Gone(TokenId),
    Folded(Vec<Subject>),
}

/// What is to be folded.
#[derive(Debug)]
pub(super) struct Load {
    /// In the order of their names, in which the ledgers are found soonest.
    pub(super) subjects: Vec<Subject>,
    /// The rows of the journal up to this one go once these are folded.
    pub(super) until: i64,
}

impl Unfolded {
    /// Takes what an earlier run has left in the journal into the old part, to be folded soon.
    pub(super) fn resume(&mut self, number: i64, lot: &Lot) {
        let parts = self.parts.get_mut();
        let parts = parts.unwrap_or_else(PoisonError::into_inner);
        parts.old.add(number, lot);
        parts.last = number;
    }

    /// The number of the next row of the journal.
    pub(super) fn number(&self) -> i64 {
        let mut parts = self.lock();
        parts.last += 1;
        parts.last
    }

    pub(super) fn added(&self, number: i64, lot: Lot) {
        self.lock().staged.push(Staged::Added(number, lot));
    }

    /// A token goes, and what is counted of it.
    pub(in crate::store::sqlite) fn gone(&self, token: TokenId) {
        self.lock().staged.push(Staged::Gone(token));
    }

    pub(super) fn folded(&self, subjects: Vec<Subject>) {
        self.lock().staged.push(Staged::Folded(subjects));
    }

    /// How much is staged, for [`Self::back_to`].
    pub(in crate::store::sqlite) fn staged(&self) -> usize {
        self.lock().staged.len()
    }

    /// Forgets what was staged since: it is undone.
    pub(in crate::store::sqlite) fn back_to(&self, staged: usize) {
        self.lock().staged.truncate(staged);
    }

    /// The transaction is on disk.
    pub(in crate::store::sqlite) fn settle(&self) {
        let mut parts = self.lock();
        for staged in std::mem::take(&mut parts.staged) {
            match staged {
                Staged::Added(number, lot) => parts.fresh.add(number, &lot),
                Staged::Gone(token) => {
                    let subject = Subject::Token(token);
                    parts.fresh.remove(&subject);
                    parts.old.remove(&subject);
                }
                Staged::Folded(subjects) => {
                    for subject in &subjects {
                        parts.old.remove(subject);
                    }
                    self.room.notify_waiters();
                }
            }
        }
    }

    /// All items of a subject, in the order in which they came.
    pub(super) fn items(&self, subject: &Subject) -> [Items; 2] {
        self.lock().items(subject)
    }

    /// The same of tokens, at one instant.
    pub(super) fn items_of(&self, tokens: &[TokenId]) -> Vec<[Items; 2]> {
        let parts = self.lock();
        let items = |token: &TokenId| parts.items(&Subject::Token(*token));
        tokens.iter().map(items).collect()
    }

    /// What of the old part is not folded yet of the first few of `subjects`, and how many these are.
    pub(super) fn step(&self, subjects: &[Subject]) -> (Step, usize) {
        let parts = self.lock();
        let (mut step, mut bytes, mut taken) = (Step::new(), 0, 0);
        for subject in subjects.iter().take(STEP) {
            if bytes >= STEP_BYTES {
                break;
            }
            taken += 1;
            let items = parts.old.items(subject);
            if !items.bytes.is_empty() {
                bytes += items.bytes.len();
                step.push((subject.clone(), items));
            }
        }
        (step, taken)
    }

    /// What is to be folded now: what is left of the old part, or else the fresh one, which becomes
    /// the old one; `None` where there is nothing.
    pub(super) fn load(&self) -> Option<Load> {
        self.called.store(false, Ordering::Release);
        let mut parts = self.lock();
        if parts.old.last == 0 {
            parts.old = std::mem::take(&mut parts.fresh);
            parts.room_on_disk = parts.old.on_disk.max(parts.room_on_disk / 2);
        }
        if parts.old.last == 0 {
            return None;
        }
        let mut subjects: Vec<_> = parts.old.items.keys().cloned().collect();
        let until = parts.old.last;
        drop(parts);
        subjects.sort_by_cached_key(super::key);
        Some(Load { subjects, until })
    }

    /// The old part is folded, and its rows are gone from the journal.
    pub(super) fn emptied(&self) {
        self.lock().old = Part::default();
        self.room.notify_waiters();
    }

    pub(super) fn bytes(&self) -> usize {
        let parts = self.lock();
        parts.fresh.bytes + parts.old.bytes
    }

    /// Bytes of free pages that the journal will soon need again.
    pub(in crate::store::sqlite) fn room_on_disk(&self) -> usize {
        self.lock().room_on_disk
    }

    pub(super) fn is_worth_folding(&self) -> bool {
        let parts = self.lock();
        parts.fresh.bytes >= WORTH_FOLDING || parts.fresh.on_disk >= JOURNAL_MAX
    }

    /// Whether to call whoever folds: there is much to do, and nobody has called yet.
    pub(super) fn calls(&self) -> bool {
        self.is_worth_folding() && !self.called.swap(true, Ordering::AcqRel)
    }

    /// Waits until more may be added.
    pub(super) async fn room(&self) {
        loop {
            let told = self.room.notified();
            if self.bytes() < MEMORY_MAX {
                return;
            }
            told.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn items(&self, subject: &Subject) -> [Items; 2] {
        [&self.old, &self.fresh].map(|part| part.items(subject))
    }
}

impl Part {
    fn items(&self, subject: &Subject) -> Items {
        let items = self.items.get(subject);
        let items = items.map(|bytes| Items {
            legend: self.legend.clone(),
            bytes: bytes.clone(),
        });
        items.unwrap_or_default()
    }

    fn add(&mut self, number: i64, lot: &Lot) {
        self.last = number;
        self.on_disk += lot.row_bytes;
        let legend = Arc::make_mut(&mut self.legend);
        let mark = lot.mark.map(|mark| legend.mark(mark)).unwrap_or_default();
        let mut kinds = Vec::with_capacity(lot.kinds.len());
        for kind in &lot.kinds {
            let (place, bytes) = legend.place(kind);
            self.bytes += bytes;
            kinds.push(place);
        }
        let mut begin = 0;
        for (subject, kind, end) in &lot.gains {
            let body = &lot.bodies[begin..*end];
            begin = *end;
            let own = self.items.entry(subject.clone()).or_insert_with(|| {
                self.bytes += SUBJECT_BYTES;
                Vec::new()
            });
            let before = own.capacity();
            match kind {
                0 => {
                    // One that has nothing else is busy, or is longer than its name.
                    own.reserve(body.len() + 4);
                    write_frames(own, body);
                }
                kind => write_plain(own, kinds[*kind as usize - 1], mark, body),
            }
            self.bytes += own.capacity() - before;
        }
    }

    fn remove(&mut self, subject: &Subject) {
        if let Some(items) = self.items.remove(subject) {
            self.bytes -= items.capacity() + SUBJECT_BYTES;
        }
    }
}
