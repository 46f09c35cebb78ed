//! Ended tokens: how long they are listed, and that nothing is left of them after that.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::domain::page::Filter;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Expiration, State, Token, TokenId};
use token_authority::store::{Change, Creation, SWEPT_MAX};

use crate::fixture::{Bench, everything};
use crate::support::drafts::{
    draft, ending_after, ending_at, owned, pooled, requested, revoking, swept, willing,
};

const MICRO: Duration = Duration::from_micros(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn whatever_its_state() -> Filter {
    let all = [
        State::Active,
        State::Disabled,
        State::Revoked,
        State::Expired,
    ];
    Filter {
        states: all.into(),
        ..everything()
    }
}

async fn listed(bench: &Bench) -> BTreeSet<TokenId> {
    bench
        .walk(&whatever_its_state(), 50)
        .await
        .into_iter()
        .collect()
}

/// Checks that a token is there until `time`, and gone at it; listed as long as it can be found.
async fn vanishes_at(bench: &Bench, id: TokenId, time: Timestamp) {
    let last = Timestamp::from_micros(time.micros() - 1);
    bench.clock.set(last);
    assert_eq!(swept(bench.store.as_ref()).await, 0, "too early");
    assert!(bench.found(id).await.is_some() && listed(bench).await.contains(&id));
    bench.pass(MICRO);
    assert_eq!(swept(bench.store.as_ref()).await, 1);
    assert!(bench.found(id).await.is_none() && !listed(bench).await.contains(&id));
    assert_eq!(swept(bench.store.as_ref()).await, 0);
}

fn end(token: &Token) -> Timestamp {
    token.expire_time.unwrap()
}

async fn change(bench: &Bench, id: TokenId, rule: token_authority::store::Rule) -> Token {
    match bench.store.change(id, rule).await {
        Ok(Change::Changed(token)) => token,
        other => panic!("expected a change, got {other:?}"),
    }
}

pub(crate) async fn a_short_lived_token_vanishes_a_day_after_it_expired(bench: Bench) {
    let token = bench.create(ending_after(HOUR)).await;
    vanishes_at(&bench, token.id, end(&token).saturating_add(DAY)).await;
}

pub(crate) async fn a_token_that_lived_for_a_day_vanishes_thirty_days_after_it_expired(
    bench: Bench,
) {
    let day = Draft {
        expiration: Expiration::At(bench.now().saturating_add(DAY)),
        ..draft()
    };
    let token = bench.create(day).await;
    vanishes_at(&bench, token.id, end(&token).saturating_add(DAY * 30)).await;
}

pub(crate) async fn a_revoked_token_vanishes_thirty_days_after_its_revocation(bench: Bench) {
    for made in [draft(), ending_after(HOUR), ending_after(DAY * 400)] {
        let token = bench.create(made).await;
        bench.pass(HOUR / 2);
        let revoked = change(&bench, token.id, revoking("lost")).await;
        let time = revoked.revoked.unwrap().time;
        vanishes_at(&bench, token.id, time.saturating_add(DAY * 30)).await;
    }
}

pub(crate) async fn a_token_without_an_end_never_vanishes(bench: Bench) {
    let token = bench.create(owned("ann")).await;
    bench.pass(DAY * 365 * 50);
    assert_eq!(swept(bench.store.as_ref()).await, 0);
    assert_eq!(bench.found(token.id).await, Some(token));
}

pub(crate) async fn a_token_whose_end_was_moved_later_vanishes_after_the_new_end(bench: Bench) {
    let token = bench.create(ending_after(HOUR)).await;
    let later = end(&token).saturating_add(HOUR * 9);
    change(&bench, token.id, ending_at(Some(later))).await;
    bench.clock.set(end(&token).saturating_add(DAY));
    assert_eq!(
        swept(bench.store.as_ref()).await,
        0,
        "the old end is not its"
    );
    vanishes_at(&bench, token.id, later.saturating_add(DAY)).await;
}

pub(crate) async fn a_token_whose_end_was_moved_earlier_vanishes_after_the_new_end(bench: Bench) {
    let token = bench.create(ending_after(DAY * 400)).await;
    let earlier = bench.now().saturating_add(HOUR);
    change(&bench, token.id, ending_at(Some(earlier))).await;
    vanishes_at(&bench, token.id, earlier.saturating_add(DAY)).await;
}

pub(crate) async fn a_token_whose_end_was_taken_away_stays(bench: Bench) {
    let token = bench.create(ending_after(HOUR)).await;
    change(&bench, token.id, ending_at(None)).await;
    bench.pass(DAY * 365);
    assert_eq!(swept(bench.store.as_ref()).await, 0);
    // And can be given an end again, or be revoked.
    let again = bench.now().saturating_add(HOUR);
    change(&bench, token.id, ending_at(Some(again))).await;
    change(&bench, token.id, ending_at(None)).await;
    let revoked = change(&bench, token.id, revoking("lost")).await;
    let time = revoked.revoked.unwrap().time;
    vanishes_at(&bench, token.id, time.saturating_add(DAY * 30)).await;
}

pub(crate) async fn of_a_vanished_token_nothing_is_left(bench: Bench) {
    let mut made = pooled(owned("ann"), "gpu");
    made.expiration = Expiration::After(HOUR);
    let token = bench.create(made.clone()).await;
    vanishes_at(&bench, token.id, end(&token).saturating_add(DAY)).await;
    let change = bench.store.change(token.id, revoking("")).await;
    assert_eq!(change, Ok(Change::Absent));
    for size in [1, 50] {
        let all = whatever_its_state();
        let by_owner = Filter {
            owner: token.profile.owner.clone(),
            ..all.clone()
        };
        let by_pool = Filter {
            pool: token.profile.pool.clone(),
            ..all.clone()
        };
        for filter in [all, by_owner, by_pool] {
            assert!(bench.walk(&filter, size).await.is_empty());
        }
    }
    // Not even its id is remembered.
    assert_eq!(bench.create(made).await.id, token.id);
}

pub(crate) async fn a_request_is_free_once_its_token_vanished(bench: Bench) {
    let here = requested(1);
    let elsewhere = pooled(requested(2), "gpu");
    for made in [here, elsewhere] {
        let made = Draft {
            expiration: Expiration::After(HOUR),
            ..made
        };
        let first = bench.create(made.clone()).await;
        bench.clock.set(end(&first).saturating_add(HOUR));
        let again = bench.store.create(made.clone()).await;
        assert_eq!(again, Ok(Creation::Taken(first.clone())));
        vanishes_at(&bench, first.id, end(&first).saturating_add(DAY)).await;
        let second = bench.create(made.clone()).await;
        assert!(second.create_time > first.create_time);
        let id = second.id;
        let again = bench.store.create(made).await;
        assert_eq!(again, Ok(Creation::Taken(second)));
        bench.store.delete(id, willing()).await.unwrap();
    }
}

pub(crate) async fn a_deleted_token_does_not_vanish_again(bench: Bench) {
    let token = bench.create(ending_after(HOUR)).await;
    bench.store.delete(token.id, willing()).await.unwrap();
    for _ in 0..5 {
        bench.pass(HOUR * 12);
        assert_eq!(swept(bench.store.as_ref()).await, 0);
    }
    assert!(listed(&bench).await.is_empty());
}

/// Creates `count` tokens that live for an hour, and as many that do not end.
async fn mixed(bench: &Bench, count: usize) -> (Vec<TokenId>, BTreeSet<TokenId>) {
    let (mut ending, mut lasting) = (Vec::new(), BTreeSet::new());
    for _ in 0..count {
        ending.push(bench.create(ending_after(HOUR)).await.id);
        lasting.insert(bench.create(draft()).await.id);
    }
    (ending, lasting)
}

pub(crate) async fn many_vanish_in_bounded_steps_and_nobody_else(bench: Bench) {
    let count = SWEPT_MAX as usize + 100;
    let (ending, lasting) = mixed(&bench, count).await;
    bench.pass(HOUR + DAY + HOUR);
    let mut removed = 0;
    while removed < ending.len() {
        let swept = bench.store.sweep().await.unwrap();
        assert!((1..=SWEPT_MAX as usize).contains(&swept.removed));
        removed += swept.removed;
        assert!(swept.more || removed == ending.len());
    }
    assert_eq!(removed, ending.len());
    assert_eq!(listed(&bench).await, lasting);
}

pub(crate) async fn of_two_who_sweep_at_once_each_token_falls_to_one(bench: Bench) {
    let (ending, lasting) = mixed(&bench, 150).await;
    bench.pass(HOUR + DAY + HOUR);
    let sweeps: Vec<_> = (0..4)
        .map(|_| {
            let store = bench.store.clone();
            tokio::spawn(async move { swept(store.as_ref()).await })
        })
        .collect();
    let mut removed = 0;
    for sweep in sweeps {
        removed += sweep.await.expect("no sweep panics");
    }
    removed += swept(bench.store.as_ref()).await;
    assert_eq!(removed, ending.len());
    assert_eq!(listed(&bench).await, lasting);
}

pub(crate) async fn a_sweep_beside_changes_takes_what_has_ended_only(bench: Bench) {
    let (ending, lasting) = mixed(&bench, 60).await;
    bench.pass(HOUR + DAY + HOUR);
    let later = bench.now().saturating_add(HOUR);
    let store = bench.store.clone();
    let sweep = tokio::spawn(async move { swept(store.as_ref()).await });
    let mut kept = lasting;
    for id in ending {
        let change = bench.store.change(id, ending_at(Some(later))).await;
        match change.expect("the store answers") {
            Change::Changed(token) => assert!(kept.insert(token.id)),
            Change::Absent => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    sweep.await.expect("no sweep panics");
    swept(bench.store.as_ref()).await;
    assert_eq!(listed(&bench).await, kept);
    // Whatever the sweep had noted meanwhile, the new end counts.
    bench.clock.set(later.saturating_add(DAY * 30));
    let ended = kept.len() - 60;
    assert_eq!(swept(bench.store.as_ref()).await, ended);
}
