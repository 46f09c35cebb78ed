//! The registry: who answers from memory, what each lacks, and whom a change waits for.

use std::time::Duration;

use token_authority::domain::coherence::registry::{Absent, Member, News};
use token_authority::domain::coherence::{ANNOUNCED_MAX, LOG_MAX};
use token_authority::entropy;
use token_authority::store::registry::Heard;
use tokio::task::JoinSet;

use crate::fixture::Bench;
use crate::support::registries::{
    absent, change, changes, first, having, member, renewed, replica, standing, walk,
};

/// How long a test waits for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn a_store_that_was_made_has_a_settled_registry(bench: Bench) {
    let store = &*bench.store;
    assert_eq!(store.attendance().await.unwrap().members.len(), 0);
    assert!(store.announce(&changes(1)).await.unwrap().settled);
    assert!(renewed(store, &first(replica())).await.settled);
}

pub(crate) async fn a_new_replica_drops_all_and_is_known_from_then_on(bench: Bench) {
    let store = &*bench.store;
    store.announce(&changes(3)).await.unwrap();
    let one = replica();
    let (told, now) = store.renew(&first(one)).await.unwrap();
    assert_eq!((told.last, told.members, told.news), (3, 1, News::DropAll));
    assert_eq!(now, bench.now());
    let member = Member {
        applied: 0,
        renewal: 1,
    };
    assert_eq!(standing(store, one).await, Some(member));
    let again = renewed(store, &having(one, told.epoch, 3)).await;
    assert_eq!(again.news, News::Entries(Vec::new()));
    assert_eq!(renewed(store, &first(replica())).await.members, 2);
}

pub(crate) async fn a_replica_is_told_what_it_lacks_and_nothing_else(bench: Bench) {
    let store = &*bench.store;
    let (one, epoch) = member(store).await;
    let told = changes(5);
    store.announce(&told[..2]).await.unwrap();
    store.announce(&told[2..]).await.unwrap();
    for applied in 0..=5 {
        let renewed = renewed(store, &having(one, epoch, applied)).await;
        let lacking = told[applied as usize..].to_vec();
        assert_eq!(renewed.news, News::Entries(lacking));
        assert_eq!(renewed.last, 5);
    }
}

pub(crate) async fn what_a_replica_was_told_it_has_applied_when_it_says_so(bench: Bench) {
    let store = &*bench.store;
    let (one, epoch) = member(store).await;
    store.announce(&changes(2)).await.unwrap();
    let applied = async || standing(store, one).await.map(|member| member.applied);
    renewed(store, &having(one, epoch, 0)).await;
    assert_eq!(applied().await, Some(0));
    renewed(store, &having(one, epoch, 2)).await;
    assert_eq!(applied().await, Some(2));
    // A message that was late.
    renewed(store, &having(one, epoch, 1)).await;
    assert_eq!(applied().await, Some(1));
}

pub(crate) async fn a_replica_that_lacks_more_than_is_kept_drops_all(bench: Bench) {
    let store = &*bench.store;
    let (one, epoch) = member(store).await;
    let mut last = 0;
    while last < LOG_MAX as u64 {
        let announced = store.announce(&changes(ANNOUNCED_MAX)).await.unwrap();
        last = announced.last;
    }
    let News::Entries(all) = renewed(store, &having(one, epoch, 0)).await.news else {
        panic!("all that it lacks is kept");
    };
    assert_eq!(all.len(), LOG_MAX);
    let newest = change(7);
    store.announce(&[newest]).await.unwrap();
    let told = renewed(store, &having(one, epoch, 0)).await;
    assert_eq!((told.news, told.last), (News::DropAll, last + 1));
    let News::Entries(kept) = renewed(store, &having(one, epoch, 1)).await.news else {
        panic!("all that it lacks is kept");
    };
    assert_eq!(kept[..LOG_MAX - 1], all[1..]);
    assert_eq!(kept.last(), Some(&newest));
}

pub(crate) async fn a_replica_that_knows_what_never_was_drops_all(bench: Bench) {
    let store = &*bench.store;
    let (one, epoch) = member(store).await;
    store.announce(&changes(2)).await.unwrap();
    let foreign = entropy::epoch().unwrap();
    for renewal in [
        having(one, epoch, 3),
        having(one, epoch, u64::MAX),
        having(one, foreign, 2),
    ] {
        renewed(store, &having(one, epoch, 2)).await;
        assert_eq!(standing(store, one).await.unwrap().applied, 2);
        assert_eq!(renewed(store, &renewal).await.news, News::DropAll);
        assert_eq!(standing(store, one).await.unwrap().applied, 0);
    }
}

pub(crate) async fn an_announcement_tells_who_answers_from_memory(bench: Bench) {
    let store = &*bench.store;
    let nobody = store.announce(&changes(2)).await.unwrap();
    assert_eq!((nobody.last, nobody.members.len()), (2, 0));
    let (one, epoch) = member(store).await;
    let (other, _) = member(store).await;
    renewed(store, &having(one, epoch, 2)).await;
    let announced = store.announce(&changes(3)).await.unwrap();
    assert_eq!((announced.epoch, announced.last), (epoch, 5));
    let known = |applied, renewal| Member { applied, renewal };
    let expected = [(one, known(2, 3)), (other, known(0, 2))].into();
    assert_eq!(announced.members, expected);
    let attendance = store.attendance().await.unwrap();
    assert_eq!(attendance.epoch, epoch);
    assert_eq!(attendance.members, expected);
}

pub(crate) async fn announcements_at_once_are_numbered_without_a_gap(bench: Bench) {
    let (one, epoch) = member(&*bench.store).await;
    let mut tasks = JoinSet::new();
    for count in 1..=40 {
        let store = bench.store.clone();
        tasks.spawn(async move {
            let changes = changes(count);
            (store.announce(&changes).await.unwrap().last, changes)
        });
    }
    let mut announced = tasks.join_all().await;
    announced.sort_by_key(|(last, _)| *last);
    let News::Entries(told) = renewed(&*bench.store, &having(one, epoch, 0)).await.news else {
        panic!("all that it lacks is kept");
    };
    let (mut sum, mut expected) = (0, Vec::new());
    for (last, changes) in announced {
        sum += changes.len() as u64;
        assert_eq!(last, sum);
        expected.extend(changes);
    }
    assert_eq!(told, expected);
}

pub(crate) async fn a_replica_that_has_renewed_since_is_not_struck_off(bench: Bench) {
    let store = &*bench.store;
    let (one, epoch) = member(store).await;
    let (other, _) = member(store).await;
    renewed(store, &having(one, epoch, 0)).await;
    let both = Absent {
        epoch,
        members: vec![(one, 1), (other, 2)],
    };
    store.strike(&both).await.unwrap();
    assert_eq!(standing(store, one).await.unwrap().renewal, 3);
    assert_eq!(standing(store, other).await, None);
    let foreign = entropy::epoch().unwrap();
    for struck in [
        absent(epoch, one, 4),
        absent(epoch, replica(), 3),
        absent(foreign, one, 3),
    ] {
        store.strike(&struck).await.unwrap();
        assert!(standing(store, one).await.is_some());
    }
    store.strike(&absent(epoch, one, 3)).await.unwrap();
    assert_eq!(standing(store, one).await, None);
}

pub(crate) async fn a_replica_that_was_struck_off_drops_all(bench: Bench) {
    let store = &*bench.store;
    let (one, epoch) = member(store).await;
    store.strike(&absent(epoch, one, 1)).await.unwrap();
    assert_eq!(store.announce(&changes(1)).await.unwrap().members.len(), 0);
    let told = renewed(store, &having(one, epoch, 0)).await;
    assert_eq!(told.news, News::DropAll);
    assert_eq!(standing(store, one).await.unwrap().applied, 0);
    // Somebody else waited for it in vain, too, before it came back.
    store.strike(&absent(epoch, one, 1)).await.unwrap();
    assert!(standing(store, one).await.is_some());
}

pub(crate) async fn a_replica_that_has_resigned_is_waited_for_no_more(bench: Bench) {
    let store = &*bench.store;
    let (one, _) = member(store).await;
    let (other, _) = member(store).await;
    for _ in 0..2 {
        store.resign(one).await.unwrap();
        let waited_for = store.announce(&changes(1)).await.unwrap().members;
        assert_eq!(waited_for.into_keys().collect::<Vec<_>>(), [other]);
    }
}

pub(crate) async fn what_is_announced_is_heard_everywhere(bench: Bench) {
    let beside = bench.beside().await;
    let mut nudges = beside.nudges();
    let (one, epoch) = member(&*beside).await;
    // Whoever listens from another process begins to in its own time.
    let heard = async {
        let mut announced = Vec::new();
        loop {
            let changes = changes(2);
            let last = bench.store.announce(&changes).await.unwrap().last;
            announced.push((last, changes));
            let waiting = tokio::time::timeout(Duration::from_millis(20), nudges.recv());
            if let Ok(heard) = waiting.await
                && let Heard::Nudge(nudge) = heard.unwrap()
            {
                return (nudge, announced);
            }
        }
    };
    let (nudge, announced) = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(nudge.epoch, epoch);
    assert!(announced.contains(&(nudge.last, nudge.entries)));
    // It is no renewal.
    assert_eq!(standing(&*beside, one).await.unwrap().renewal, 1);
}

pub(crate) async fn a_store_keeps_its_registry_as_the_rule_does(bench: Bench) {
    walk(&*bench.store, true, 11, 3000).await;
}

pub(crate) async fn a_closed_store_gives_no_lease(bench: Bench) {
    let (one, epoch) = member(&*bench.store).await;
    bench.store.close().await;
    assert!(bench.store.renew(&having(one, epoch, 0)).await.is_err());
}
