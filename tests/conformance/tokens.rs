//! One token: created, found, changed, deleted.

use std::sync::Arc;
use std::time::Duration;

use token_authority::domain::address::Network;
use token_authority::domain::caller::Reach;
use token_authority::domain::endpoint::{Endpoints, Pattern};
use token_authority::domain::limit::Quota;
use token_authority::domain::name::{Description, Owner, TokenName};
use token_authority::domain::page::Filter;
use token_authority::domain::profile::Profile;
use token_authority::domain::scope::Scope;
use token_authority::domain::token::{
    Draft, Expiration, Origin, REPLAY_WINDOW, Refusal, RequestKey, Ruling, Token, TokenId,
};
use token_authority::store::{Change, Creation, Deletion, REREAD_MAX, Rule};
use tokio::task::JoinSet;

use crate::fixture::{BEGIN, Bench, everything};
use crate::support::drafts::{
    draft, labels, namespace, owned, pooled, rate_limits, revoking, willing, within,
};

pub(crate) async fn a_created_token_is_found_as_it_was_issued(bench: Bench) {
    let token = bench.create(draft()).await;
    assert_eq!(token.create_time, BEGIN);
    assert_eq!(bench.found(token.id).await, Some(token));
}

pub(crate) async fn every_field_survives_the_store(bench: Bench) {
    let key = RequestKey([9; 32]);
    let profile = Profile {
        name: TokenName::parse("naïve {name}").unwrap(),
        description: Description::parse("two\nlines").unwrap(),
        owner: Owner::parse("o{w}:n*e r").ok(),
        pool: None,
        scopes: vec![
            Scope::parse("orders:*").unwrap(),
            Scope::parse("authority:read").unwrap(),
        ],
        endpoints: Endpoints::new(vec![Pattern::parse("GET /a/**").unwrap()]),
        networks: vec![
            Network::parse("10.0.0.0/8").unwrap(),
            Network::parse("::1").unwrap(),
        ],
        rate_limits: rate_limits(&[("", 5, 60, 0), ("hour", 100, 3600, 7)]),
        quota: Quota::new(9, Some(Duration::from_secs(60))).ok(),
        labels: labels(&[("a", "1"), ("b/c", "")]),
        disabled: true,
        keep_alive_ttl: None,
    };
    let full = Draft {
        id: TokenId::derived(&key),
        namespace: namespace("team-1"),
        profile,
        expiration: Expiration::After(Duration::from_secs(60)),
        origin: Some(Origin {
            key,
            fingerprint: [8; 32],
        }),
        ..draft()
    };
    let expected = full.issue(BEGIN).unwrap();
    assert_eq!(bench.create(full).await, expected);
    assert_eq!(bench.found(expected.id).await, Some(expected));
    let mut in_pool = pooled(draft(), "gpu");
    in_pool.profile.keep_alive_ttl = Some(Duration::from_micros(77_000_001));
    let token = bench.create(in_pool.clone()).await;
    assert_eq!(token.profile, in_pool.profile);
    assert_eq!(bench.found(token.id).await, Some(token));
}

pub(crate) async fn an_unknown_id_is_absent(bench: Bench) {
    assert_eq!(bench.found(draft().id).await, None);
    let found = bench.store.find(draft().id).await.unwrap();
    assert_eq!(
        found.now, BEGIN,
        "an absent token still tells the store's time"
    );
}

pub(crate) async fn a_taken_id_answers_the_token_that_has_it(bench: Bench) {
    let first = bench.create(draft()).await;
    let second = Draft {
        id: first.id,
        profile: Profile {
            name: TokenName::parse("other").unwrap(),
            ..Profile::default()
        },
        ..draft()
    };
    assert_eq!(
        bench.store.create(second).await,
        Ok(Creation::Taken(first.clone()))
    );
    assert_eq!(bench.found(first.id).await, Some(first.clone()));
    assert_eq!(bench.walk(&everything(), 10).await, [first.id]);
}

pub(crate) async fn an_end_in_the_past_is_refused_and_leaves_nothing(bench: Bench) {
    let late = Draft {
        expiration: Expiration::At(BEGIN),
        ..draft()
    };
    let refused = Creation::Refused(Refusal::ExpireTimePast { now: BEGIN });
    assert_eq!(bench.store.create(late.clone()).await, Ok(refused));
    assert_eq!(bench.found(late.id).await, None);
    assert!(bench.walk(&everything(), 10).await.is_empty());
}

pub(crate) async fn a_token_expires_to_the_millisecond(bench: Bench) {
    let ttl = Duration::from_millis(1500);
    let token = bench
        .create(Draft {
            expiration: Expiration::After(ttl),
            ..draft()
        })
        .await;
    bench.pass(Duration::from_micros(1_499_999));
    let before = bench.store.find(token.id).await.unwrap();
    assert!(!before.token.unwrap().expired(before.now));
    bench.pass(Duration::from_micros(1));
    let after = bench.store.find(token.id).await.unwrap();
    assert!(
        after
            .token
            .expect("an expired token stays")
            .expired(after.now)
    );
}

pub(crate) async fn a_change_is_stored_under_a_greater_revision(bench: Bench) {
    let token = bench.create(draft()).await;
    bench.pass(Duration::from_secs(1));
    let Ok(Change::Changed(revoked)) = bench.store.change(token.id, revoking("leaked")).await
    else {
        panic!("the revocation is stored");
    };
    assert!(revoked.revision > token.revision);
    assert_eq!(revoked.revoked.as_ref().unwrap().time, bench.now());
    assert_eq!(revoked.update_time, bench.now());
    assert_eq!(bench.found(token.id).await, Some(revoked));
}

pub(crate) async fn revisions_grow_while_the_clock_stands_still(bench: Bench) {
    let token = bench.create(draft()).await;
    let touch: Rule = Arc::new(|token, _| Ruling::Replace(Box::new(token.clone())));
    let mut last = token.revision;
    for _ in 0..3 {
        let Ok(Change::Changed(next)) = bench.store.change(token.id, touch.clone()).await else {
            panic!("the change is stored");
        };
        assert!(next.revision > last);
        last = next.revision;
    }
}

pub(crate) async fn a_kept_token_keeps_its_revision(bench: Bench) {
    let token = bench.create(draft()).await;
    let kept = bench.store.change(token.id, willing()).await;
    assert!(matches!(kept, Ok(Change::Kept(kept, _)) if kept == token));
    assert_eq!(bench.found(token.id).await, Some(token));
}

pub(crate) async fn a_refused_change_changes_nothing(bench: Bench) {
    let token = bench.create(draft()).await;
    let refusing: Rule = Arc::new(|_, _| Ruling::Refuse(Refusal::OutOfSight));
    let refused = bench.store.change(token.id, refusing).await;
    assert_eq!(refused, Ok(Change::Refused(Refusal::OutOfSight)));
    assert_eq!(bench.found(token.id).await, Some(token));
}

pub(crate) async fn a_change_of_nothing_is_absent(bench: Bench) {
    assert_eq!(
        bench.store.change(draft().id, revoking("")).await,
        Ok(Change::Absent)
    );
}

pub(crate) async fn a_deleted_token_is_absent_everywhere(bench: Bench) {
    let filled = pooled(owned("ann"), "gpu");
    let token = bench.create(filled).await;
    assert_eq!(
        bench.store.delete(token.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    assert_eq!(bench.found(token.id).await, None);
    assert_eq!(
        bench.store.change(token.id, revoking("")).await,
        Ok(Change::Absent)
    );
    assert_eq!(
        bench.store.delete(token.id, willing()).await,
        Ok(Deletion::Absent)
    );
    let (owner, pool) = (token.profile.owner, token.profile.pool);
    for filter in [
        everything(),
        Filter {
            owner: owner.clone(),
            ..everything()
        },
        Filter {
            pool: pool.clone(),
            ..everything()
        },
        Filter {
            reach: Reach::All,
            ..everything()
        },
    ] {
        assert!(bench.walk(&filter, 10).await.is_empty(), "{filter:?}");
    }
}

pub(crate) async fn a_deleted_id_is_gone_for_a_while_and_then_free(bench: Bench) {
    let token = bench.create(draft()).await;
    bench.store.delete(token.id, willing()).await.unwrap();
    let again = Draft {
        id: token.id,
        ..draft()
    };
    bench.pass(REPLAY_WINDOW - Duration::from_millis(1));
    assert_eq!(bench.store.create(again.clone()).await, Ok(Creation::Gone));
    assert!(bench.walk(&everything(), 10).await.is_empty());
    bench.pass(Duration::from_millis(2));
    assert_eq!(bench.create(again).await.id, token.id);
    assert_eq!(bench.walk(&everything(), 10).await, [token.id]);
}

pub(crate) async fn a_refused_deletion_deletes_nothing(bench: Bench) {
    let token = bench.create(draft()).await;
    let refusing: Rule = Arc::new(|_, _| Ruling::Refuse(Refusal::OutOfSight));
    let refused = bench.store.delete(token.id, refusing).await;
    assert_eq!(refused, Ok(Deletion::Refused(Refusal::OutOfSight)));
    assert_eq!(bench.found(token.id).await, Some(token));
}

pub(crate) async fn a_deletion_of_nothing_is_absent(bench: Bench) {
    assert_eq!(
        bench.store.delete(draft().id, willing()).await,
        Ok(Deletion::Absent)
    );
}

pub(crate) async fn a_new_token_of_an_old_id_has_a_greater_revision(bench: Bench) {
    let old = bench.create(draft()).await;
    let touch: Rule = Arc::new(|token: &Token, _| Ruling::Replace(Box::new(token.clone())));
    let Ok(Change::Changed(old)) = bench.store.change(old.id, touch).await else {
        panic!("changed")
    };
    bench.store.delete(old.id, willing()).await.unwrap();
    bench.pass(REPLAY_WINDOW + Duration::from_secs(2));
    let new = bench
        .create(Draft {
            id: old.id,
            ..draft()
        })
        .await;
    assert!(new.revision > old.revision);
}

pub(crate) async fn namespaces_do_not_share_tokens_in_lists(bench: Bench) {
    let here = bench.create(draft()).await;
    let there = bench.create(within("there")).await;
    assert_eq!(bench.walk(&everything(), 10).await, [here.id]);
    let reach = Reach::only(namespace("there"));
    assert_eq!(
        bench
            .walk(
                &Filter {
                    reach,
                    ..everything()
                },
                10
            )
            .await,
        [there.id]
    );
}

pub(crate) async fn a_token_is_unchanged_for_as_long_as_its_revision_stands(bench: Bench) {
    let mut asked = Vec::new();
    for _ in 0..3 {
        let token = bench.create(draft()).await;
        asked.push((token.id, token.revision));
    }
    let in_pool = bench.create(pooled(draft(), "gpu")).await;
    asked.push((in_pool.id, in_pool.revision));
    asked.push((draft().id, 0));
    let all = [true, true, true, true, false];
    assert_eq!(bench.store.unchanged(&asked).await.unwrap(), all);
    let revoked = bench.store.change(asked[0].0, revoking("")).await;
    assert!(matches!(revoked, Ok(Change::Changed(_))), "{revoked:?}");
    let deleted = bench.store.delete(asked[2].0, willing()).await;
    assert_eq!(deleted, Ok(Deletion::Deleted));
    let some = [false, true, false, true, false];
    assert_eq!(bench.store.unchanged(&asked).await.unwrap(), some);
    let Ok(Change::Changed(revoked)) = revoked else {
        unreachable!("it was looked at");
    };
    let anew = [
        (revoked.id, revoked.revision),
        (revoked.id, revoked.revision + 1),
    ];
    assert_eq!(bench.store.unchanged(&anew).await.unwrap(), [true, false]);
    assert_eq!(
        bench.store.unchanged(&[]).await.unwrap(),
        Vec::<bool>::new()
    );
}

pub(crate) async fn as_many_as_may_be_are_read_again_at_once(bench: Bench) {
    let token = bench.create(draft()).await;
    let asked = vec![(token.id, token.revision); REREAD_MAX];
    let unchanged = bench.store.unchanged(&asked).await.unwrap();
    assert_eq!(unchanged, vec![true; REREAD_MAX]);
}

pub(crate) async fn a_known_token_is_found_again_as_it_stands(bench: Bench) {
    let known = Arc::new(bench.create(draft()).await);
    bench.pass(Duration::from_secs(1));
    let again = bench.store.find_again(&known).await.unwrap();
    assert_eq!(
        (again.now, again.token.unwrap()),
        (bench.now(), known.clone())
    );
    let changed = bench.store.change(known.id, revoking("")).await;
    let again = bench.store.find_again(&known).await.unwrap().token.unwrap();
    assert_eq!(changed, Ok(Change::Changed(Token::clone(&again))));
    assert_eq!(
        bench.store.delete(known.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    assert_eq!(bench.store.find_again(&again).await.unwrap().token, None);
}

pub(crate) async fn reads_that_come_together_find_each_its_own(bench: Bench) {
    let mut all = Vec::new();
    for number in 0..400 {
        all.push(match number % 4 {
            0 => Err(draft().id),
            1 => Ok(bench.create(pooled(draft(), "gpu")).await),
            _ => Ok(bench.create(draft()).await),
        });
    }
    let mut reading = JoinSet::new();
    for expected in all {
        let id = expected.as_ref().map_or_else(|id| *id, |token| token.id);
        let store = bench.store.clone();
        reading.spawn(async move { (store.find(id).await.unwrap().token, expected.ok()) });
    }
    while let Some(read) = reading.join_next().await {
        let (found, expected) = read.unwrap();
        assert_eq!(found.as_deref(), expected.as_ref());
    }
}
