//! What the journal holds and no ledger does: kept in memory too, so that whoever reads need not
//! search the journal.
//!
//! What is added goes to the *fresh* part. When that is worth folding it becomes the *old* one, which
//! goes subject by subject, and then its rows of the journal; meanwhile another fresh one fills.
//! Both stay readable. What the writer does to the parts takes effect when its transaction is on disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::token::TokenId;
use crate::domain::usage::Subject;

/// Bytes of memory that both parts together may take; whoever adds more waits.
pub(super) const MEMORY_MAX: usize = 64 * 1024 * 1024;
/// Bytes of memory from which on the fresh part is folded at once.
pub(super) const WORTH_FOLDING: usize = MEMORY_MAX / 2;
/// What a subject takes beside its frames: its place in the table, which may be half empty, and its
/// name.
const SUBJECT_BYTES: usize = 128;

/// Subjects of one step of folding: few enough that the writer writes them within some milliseconds.
pub(super) const STEP: usize = 32;
/// Bytes of frames of one step, but for the last subject.
pub(super) const STEP_BYTES: usize = 1024 * 1024;

/// The frames of subjects, each with its own.
pub(super) type Frames = Vec<(Subject, Vec<u8>)>;

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
    frames: HashMap<Subject, Vec<u8>>,
    bytes: usize,
    /// The last row that any of it is from; 0 where there is none.
    last: i64,
}

/// What becomes of the parts once the transaction under way is on disk.
#[derive(Debug)]
enum Staged {
    Added(i64, Frames),
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
    pub(super) fn resume(&mut self, number: i64, frames: Frames) {
        let parts = self.parts.get_mut();
        let parts = parts.unwrap_or_else(PoisonError::into_inner);
        parts.old.add(number, frames);
        parts.last = number;
    }

    /// The number of the next row of the journal.
    pub(super) fn number(&self) -> i64 {
        let mut parts = self.lock();
        parts.last += 1;
        parts.last
    }

    pub(super) fn added(&self, number: i64, frames: Frames) {
        self.lock().staged.push(Staged::Added(number, frames));
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
                Staged::Added(number, frames) => parts.fresh.add(number, frames),
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

    /// All frames of a subject, in the order in which they came.
    pub(super) fn frames(&self, subject: &Subject) -> Vec<u8> {
        self.lock().frames(subject)
    }

    /// The same of tokens, at one instant.
    pub(super) fn frames_of(&self, tokens: &[TokenId]) -> Vec<Vec<u8>> {
        let parts = self.lock();
        let frames = |token: &TokenId| parts.frames(&Subject::Token(*token));
        tokens.iter().map(frames).collect()
    }

    /// What of the old part is not folded yet of the first few of `subjects`, and how many these are.
    pub(super) fn step(&self, subjects: &[Subject]) -> (Frames, usize) {
        let parts = self.lock();
        let (mut step, mut bytes, mut taken) = (Frames::new(), 0, 0);
        for subject in subjects.iter().take(STEP) {
            if bytes >= STEP_BYTES {
                break;
            }
            taken += 1;
            if let Some(frames) = parts.old.frames.get(subject) {
                bytes += frames.len();
                step.push((subject.clone(), frames.clone()));
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
            parts.room_on_disk = parts.old.bytes.max(parts.room_on_disk / 2);
        }
        if parts.old.last == 0 {
            return None;
        }
        let mut subjects: Vec<_> = parts.old.frames.keys().cloned().collect();
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
        self.lock().fresh.bytes >= WORTH_FOLDING
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
    fn frames(&self, subject: &Subject) -> Vec<u8> {
        let parts = [&self.old, &self.fresh].map(|part| part.frames.get(subject));
        parts.into_iter().flatten().flatten().copied().collect()
    }
}

impl Part {
    fn add(&mut self, number: i64, frames: Frames) {
        self.last = number;
        for (subject, frames) in frames {
            let known = self.frames.entry(subject).or_insert_with(|| {
                self.bytes += SUBJECT_BYTES;
                Vec::new()
            });
            let before = known.capacity();
            match known.is_empty() {
                true => *known = frames,
                false => known.extend(frames),
            }
            self.bytes += known.capacity() - before;
        }
    }

    fn remove(&mut self, subject: &Subject) {
        if let Some(frames) = self.frames.remove(subject) {
            self.bytes -= frames.capacity() + SUBJECT_BYTES;
        }
    }
}
