//! Records that are read again before they are too old.

use super::*;
use crate::authority::cache::rounds::IDLE_MAX;

/// After which records are read again.
const DUE: Duration = Duration::from_secs(4);

impl Site {
    /// One whose token is remembered.
    async fn filled() -> Self {
        let site = Self::new();
        site.store.let_end.add_permits(1);
        site.ask(true).await.unwrap().unwrap();
        site
    }

    fn reads(&self) -> usize {
        self.store.begun.load(Ordering::SeqCst)
    }

    /// Begins to read again what is due.
    fn reread(&self) -> tokio::task::JoinHandle<Result<(), StoreError>> {
        let cache = self.cache.clone();
        tokio::spawn(async move { cache.read_again().await })
    }

    /// The same to its end.
    async fn reread_now(&self) {
        self.store.let_end.add_permits(1);
        self.reread().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_record_that_is_read_again_in_time_is_never_too_old() {
    let site = Site::filled().await;
    site.clock.advance(DUE - Duration::from_micros(1));
    site.reread().await.unwrap().unwrap();
    assert_eq!(site.reads(), 1, "it is not due");
    site.clock.advance(Duration::from_micros(1));
    for round in 2..20 {
        site.reread_now().await;
        assert_eq!(site.reads(), round);
        site.clock.advance(DUE);
        assert!(site.recalled().is_some());
    }
}

#[tokio::test]
async fn a_renewal_counts_from_before_it_began() {
    let site = Site::filled().await;
    site.clock.advance(DUE);
    let reread = site.reread();
    site.store.begun(2).await;
    site.clock.advance(Duration::from_secs(3));
    site.store.let_end.add_permits(1);
    reread.await.unwrap().unwrap();
    site.clock
        .advance(RECORD_AGE_MAX - Duration::from_micros(3_000_001));
    assert!(site.recalled().is_some());
    site.clock.advance(Duration::from_micros(1));
    assert!(site.recalled().is_none());
}

#[tokio::test]
async fn what_is_dropped_while_it_is_read_again_stays_dropped() {
    for drop_all in [false, true] {
        let site = Site::filled().await;
        site.clock.advance(DUE);
        let reread = site.reread();
        site.store.begun(2).await;
        let news = match drop_all {
            true => News::DropAll,
            false => News::Entries(vec![site.store.change()]),
        };
        site.cache.apply(&news);
        site.store.let_end.add_permits(1);
        reread.await.unwrap().unwrap();
        assert_eq!(site.recalled(), None);
        assert!(site.cache.guess(site.id).is_none());
    }
}

#[tokio::test]
async fn what_was_read_anew_meanwhile_is_neither_renewed_nor_forgotten() {
    let site = Site::filled().await;
    site.clock.advance(DUE);
    let reread = site.reread();
    site.store.begun(2).await;
    let change = site.store.change();
    site.cache.invalidate(change);
    let asked = site.ask(true);
    site.store.begun(3).await;
    site.store.let_end.add_permits(2);
    asked.await.unwrap().unwrap();
    reread.await.unwrap().unwrap();
    assert_eq!(site.recalled(), Some(change.revision));
}

#[tokio::test]
async fn a_change_that_nobody_announced_is_found_when_its_record_is_read_again() {
    let site = Site::filled().await;
    site.store.change();
    site.clock.advance(DUE);
    assert!(site.recalled().is_some());
    site.reread_now().await;
    assert!(site.cache.guess(site.id).is_none());
}

#[tokio::test]
async fn what_nobody_asks_for_is_left_to_its_age_after_a_while() {
    let site = Site::filled().await;
    for _ in 0..IDLE_MAX {
        site.clock.advance(DUE);
        site.reread_now().await;
    }
    let reads = site.reads();
    assert_eq!(reads, 1 + usize::from(IDLE_MAX));
    site.clock.advance(DUE);
    site.reread().await.unwrap().unwrap();
    assert_eq!(site.reads(), reads);
    site.clock.advance(DUE);
    assert!(site.recalled().is_none());
}

#[tokio::test]
async fn what_could_not_be_read_again_is_tried_again() {
    let site = Site::filled().await;
    site.clock.advance(DUE);
    let token = site.store.token.lock().unwrap().take();
    site.store.let_end.add_permits(1);
    assert!(site.reread().await.unwrap().is_err());
    *site.store.token.lock().unwrap() = token;
    site.reread_now().await;
    site.clock.advance(DUE);
    assert!(site.recalled().is_some());
}

#[tokio::test(start_paused = true)]
async fn records_are_kept_fresh_by_themselves() {
    let site = Site::new();
    let cache = site.cache.clone();
    let keeping = tokio::spawn(async move { cache.keep_fresh().await });
    site.store.let_end.add_permits(1);
    site.ask(true).await.unwrap().unwrap();
    for reads in 2..5 {
        site.clock.advance(DUE);
        site.store.let_end.add_permits(1);
        while site.reads() < reads {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    site.settle().await;
    assert!(site.recalled().is_some());
    keeping.abort();
}
