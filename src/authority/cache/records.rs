//! The records that are remembered: bounded by number and by bytes, and of those that are too many,
//! what was asked for once goes before what is asked for again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::brief::Brief;
use crate::domain::time::Steady;
use crate::domain::token::{Token, TokenId};

/// Bounds on what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBounds {
    /// Most records; 0 for none.
    pub entries: usize,
    /// Most bytes, as far as they can be told.
    pub bytes: u64,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self {
            entries: 200_000,
            bytes: 256 * 1024 * 1024,
        }
    }
}

/// What a record takes beside what differs: its place in the table, and the parts of a token that are
/// always there.
const BYTES_AT_LEAST: usize = 1024;
/// What a digest takes.
const DIGEST_BYTES: usize = 64;

/// A token as it was read.
///
/// What drops it from memory drops this very value, which nobody finds again: so it may be renewed at any
/// time by a read that began while it was there.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) brief: Arc<Brief>,
    /// Microseconds from before it was read last; `None` where a change may have come since: then it is
    /// a guess.
    begun: Option<AtomicU64>,
    /// How often it was renewed since it was asked for.
    idle: AtomicU8,
    /// Whether it waits for its next round.
    taken_up: AtomicBool,
    bytes: u64,
}

impl Record {
    /// `None` of a token that may not be remembered, as its record does not tell all of it.
    pub(super) fn of(token: &Arc<Token>, begun: Option<Steady>) -> Option<Arc<Self>> {
        let brief = Brief::of(token)?;
        let digests = token.secrets.digests().count() * DIGEST_BYTES;
        // Each text and list item has a place and a length of its own, beside its bytes.
        let bytes = BYTES_AT_LEAST + digests + 3 * token.profile.bytes() + brief.bytes();
        Some(Arc::new(Self {
            brief: Arc::new(brief),
            begun: begun.map(|begun| AtomicU64::new(begun.micros())),
            idle: AtomicU8::new(0),
            taken_up: AtomicBool::new(false),
            bytes: bytes as u64,
        }))
    }

    /// Before it was read last; `None` for a guess.
    pub(super) fn begun(&self) -> Option<Steady> {
        let begun = self.begun.as_ref()?;
        Some(Steady::from_micros(begun.load(Ordering::Acquire)))
    }

    /// Notes that it is asked for.
    pub(super) fn use_it(&self) {
        // Written as rarely as can be: others ask for it at the same time.
        if self.idle.load(Ordering::Relaxed) != 0 {
            self.idle.store(0, Ordering::Relaxed);
        }
    }

    /// How often it was renewed since it was asked for.
    pub(super) fn idle(&self) -> u8 {
        self.idle.load(Ordering::Relaxed)
    }

    /// What a store is asked about it.
    pub(super) fn asked(&self) -> (TokenId, u64) {
        (self.brief.id, self.brief.revision)
    }

    /// It was read alone by somebody who asks for it; answers whether it is what was read, and no guess.
    pub(super) fn read_anew(&self, revision: u64, begun: Steady) -> bool {
        let same = self.brief.revision == revision && self.begun.is_some();
        if same {
            self.renewed(begun);
            self.use_it();
        }
        same
    }

    /// Takes it up for its next round; answers whether it was not yet.
    pub(super) fn take_up(&self) -> bool {
        !self.taken_up.swap(true, Ordering::AcqRel)
    }

    pub(super) fn leave_out(&self) {
        self.taken_up.store(false, Ordering::Release);
    }

    fn renewed(&self, begun: Steady) {
        if let Some(last) = &self.begun {
            last.fetch_max(begun.micros(), Ordering::AcqRel);
        }
    }

    /// It was found unchanged by a read that began at `begun`, when it was remembered already.
    pub(super) fn renew(&self, begun: Steady) {
        self.renewed(begun);
        // An answer in between may be lost on it, which costs a read at the worst.
        let idle = self.idle().saturating_add(1);
        self.idle.store(idle, Ordering::Relaxed);
    }
}

pub(super) struct Records(Cache<TokenId, Arc<Record>, Weight>);

/// Weighs a record by its bytes, and at least so much that no more fit in than may.
#[derive(Clone)]
struct Weight {
    least: u64,
}

impl Weighter<TokenId, Arc<Record>> for Weight {
    fn weight(&self, _: &TokenId, record: &Arc<Record>) -> u64 {
        record.bytes.max(self.least)
    }
}

impl Records {
    /// `None` where nothing may be remembered.
    pub(super) fn within(bounds: CacheBounds) -> Option<Self> {
        let entries = u64::try_from(bounds.entries).unwrap_or(u64::MAX);
        let least = bounds.bytes.checked_div(entries)?;
        let likely = bounds.bytes / least.max(BYTES_AT_LEAST as u64);
        let likely = usize::try_from(likely).unwrap_or(usize::MAX);
        let weight = Weight { least };
        Some(Self(Cache::with_weighter(likely, bounds.bytes, weight)))
    }

    pub(super) fn get(&self, id: TokenId) -> Option<Arc<Record>> {
        self.0.get(&id)
    }

    pub(super) fn put(&self, record: Arc<Record>) {
        // First: where the new one is too heavy to be kept, the old one must not stay.
        self.0.remove(&record.brief.id);
        self.0.insert(record.brief.id, record);
    }

    /// Forgets the record unless it shows this revision, or a later one.
    pub(super) fn drop_before(&self, id: TokenId, revision: u64) {
        self.0
            .remove_if(&id, |record| record.brief.revision < revision);
    }

    pub(super) fn forget(&self, id: TokenId) {
        self.0.remove(&id);
    }

    /// Forgets this very record.
    pub(super) fn forget_this(&self, record: &Arc<Record>) {
        let is_this = |other: &Arc<Record>| Arc::ptr_eq(other, record);
        self.0.remove_if(&record.brief.id, is_this);
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};
    use crate::entropy;

    fn record() -> Arc<Record> {
        let id = entropy::token_id().unwrap();
        let token = Draft { id, ..draft() }.issue(at(1)).unwrap();
        Record::of(&Arc::new(token), None).unwrap()
    }

    fn within(entries: usize, bytes: u64) -> Records {
        Records::within(CacheBounds { entries, bytes }).unwrap()
    }

    #[test]
    fn neither_number_nor_bytes_are_exceeded() {
        let few = within(100, 1 << 30);
        let small = within(1 << 20, 100 * 1024);
        for _ in 0..1000 {
            few.put(record());
            small.put(record());
        }
        assert!((50..=100).contains(&few.len()), "{}", few.len());
        assert!(
            small.bytes() <= 100 * 1024 && small.len() >= 25,
            "{}",
            small.len()
        );
    }

    #[test]
    fn what_is_asked_for_again_outlives_a_scan() {
        let records = within(100, 1 << 30);
        let busy: Vec<Arc<Record>> = (0..20).map(|_| record()).collect();
        busy.iter().for_each(|record| records.put(record.clone()));
        let known = || {
            busy.iter()
                .filter(|record| records.get(record.brief.id).is_some())
                .count()
        };
        assert_eq!(known(), 20);
        assert_eq!(known(), 20);
        for _ in 0..1000 {
            records.put(record());
        }
        assert!(known() >= 15, "{}", known());
    }

    #[test]
    fn nothing_may_be_remembered_where_no_entry_may() {
        assert!(
            Records::within(CacheBounds {
                entries: 0,
                bytes: 1 << 20
            })
            .is_none()
        );
    }

    #[test]
    fn only_what_is_older_than_a_change_is_dropped() {
        let records = within(100, 1 << 30);
        let one = record();
        let (id, revision) = (one.brief.id, one.brief.revision);
        records.put(one);
        records.drop_before(id, revision);
        assert!(records.get(id).is_some());
        records.drop_before(id, revision + 1);
        assert!(records.get(id).is_none());
    }
}
