//! The acts on tokens: what they cost, and what stands when many do them at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use token_authority::clock::ManualClock;
use token_authority::domain::caller::Reach;
use token_authority::domain::name::Namespace;
use token_authority::domain::page::{Filter, PageSize};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{
    Draft, Expiration, REPLAY_WINDOW, Refusal, Ruling, Token, TokenId,
};
use token_authority::store::redis::RedisStore;
use token_authority::store::{Change, Creation, Deletion, Rule, StoreError, TokenStore};

use crate::kit::{bytes_of_each, created, everything, listed, marked_server, open, requested_in};
use crate::support::drafts::{draft, owned, pooled, requested, revoking, willing};

fn of_default() -> Filter {
    Filter {
        reach: Reach::only(Namespace::fallback()),
        ..everything()
    }
}

/// Exchanges with Redis that `act` takes.
async fn trips<T>(store: &RedisStore, act: impl Future<Output = T>) -> u64 {
    let before = store.round_trips();
    act.await;
    store.round_trips() - before
}

#[tokio::test]
async fn a_found_token_costs_one_round_trip_an_absent_or_a_new_one_two() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    // Redis learns each script by its first call.
    store.find(token.id).await.unwrap();
    assert_eq!(trips(&store, store.find(token.id)).await, 1);
    assert_eq!(trips(&store, store.find(draft().id)).await, 2);
    assert_eq!(trips(&store, store.create(draft())).await, 2);
    created(&store, owned("ann")).await;
    assert_eq!(trips(&store, store.create(owned("ann"))).await, 3);
    // The directory, the entries, their records.
    let filter = of_default();
    for size in [1, 50] {
        let page = store.list(&filter, None, PageSize::asked(size));
        assert_eq!(trips(&store, page).await, 3);
    }
    store.change(token.id, revoking("lost")).await.unwrap();
    let other = created(&store, draft()).await;
    assert_eq!(
        trips(&store, store.change(other.id, revoking("lost"))).await,
        2
    );
}

#[tokio::test]
async fn a_plain_token_takes_at_most_500_bytes_of_redis() {
    let each = bytes_of_each(draft).await;
    assert!(each <= 500, "{each} bytes");
}

#[tokio::test]
async fn a_token_is_read_back_as_it_was_created_and_changed() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, owned("ann")).await;
    let found = store.find(token.id).await.unwrap();
    assert_eq!(found.token.as_deref(), Some(&token));
    assert!(found.now > token.create_time);
    let Ok(Change::Changed(revoked)) = store.change(token.id, revoking("lost")).await else {
        panic!("the token was not revoked");
    };
    assert!(revoked.revision > token.revision);
    let found = store.find(token.id).await.unwrap();
    assert_eq!(found.token.as_deref(), Some(&revoked));
    let kept = store.change(token.id, revoking("lost")).await;
    assert!(matches!(kept, Ok(Change::Kept(kept, _)) if kept == revoked));
}

#[tokio::test]
async fn an_absent_token_is_neither_changed_nor_deleted() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    let token = created(&store, draft()).await;
    let refuse: Rule = Arc::new(|_, _| Ruling::Refuse(Refusal::OutOfSight));
    assert_eq!(
        store.delete(token.id, refuse).await,
        Ok(Deletion::Refused(Refusal::OutOfSight))
    );
    assert_eq!(
        store.delete(token.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    assert_eq!(
        store.delete(token.id, willing()).await,
        Ok(Deletion::Absent)
    );
    assert_eq!(
        store.change(token.id, revoking("lost")).await,
        Ok(Change::Absent)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_at_once_are_all_kept_under_revisions_of_their_own() {
    let (_server, options) = marked_server().await;
    let store = Arc::new(open(options).await);
    let token = created(&store, draft()).await;
    let one_more: Rule = Arc::new(|token, now| {
        let mut changed = token.clone();
        changed.secrets.current.version += 1;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, rule) = (store.clone(), one_more.clone());
        tasks.spawn(async move {
            match store.change(token.id, rule).await {
                Ok(Change::Changed(token)) => Some((token.secrets.current.version, token.revision)),
                Err(StoreError::Contended(_)) => None,
                other => panic!("{other:?}"),
            }
        });
    }
    let mut done: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    done.sort_unstable();
    assert!(!done.is_empty());
    assert!(
        done.is_sorted_by(|a, b| a.0 + 1 == b.0 && a.1 < b.1),
        "{done:?}"
    );
    let last = store.find(token.id).await.unwrap().token.unwrap();
    assert_eq!(last.secrets.current.version as usize, 1 + done.len());
}

#[tokio::test]
async fn revisions_grow_while_time_stands_still() {
    let (_server, mut options) = marked_server().await;
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    options.clock = Some(Arc::new(ManualClock::at(now)));
    let store = open(options).await;
    let token = created(&store, draft()).await;
    assert_eq!((token.create_time, token.revision), (now, now.micros()));
    match store.change(token.id, revoking("lost")).await {
        Ok(Change::Changed(token)) => assert_eq!(token.revision, now.micros() + 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_draft_that_ends_in_the_past_leaves_nothing_behind() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let late = Draft {
        expiration: Expiration::At(Timestamp::from_micros(1)),
        ..draft()
    };
    let refused = store.create(late).await;
    let past = matches!(
        refused,
        Ok(Creation::Refused(Refusal::ExpireTimePast { .. }))
    );
    assert!(past, "{refused:?}");
    let mut keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    keys.sort();
    assert_eq!(keys, ["ta:store", "ta:{r}:h"], "not even its namespace");
}

/// What two creations of one request answered: the token that both must name.
fn one_token(first: &Token, second: Result<Creation, StoreError>) {
    assert_eq!(second, Ok(Creation::Taken(first.clone())));
}

#[tokio::test]
async fn one_request_makes_one_token_whatever_its_pool() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    let pools = [None, Some("a"), Some("b")];
    for (key, first) in (1..).zip(pools) {
        let token = created(&store, requested_in(key, first)).await;
        for second in pools {
            one_token(&token, store.create(requested_in(key, second)).await);
        }
    }
    assert_eq!(listed(&store, &everything(), 10).await.len(), 3);
}

#[tokio::test]
async fn a_replay_leaves_the_indexes_alone() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    for pool in [None, Some("a")] {
        let token = created(&store, requested_in(1 + u8::from(pool.is_some()), pool)).await;
        let replay = || requested_in(1 + u8::from(pool.is_some()), pool);
        one_token(&token, store.create(replay()).await);
        let cost = trips(&store, store.create(replay())).await;
        assert_eq!(cost, 1 + u64::from(pool.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_repeated_at_once_make_one_token_that_is_listed_once() {
    let (_server, options) = marked_server().await;
    let store = Arc::new(open(options).await);
    for round in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..12 {
            let pool = [None, Some("a"), Some("b")][if round % 2 == 0 { 1 } else { n % 3 }];
            let (store, draft) = (store.clone(), requested_in(round, pool));
            tasks.spawn(async move { store.create(draft).await });
        }
        let mut made = Vec::new();
        let mut named = BTreeSet::new();
        for answer in tasks.join_all().await {
            match answer {
                Ok(Creation::Created(token)) => made.push(token.id),
                Ok(Creation::Taken(token)) => {
                    named.insert(token.id);
                }
                // Another pool was claimed, and its token is not written yet.
                Ok(Creation::Refused(Refusal::RequestDiffers)) if round % 2 == 1 => {}
                other => panic!("{other:?}"),
            }
        }
        let [made] = made.as_slice() else {
            panic!("{} tokens under one request", made.len());
        };
        assert!(named.is_empty() || named == BTreeSet::from([*made]));
        let listed = listed(&store, &everything(), 100).await;
        assert_eq!(listed.len(), usize::from(round) + 1);
        assert!(listed.iter().any(|token| token.id == *made));
    }
}

#[tokio::test]
async fn a_request_is_remembered_for_a_while_after_its_token_was_deleted() {
    let (_server, mut options) = marked_server().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(
        1_700_000_000_000_000,
    )));
    options.clock = Some(clock.clone());
    let store = open(options).await;
    for (key, pool) in [(1, None), (2, Some("a"))] {
        let first = created(&store, requested_in(key, pool)).await;
        // So that the revision of the deletion is its very time.
        clock.advance(Duration::from_millis(1));
        store.delete(first.id, willing()).await.unwrap();
        let others = [pool, None, Some("b")];
        clock.advance(REPLAY_WINDOW - Duration::from_micros(1));
        for other in others {
            let answer = store.create(requested_in(key, other)).await;
            assert_eq!(answer, Ok(Creation::Gone), "key {key}, {other:?}");
        }
        clock.advance(Duration::from_micros(1));
        let second = created(&store, pooled(requested(key), "b")).await;
        assert!(second.revision > first.revision);
        for other in others {
            one_token(&second, store.create(requested_in(key, other)).await);
        }
    }
    assert_eq!(listed(&store, &everything(), 10).await.len(), 2);
}

#[tokio::test]
async fn a_claim_whose_token_was_never_written_is_completed_by_the_same_request_only() {
    let (server, options) = marked_server().await;
    let store = open(options).await;
    let draft = pooled(requested(1), "a");
    let root: TokenId = requested(1).id;
    let claim = format!("ta:{{{}}}:c:{}", root.tag(), root.after_tag());
    let () = server.ask(&["SET", &claim, draft.id.as_str()]).await;
    for other in [None, Some("b")] {
        let answer = store.create(requested_in(1, other)).await;
        let differs = Creation::Refused(Refusal::RequestDiffers);
        assert_eq!(answer, Ok(differs), "{other:?}");
    }
    created(&store, draft).await;
    assert_eq!(listed(&store, &everything(), 10).await.len(), 1);
}

#[tokio::test]
async fn an_id_that_is_taken_answers_its_token_and_keeps_its_place_in_the_list() {
    let (_server, options) = marked_server().await;
    let store = open(options).await;
    let draft = owned("ann");
    let token = created(&store, draft.clone()).await;
    let newer = created(&store, owned("ann")).await;
    one_token(&token, store.create(draft).await);
    assert_eq!(listed(&store, &everything(), 10).await, [newer, token]);
}
