//! What is remembered, when it may be answered from, and who waits for whose read.

mod rereading;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::ManualSteady;
use crate::domain::coherence::RECORD_AGE_MAX;
use crate::domain::limit::{LimitName, RateLimit, RateLimits};
use crate::domain::name::PoolName;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::profile::Profile;
use crate::domain::token::Draft;
use crate::domain::token::tests::{at, draft};
use crate::entropy;
use crate::store::{Change, Creation, Deletion, Page, Rule};

/// A store of one token whose reads end when they are let.
struct Gated {
    token: Mutex<Option<Arc<Token>>>,
    let_end: Semaphore,
    begun: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Gated {
    fn holding(token: Token) -> Arc<Self> {
        Arc::new(Self {
            token: Mutex::new(Some(Arc::new(token))),
            let_end: Semaphore::new(0),
            begun: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    /// Waits until so many reads have begun.
    async fn begun(&self, reads: usize) {
        while self.begun.load(Ordering::SeqCst) < reads {
            tokio::task::yield_now().await;
        }
    }

    /// Writes the token anew; answers the change.
    fn change(&self) -> Invalidation {
        let mut token = self.token.lock().unwrap();
        let mut changed = token.as_deref().unwrap().clone();
        changed.revision += 1;
        let change = Invalidation {
            token: changed.id,
            revision: changed.revision,
        };
        *token = Some(Arc::new(changed));
        change
    }
}

#[async_trait]
impl TokenStore for Gated {
    async fn find(&self, _: TokenId) -> Result<Found, StoreError> {
        let token = self.token.lock().unwrap().clone();
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.let_end.acquire().await.unwrap().forget();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        assert!(token.is_some(), "no token: the read breaks");
        Ok(Found { now: at(1), token })
    }

    async fn unchanged(&self, asked: &[(TokenId, u64)]) -> Result<Vec<bool>, StoreError> {
        let token = self.token.lock().unwrap().clone();
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.let_end.acquire().await.unwrap().forget();
        let token = token.ok_or(StoreError::Closed)?;
        let stands = |asked: &(TokenId, u64)| *asked == (token.id, token.revision);
        Ok(asked.iter().map(stands).collect())
    }

    async fn create(&self, _: Draft) -> Result<Creation, StoreError> {
        Err(StoreError::Closed)
    }

    async fn change(&self, _: TokenId, _: Rule) -> Result<Change, StoreError> {
        Err(StoreError::Closed)
    }

    async fn delete(&self, _: TokenId, _: Rule) -> Result<Deletion, StoreError> {
        Err(StoreError::Closed)
    }

    async fn list(&self, _: &Filter, _: Option<Cursor>, _: PageSize) -> Result<Page, StoreError> {
        Err(StoreError::Closed)
    }
}

/// A cache that holds a lease for ever, of a store of one token.
struct Site {
    id: TokenId,
    store: Arc<Gated>,
    clock: Arc<ManualSteady>,
    cache: Arc<Cache>,
}

impl Site {
    fn new() -> Self {
        Self::of(Profile::default())
    }

    fn of(profile: Profile) -> Self {
        let id = entropy::token_id().unwrap();
        let token = Draft {
            id,
            profile,
            ..draft()
        };
        let store = Gated::holding(token.issue(at(1)).unwrap());
        let clock = Arc::new(ManualSteady::default());
        let metrics = Arc::new(Metrics::new([]));
        let (bounds, found) = (CacheBounds::default(), store.clone());
        let cache = Arc::new(Cache::new(
            found,
            bounds,
            RECORD_AGE_MAX,
            clock.clone(),
            metrics,
        ));
        cache.grant(Steady::from_micros(u64::MAX), Steady::default(), at(1), 1);
        Self {
            id,
            store,
            clock,
            cache,
        }
    }

    fn held(&self) -> Held {
        self.cache.hold().unwrap()
    }

    fn recalled(&self) -> Option<u64> {
        let token = self.cache.recall(&self.held(), self.id)?.token.clone();
        Some(token.revision)
    }

    /// Asks for the token in a task of its own.
    fn ask(&self, may_join: bool) -> tokio::task::JoinHandle<Result<Read, StoreError>> {
        let (cache, id, held) = (self.cache.clone(), self.id, self.held());
        tokio::spawn(async move { cache.read(id, may_join.then_some(&held)).await })
    }

    /// Lets everything that can go on go on.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

fn revision(read: &Read) -> u64 {
    read.found.token.as_ref().unwrap().revision
}

#[tokio::test]
async fn what_was_read_is_remembered_for_five_seconds_from_before_it_was_read() {
    let site = Site::new();
    let asked = site.ask(true);
    site.store.begun(1).await;
    site.clock.advance(Duration::from_secs(3));
    site.store.let_end.add_permits(1);
    assert!(asked.await.unwrap().unwrap().own);
    assert!(site.recalled().is_some());
    site.clock
        .advance(RECORD_AGE_MAX - Duration::from_micros(3_000_001));
    assert!(site.recalled().is_some());
    site.clock.advance(Duration::from_micros(1));
    assert!(site.recalled().is_none());
    assert!(site.cache.guess(site.id).is_some());
}

#[tokio::test]
async fn many_wait_for_one_read() {
    let site = Site::new();
    let asked: Vec<_> = (0..10).map(|_| site.ask(true)).collect();
    site.store.begun(1).await;
    site.settle().await;
    site.store.let_end.add_permits(1);
    let mut own = 0;
    for asked in asked {
        own += u32::from(asked.await.unwrap().unwrap().own);
    }
    assert_eq!((site.store.begun.load(Ordering::SeqCst), own), (1, 1));
}

#[tokio::test]
async fn who_may_join_no_read_waits_for_the_next_and_there_is_one_at_a_time() {
    let site = Site::new();
    let first = site.ask(true);
    site.store.begun(1).await;
    let change = site.store.change();
    let later: Vec<_> = (0..10).map(|_| site.ask(false)).collect();
    site.settle().await;
    site.store.let_end.add_permits(2);
    let before = revision(&first.await.unwrap().unwrap());
    for later in later {
        let read = later.await.unwrap().unwrap();
        assert!(read.own && revision(&read) == change.revision);
    }
    assert!(before < change.revision);
    assert_eq!(site.store.begun.load(Ordering::SeqCst), 2);
    assert_eq!(site.store.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_poisoned_read_is_not_remembered_nor_joined_and_who_had_joined_reads_again() {
    let site = Site::new();
    let pilot = site.ask(true);
    site.store.begun(1).await;
    let joined = site.ask(true);
    site.settle().await;
    let change = site.store.change();
    site.cache.invalidate(change);
    let after = site.ask(true);
    site.settle().await;
    // The first read, the one that came after it, and that of who had joined.
    site.store.let_end.add_permits(3);
    assert!(revision(&pilot.await.unwrap().unwrap()) < change.revision);
    for later in [joined, after] {
        assert_eq!(revision(&later.await.unwrap().unwrap()), change.revision);
    }
    assert_eq!(site.recalled(), Some(change.revision));
    assert_eq!(site.cache.metrics.cache.poisoned.get(), 1);
}

#[tokio::test]
async fn what_a_poisoned_read_brings_is_not_remembered() {
    for drop_all in [false, true] {
        let site = Site::new();
        let pilot = site.ask(true);
        site.store.begun(1).await;
        let news = match drop_all {
            true => News::DropAll,
            false => News::Entries(vec![site.store.change()]),
        };
        site.cache.apply(&news);
        site.store.let_end.add_permits(1);
        pilot.await.unwrap().unwrap();
        assert_eq!(site.recalled(), None);
    }
}

#[tokio::test]
async fn a_change_drops_what_is_older_and_drop_all_drops_all() {
    let site = Site::new();
    site.store.let_end.add_permits(2);
    site.ask(true).await.unwrap().unwrap();
    let change = site.store.change();
    site.cache.invalidate(change);
    assert_eq!(site.recalled(), None);
    site.ask(true).await.unwrap().unwrap();
    site.cache.invalidate(change);
    assert_eq!(site.recalled(), Some(change.revision));
    site.cache.apply(&News::DropAll);
    assert_eq!(site.recalled(), None);
}

#[tokio::test]
async fn a_read_goes_on_when_who_asked_has_gone() {
    let site = Site::new();
    let gone = site.ask(true);
    site.store.begun(1).await;
    let joined = site.ask(true);
    site.settle().await;
    gone.abort();
    site.store.let_end.add_permits(1);
    assert!(!joined.await.unwrap().unwrap().own);
    assert!(site.recalled().is_some());
}

#[tokio::test]
async fn a_read_that_breaks_fails_those_who_wait_and_nobody_after_them() {
    let site = Site::new();
    let token = site.store.token.lock().unwrap().take();
    let asked = [site.ask(true), site.ask(true), site.ask(false)];
    site.store.begun(1).await;
    site.settle().await;
    site.store.let_end.add_permits(1);
    for asked in asked {
        assert!(asked.await.unwrap().is_err());
    }
    *site.store.token.lock().unwrap() = token;
    site.store.let_end.add_permits(1);
    assert!(site.ask(true).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_pooled_token_is_not_remembered() {
    let site = Site::of(Profile {
        pool: PoolName::parse("gpu").ok(),
        ..Profile::default()
    });
    site.store.let_end.add_permits(1);
    site.ask(true).await.unwrap().unwrap();
    assert!(site.cache.guess(site.id).is_none());
}

#[tokio::test]
async fn nothing_is_answered_after_it_was_given_up() {
    let site = Site::new();
    site.store.let_end.add_permits(1);
    site.ask(true).await.unwrap().unwrap();
    site.cache.give_up();
    assert!(site.cache.hold().is_none() && site.cache.guess(site.id).is_none());
}

#[tokio::test]
async fn what_is_known_outlasts_its_age_and_the_lease() {
    let site = Site::new();
    assert!(site.cache.last_known(site.id).is_none());
    site.store.let_end.add_permits(1);
    site.ask(true).await.unwrap().unwrap();
    let until = Steady::default().saturating_add(Duration::from_secs(10));
    site.cache.grant(until, Steady::default(), at(1), 3);
    site.clock.advance(Duration::from_secs(9));
    assert!(site.recalled().is_none());
    let (_, lapse) = site.cache.last_known(site.id).unwrap();
    assert_eq!((lapse.span, lapse.members), (Duration::ZERO, 3));
    site.clock.advance(Duration::from_secs(21));
    let (token, lapse) = site.cache.last_known(site.id).unwrap();
    assert_eq!((token.id, lapse.span), (site.id, Duration::from_secs(20)));
    assert_eq!(lapse.bound, at(34), "a tenth more than has passed");
}

#[tokio::test]
async fn nothing_is_known_of_what_was_changed_or_is_gone_or_was_a_guess() {
    let site = Site::new();
    site.store.let_end.add_permits(9);
    let asked = async || site.ask(true).await.unwrap().unwrap().found.token.unwrap();
    let found = |token| Found { now: at(1), token };
    let old = asked().await;
    site.cache.learn(site.id, &found(Some(old.clone())));
    assert!(site.cache.last_known(site.id).is_some());
    site.cache.learn(site.id, &found(None));
    assert!(site.cache.last_known(site.id).is_none(), "it is gone");
    asked().await;
    site.cache.invalidate(site.store.change());
    assert!(site.cache.last_known(site.id).is_none(), "it was changed");
    asked().await;
    site.store.change();
    let newer = site.store.token.lock().unwrap().clone();
    site.cache.learn(site.id, &found(newer));
    assert!(site.cache.last_known(site.id).is_none(), "it was read anew");
    let mut limited = Token::clone(&old);
    let limit = RateLimit::new(LimitName::parse("").unwrap(), 1, None, 0).unwrap();
    limited.profile.rate_limits = RateLimits::new(vec![limit]).unwrap();
    site.cache.learn(site.id, &found(Some(Arc::new(limited))));
    assert!(site.cache.guess(site.id).is_some());
    assert!(site.cache.last_known(site.id).is_none(), "it is a guess");
}
