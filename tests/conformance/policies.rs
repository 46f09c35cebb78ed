//! What a namespace's policy demands of new tokens: an end that is not too late, and room.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::domain::caller::Reach;
use token_authority::domain::page::PageSize;
use token_authority::domain::policy::Bounds;
use token_authority::domain::token::{Draft, Expiration, REPLAY_WINDOW, Refusal};
use token_authority::store::{Creation, StoreError};

use crate::fixture::{Bench, everything};
use crate::support::drafts::{draft, namespace, pooled, requested, revoking, willing, within};

/// The same draft where a namespace may hold so many tokens.
fn limited(draft: Draft, tokens_max: u64) -> Draft {
    let bounds = Bounds {
        tokens_max: Some(tokens_max),
        ..Bounds::default()
    };
    Draft { bounds, ..draft }
}

fn full(name: &str, limit: u64) -> Result<Creation, StoreError> {
    let namespace = namespace(name);
    Ok(Creation::Refused(Refusal::NamespaceFull {
        namespace,
        limit,
    }))
}

/// How many tokens the store counts in all namespaces together.
async fn population(bench: &Bench) -> u64 {
    let census = bench.store.census(&Reach::All, None, PageSize::asked(50));
    let populations = census.await.unwrap().populations;
    populations.iter().map(|one| one.tokens).sum()
}

pub(crate) async fn a_namespace_holds_no_more_tokens_than_it_may(bench: Bench) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.create(limited(draft(), 3)).await.id);
    }
    let one_more = || bench.store.create(limited(draft(), 3));
    assert_eq!(one_more().await, full("default", 3));
    assert_eq!(population(&bench).await, 3, "a refused one leaves nothing");
    assert_eq!(bench.walk(&everything(), 50).await.len(), 3);
    // Others go their own way.
    bench.create(limited(within("shop"), 3)).await;
    bench.store.delete(ids[1], willing()).await.unwrap();
    assert!(matches!(one_more().await, Ok(Creation::Created(_))));
    assert_eq!(one_more().await, full("default", 3));
}

pub(crate) async fn a_limit_may_come_late_and_go(bench: Bench) {
    for _ in 0..3 {
        bench.create(draft()).await;
    }
    let lower = bench.store.create(limited(draft(), 2)).await;
    assert_eq!(lower, full("default", 2));
    bench.create(limited(draft(), 4)).await;
    bench.create(draft()).await;
    assert_eq!(population(&bench).await, 5);
}

pub(crate) async fn ended_tokens_take_room_until_they_are_deleted(bench: Bench) {
    let brief = Draft {
        expiration: Expiration::After(Duration::from_secs(1)),
        ..draft()
    };
    let brief = bench.create(limited(brief, 2)).await.id;
    let revoked = bench.create(limited(draft(), 2)).await.id;
    bench.store.change(revoked, revoking("")).await.unwrap();
    bench.pass(Duration::from_secs(2));
    let refused = bench.store.create(limited(draft(), 2)).await;
    assert_eq!(refused, full("default", 2));
    bench.store.delete(brief, willing()).await.unwrap();
    bench.create(limited(draft(), 2)).await;
}

pub(crate) async fn a_request_is_answered_in_a_full_namespace_too(bench: Bench) {
    for first in [requested(1), pooled(requested(2), "gpu")] {
        let again = || bench.store.create(limited(first.clone(), 1));
        let token = bench.create(limited(first.clone(), 1)).await;
        assert_eq!(again().await, Ok(Creation::Taken(token.clone())));
        bench.store.delete(token.id, willing()).await.unwrap();
        let other = bench.create(limited(draft(), 1)).await;
        assert_eq!(again().await, Ok(Creation::Gone));
        bench.pass(REPLAY_WINDOW + Duration::from_millis(1));
        assert_eq!(again().await, full("default", 1));
        bench.store.delete(other.id, willing()).await.unwrap();
    }
}

pub(crate) async fn a_taken_id_is_answered_in_a_full_namespace_too(bench: Bench) {
    let draft = limited(draft(), 1);
    let token = bench.create(draft.clone()).await;
    let taken = bench.store.create(draft).await;
    assert_eq!(taken, Ok(Creation::Taken(token)));
    assert_eq!(population(&bench).await, 1);
}

pub(crate) async fn an_end_beyond_the_longest_lifetime_is_refused_and_leaves_nothing(bench: Bench) {
    let longest = Duration::from_secs(60);
    let bounds = Bounds {
        lifetime_max: Some(longest),
        ..Bounds::default()
    };
    let ending = |expiration| Draft {
        expiration,
        bounds,
        ..draft()
    };
    let last = bench.now().saturating_add(longest);
    let late = last.saturating_add(Duration::from_millis(1));
    for beyond in [Expiration::At(late), Expiration::Never] {
        let refused = bench.store.create(ending(beyond)).await;
        let named = matches!(
            &refused,
            Ok(Creation::Refused(Refusal::Breaks { field, .. })) if field == "expire_time"
        );
        assert!(named, "{beyond:?}: {refused:?}");
    }
    assert_eq!(population(&bench).await, 0);
    let token = bench.create(ending(Expiration::At(last))).await;
    assert_eq!(token.expire_time, Some(last));
}

pub(crate) async fn a_namespace_is_never_overfilled_however_many_come_at_once(bench: Bench) {
    let stores = [bench.store.clone(), bench.beside().await];
    let mut created = BTreeSet::new();
    for _ in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64 {
            let store = stores[n % 2].clone();
            tasks.spawn(async move { store.create(limited(draft(), 10)).await });
        }
        for answer in tasks.join_all().await {
            match answer {
                Ok(Creation::Created(token)) => assert!(created.insert(token.id)),
                refused => assert_eq!(refused, full("default", 10)),
            }
        }
        // Whoever comes first finds room: nobody is turned away for one who is turned away, too.
        assert_eq!(created.len(), 10);
        assert_eq!(population(&bench).await, 10);
        let listed = bench.walk(&everything(), 50).await;
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), created);
        // Room for some of the next ones.
        for _ in 0..4 {
            let id = created.pop_first().unwrap();
            bench.store.delete(id, willing()).await.unwrap();
        }
    }
}
