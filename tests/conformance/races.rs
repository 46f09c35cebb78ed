//! Many at once: one winner, nothing lost, nothing doubled.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use token_authority::domain::name::TokenName;
use token_authority::domain::page::PageSize;
use token_authority::domain::profile::Profile;
use token_authority::domain::token::{Draft, Ruling, Token, TokenId};
use token_authority::store::{Change, Creation, Deletion, Rule, Store};

use crate::fixture::{Bench, everything};
use crate::support::drafts::{draft, owned, pooled, requested, revoking, saying, willing};

/// Runs `count` acts at once and answers what they answered.
async fn at_once<T, F>(
    bench: &Bench,
    count: usize,
    act: impl Fn(Arc<dyn Store>, usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count)
        .map(|n| tokio::spawn(act(bench.store.clone(), n)))
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no act panics"));
    }
    answers
}

/// How many created, and the ids that anybody was told.
fn creations(answers: Vec<Creation>) -> (usize, BTreeSet<TokenId>) {
    let created = answers
        .iter()
        .filter(|answer| matches!(answer, Creation::Created(_)))
        .count();
    let id = |answer| match answer {
        Creation::Created(token) | Creation::Taken(token) => token.id,
        other => panic!("unexpected {other:?}"),
    };
    (created, answers.into_iter().map(id).collect())
}

pub(crate) async fn one_of_many_wins_an_id(bench: Bench) {
    let id = draft().id;
    let answers = at_once(&bench, 32, |store, n| async move {
        let name = TokenName::parse(&n.to_string()).unwrap();
        let named = saying(Profile {
            name,
            ..Profile::default()
        });
        store.create(Draft { id, ..named }).await.unwrap()
    });
    assert_eq!(creations(answers.await), (1, BTreeSet::from([id])));
    assert_eq!(bench.walk(&everything(), 50).await, [id]);
}

pub(crate) async fn one_request_makes_one_token(bench: Bench) {
    let answers = at_once(&bench, 32, |store, _| async move {
        store.create(requested(1)).await.unwrap()
    });
    assert_eq!(
        creations(answers.await),
        (1, BTreeSet::from([requested(1).id]))
    );
    assert_eq!(bench.walk(&everything(), 50).await, [requested(1).id]);
}

pub(crate) async fn one_request_makes_one_token_in_one_of_many_pools(bench: Bench) {
    let pools = ["a", "b", "c", "d"];
    let answers = at_once(&bench, 32, move |store, n| async move {
        let draft = if n % 5 == 4 {
            requested(1)
        } else {
            pooled(requested(1), pools[n % 5])
        };
        store.create(draft).await.unwrap()
    });
    let (created, ids) = creations(answers.await);
    assert_eq!((created, ids.len()), (1, 1));
    assert_eq!(
        bench.walk(&everything(), 50).await,
        ids.into_iter().collect::<Vec<_>>()
    );
}

pub(crate) async fn one_of_many_revokes(bench: Bench) {
    let id = bench.create(draft()).await.id;
    let answers = at_once(&bench, 16, move |store, n| async move {
        store.change(id, revoking(&n.to_string())).await.unwrap()
    });
    let mut reasons = BTreeSet::new();
    let mut changed = 0;
    for answer in answers.await {
        match answer {
            Change::Changed(token) => {
                changed += 1;
                reasons.insert(token.revoked.unwrap().reason.as_str().to_owned());
            }
            Change::Kept(token, _) => {
                reasons.insert(token.revoked.unwrap().reason.as_str().to_owned());
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((changed, reasons.len()), (1, 1));
}

pub(crate) async fn changes_do_not_overwrite_each_other(bench: Bench) {
    let id = bench.create(draft()).await.id;
    // Each adds its letter to the name; a lost update would lose a letter.
    let answers = at_once(&bench, 8, move |store, n| async move {
        let letter = char::from(b'a' + u8::try_from(n).unwrap());
        let rule: Rule = Arc::new(move |token: &Token, now| {
            let mut changed = token.clone();
            let longer = format!("{}{letter}", token.profile.name.as_str());
            changed.profile.name = TokenName::parse(&longer).unwrap();
            changed.update_time = now;
            Ruling::Replace(Box::new(changed))
        });
        store.change(id, rule).await.unwrap()
    });
    let revisions: BTreeSet<u64> = answers
        .await
        .into_iter()
        .map(|answer| match answer {
            Change::Changed(token) => token.revision,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(revisions.len(), 8, "no revision twice");
    let token = bench.found(id).await.unwrap();
    assert_eq!(
        token
            .profile
            .name
            .as_str()
            .chars()
            .collect::<BTreeSet<_>>()
            .len(),
        8
    );
    assert_eq!(Some(&token.revision), revisions.last());
}

pub(crate) async fn a_deletion_and_a_revocation_end_in_an_absent_token(bench: Bench) {
    for _ in 0..10 {
        let id = bench.create(draft()).await.id;
        let answers = at_once(&bench, 8, move |store, n| async move {
            if n == 3 {
                assert_eq!(store.delete(id, willing()).await, Ok(Deletion::Deleted));
            } else {
                store.change(id, revoking("")).await.unwrap();
            }
        });
        answers.await;
        assert_eq!(bench.found(id).await, None);
    }
}

pub(crate) async fn one_of_many_deletes(bench: Bench) {
    let id = bench.create(draft()).await.id;
    let answers = at_once(&bench, 16, move |store, _| async move {
        store.delete(id, willing()).await.unwrap()
    });
    let deleted = answers
        .await
        .into_iter()
        .filter(|answer| *answer == Deletion::Deleted)
        .count();
    assert_eq!(deleted, 1);
}

pub(crate) async fn every_token_created_at_once_is_listed_once(bench: Bench) {
    let answers = at_once(&bench, 200, |store, n| async move {
        store
            .create(pooled(owned("ann"), ["a", "b"][n % 2]))
            .await
            .unwrap()
    });
    let (created, ids) = creations(answers.await);
    assert_eq!((created, ids.len()), (200, 200));
    let listed = bench.walk(&everything(), 17).await;
    assert_eq!(listed.len(), 200);
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids);
}

pub(crate) async fn lists_during_creates_never_skip_what_was_there(bench: Bench) {
    let mut before = Vec::new();
    for _ in 0..30 {
        before.push(bench.create(draft()).await.id);
    }
    before.reverse();
    let creating = tokio::spawn({
        let store = bench.store.clone();
        async move {
            for _ in 0..100 {
                store.create(draft()).await.unwrap();
            }
        }
    });
    while !creating.is_finished() {
        let page = bench
            .store
            .list(&everything(), None, PageSize::asked(1000))
            .await
            .unwrap();
        let ids: Vec<TokenId> = page.tokens.iter().map(|token| token.id).collect();
        assert!(ids.ends_with(&before), "{} listed", ids.len());
    }
    creating.await.unwrap();
}
