//! The keep-alive clock: a pooled token that nobody keeps alive is gone at an instant, everywhere,
//! and the clock stands still while nobody could call.

use std::time::Duration;

use token_authority::domain::token::{
    Draft, Expiration, REPLAY_WINDOW, Refusal, Ruling, State, Token, TokenId,
};
use token_authority::store::leases::{Acquired, KeptAlive, LeaseTarget, Released};
use token_authority::store::{Change, Creation, Deletion, Rule};

use crate::fixture::{Bench, everything};
use crate::holding::{HOUR, Held, MICRO, MINUTE, SECOND, changing, gpu, switched};
use crate::support::drafts::{pooled, requested, revoking, swept, willing};
use crate::support::leases::{LEASE, asking, asking_for, beat, beat_of, lasting, living};

/// How long the tokens of these cases live without a beat.
const SPAN: Duration = Duration::from_secs(300);

/// A token that lives for [`SPAN`], made while the authority is seen.
async fn made(bench: &Bench) -> Token {
    bench.be_seen().await;
    bench.create(living(SPAN)).await
}

/// Checks that a token is there for exactly so long from now on, while all is well.
async fn lives_for(bench: &Bench, id: TokenId, span: Duration) {
    let end = bench.now().saturating_add(span);
    bench.pass_seen(span - MICRO).await;
    let found = bench.found(id).await.expect("it is there to the last");
    assert_eq!(found.tenure.unwrap().deadline, Some(end));
    bench.pass(MICRO);
    assert_eq!(bench.found(id).await, None, "it goes at this instant");
}

fn unreachable_rule() -> Rule {
    std::sync::Arc::new(|_, _| panic!("what is gone is not judged"))
}

pub(crate) async fn an_unbeaten_token_is_gone_everywhere_at_its_deadline(bench: Bench) {
    let token = made(&bench).await;
    let held = bench.lease().await;
    bench.give_back(&held).await;
    bench.pass_seen(SPAN - MICRO).await;
    assert_eq!(bench.walk(&everything(), 50).await, [token.id]);
    bench.pass(MICRO);
    assert_eq!(bench.found(token.id).await, None);
    assert_eq!(bench.walk(&everything(), 50).await, []);
    assert_eq!(bench.standing().await, None);
    let by_pool = token_authority::domain::page::Filter {
        pool: token.profile.pool.clone(),
        ..everything()
    };
    assert_eq!(bench.walk(&by_pool, 50).await, []);
    let store = bench.store.clone();
    let changed = store.change(token.id, unreachable_rule()).await;
    assert_eq!(changed, Ok(Change::Absent));
    let deleted = store.delete(token.id, unreachable_rule()).await;
    assert_eq!(deleted, Ok(Deletion::Absent));
    assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty);
    for target in [held.target(), LeaseTarget::Token(token.id)] {
        assert_eq!(bench.release(target).await, Released::Absent);
    }
    for beat in [beat(held.id()), beat_of(token.id)] {
        assert_eq!(bench.keep_alive(&beat).await, KeptAlive::Absent);
    }
}

pub(crate) async fn every_act_of_its_holders_is_a_beat(bench: Bench) {
    let token = made(&bench).await;
    bench.pass_seen(SPAN - SECOND).await;
    bench.kept(&beat_of(token.id)).await;
    bench.pass_seen(SPAN - SECOND).await;
    let held = bench.lease().await;
    bench.pass_seen(LEASE - SECOND).await;
    bench.kept(&beat(held.id())).await;
    bench.pass_seen(SECOND).await;
    bench.give_back(&held).await;
    lives_for(&bench, token.id, SPAN).await;
}

pub(crate) async fn a_token_lives_on_after_its_lease_for_its_whole_span(bench: Bench) {
    let token = made(&bench).await;
    bench.lease().await;
    lives_for(&bench, token.id, LEASE + SPAN).await;
}

pub(crate) async fn a_beat_of_a_leased_token_counts_from_the_end_of_the_lease(bench: Bench) {
    let token = made(&bench).await;
    bench.lease().await;
    bench.pass_seen(SECOND * 10).await;
    bench.kept(&beat_of(token.id)).await;
    lives_for(&bench, token.id, LEASE + SPAN - SECOND * 10).await;
}

pub(crate) async fn what_changes_nothing_about_its_life_is_no_beat(bench: Bench) {
    let token = made(&bench).await;
    let held = bench.lease().await;
    bench.give_back(&held).await;
    bench.pass_seen(SECOND * 100).await;
    bench.ended(held.target(), true).await;
    assert!(!bench.is_held(&held).await);
    bench.change(token.id, switched(true)).await;
    bench.change(token.id, switched(false)).await;
    bench.store.change(token.id, willing()).await.unwrap();
    lives_for(&bench, token.id, SPAN - SECOND * 100).await;
}

pub(crate) async fn six_minutes_away_delete_nothing(mut bench: Bench) {
    let token = made(&bench).await;
    bench.pass_seen(SPAN - SECOND).await;
    bench.store.close().await;
    bench.pass(MINUTE * 6);
    bench.reopen().await;
    assert_eq!(swept(bench.store.as_ref()).await, 0);
    let found = bench.found(token.id).await.expect("nothing is deleted");
    let end = bench.now().saturating_add(SPAN);
    assert_eq!(found.tenure.unwrap().deadline, Some(end));
    lives_for(&bench, token.id, SPAN).await;
    assert_eq!(swept(bench.store.as_ref()).await, 1);
}

pub(crate) async fn an_absence_is_noticed_by_whoever_judges_first(bench: Bench) {
    // Each act comes first once, without anybody having been seen.
    for act in 0..8 {
        let token = made(&bench).await;
        let held: Held = bench.lease().await;
        bench.give_back(&held).await;
        bench.pass(MINUTE * 6);
        let store = bench.store.clone();
        match act {
            0 => assert_eq!(bench.walk(&everything(), 50).await, [token.id]),
            1 => assert_eq!(bench.standing().await, Some([1, 0, 0, 0])),
            2 => assert_eq!(bench.lease().await.token.id, token.id),
            3 => drop(bench.change(token.id, switched(true)).await),
            4 => drop(bench.kept(&beat_of(token.id)).await),
            5 => drop(bench.ended(held.target(), true).await),
            6 => assert_eq!(swept(store.as_ref()).await, 0),
            _ => assert!(bench.found(token.id).await.is_some()),
        }
        let deleted = store.delete(token.id, willing()).await;
        assert_eq!(deleted, Ok(Deletion::Deleted), "after act {act}");
    }
}

pub(crate) async fn who_was_gone_before_an_absence_stays_gone(mut bench: Bench) {
    let token = made(&bench).await;
    bench.pass_seen(SPAN).await;
    assert_eq!(bench.found(token.id).await, None);
    bench.store.close().await;
    bench.pass(MINUTE * 6);
    bench.reopen().await;
    assert_eq!(bench.found(token.id).await, None);
    assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty);
    assert_eq!(swept(bench.store.as_ref()).await, 1);
}

pub(crate) async fn five_seconds_out_of_sight_are_no_absence(bench: Bench) {
    let token = made(&bench).await;
    bench.pass_seen(SPAN - SECOND * 5).await;
    bench.pass(SECOND * 5);
    assert_eq!(bench.found(token.id).await, None);
    let other = made(&bench).await;
    bench.pass_seen(SPAN - SECOND * 5).await;
    bench.pass(SECOND * 5 + MICRO);
    assert!(bench.found(other.id).await.is_some());
    lives_for(&bench, other.id, SPAN).await;
}

pub(crate) async fn each_absence_gives_the_whole_span_again(mut bench: Bench) {
    let token = made(&bench).await;
    for _ in 0..3 {
        bench.pass_seen(SPAN - SECOND).await;
        bench.store.close().await;
        bench.pass(HOUR);
        bench.reopen().await;
    }
    bench.be_seen().await;
    lives_for(&bench, token.id, SPAN).await;
}

pub(crate) async fn a_lease_is_not_extended_by_an_absence(bench: Bench) {
    let token = made(&bench).await;
    let held = bench.lease().await;
    bench.pass(MINUTE * 6);
    assert!(!bench.is_held(&held).await);
    bench.be_seen().await;
    lives_for(&bench, token.id, SPAN).await;
}

pub(crate) async fn a_token_without_a_span_needs_nobody(bench: Bench) {
    let token = bench.create(lasting()).await;
    let held = bench.lease().await;
    bench.give_back(&held).await;
    bench.pass_seen(MINUTE * 20).await;
    bench.pass(HOUR * 24 * 365);
    let found = bench.found(token.id).await.unwrap();
    assert_eq!(found.tenure.unwrap().deadline, None);
}

pub(crate) async fn a_token_that_was_over_before_is_kept_as_any_other(bench: Bench) {
    bench.be_seen().await;
    let ending = Draft {
        expiration: Expiration::After(SPAN - SECOND),
        ..living(SPAN)
    };
    let expired = bench.create(ending).await.id;
    let revoked = bench.create(living(SPAN)).await.id;
    bench.change(revoked, revoking("lost")).await;
    let off = bench.create(living(SPAN)).await.id;
    bench.change(off, switched(true)).await;
    bench.pass_seen(SPAN - SECOND).await;
    for (id, state) in [(expired, State::Expired), (revoked, State::Revoked)] {
        let refused = bench.keep_alive(&beat_of(id)).await;
        assert_eq!(refused, KeptAlive::Refused(Refusal::Over { state }));
    }
    bench.pass_seen(SECOND * 2).await;
    assert!(bench.found(expired).await.is_some());
    assert!(bench.found(revoked).await.is_some());
    assert_eq!(bench.found(off).await, None, "switched off, it lives on");
    assert_eq!(bench.standing().await, Some([0, 0, 2, 0]));
    assert_eq!(swept(bench.store.as_ref()).await, 1);
}

pub(crate) async fn a_token_that_is_switched_off_can_be_kept_alive(bench: Bench) {
    let token = made(&bench).await;
    bench.change(token.id, switched(true)).await;
    bench.pass_seen(SPAN - SECOND).await;
    bench.kept(&beat_of(token.id)).await;
    lives_for(&bench, token.id, SPAN).await;
}

pub(crate) async fn a_changed_span_counts_from_its_change(bench: Bench) {
    let spanning = |span| changing(move |token| token.profile.keep_alive_ttl = span);
    let token = made(&bench).await;
    bench.pass_seen(SECOND * 10).await;
    bench.change(token.id, spanning(None)).await;
    bench.pass_seen(SPAN * 2).await;
    let found = bench.found(token.id).await.unwrap();
    assert_eq!(found.tenure.unwrap().deadline, None);
    bench.change(token.id, spanning(Some(MINUTE))).await;
    bench.pass_seen(MINUTE - SECOND).await;
    let longer = bench.change(token.id, spanning(Some(SPAN))).await;
    let end = bench.now().saturating_add(SPAN);
    assert_eq!(longer.tenure.unwrap().deadline, Some(end));
    lives_for(&bench, token.id, SPAN).await;
}

pub(crate) async fn a_sweep_takes_those_that_are_gone_and_nobody_else(bench: Bench) {
    bench.be_seen().await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        bench.create(living(SPAN)).await;
        kept.push(bench.create(living(SPAN * 2)).await.id);
    }
    // No two tokens of a namespace are equally old.
    bench.pass_seen(SPAN - MICRO).await;
    assert_eq!(swept(bench.store.as_ref()).await, 0);
    bench.pass(SECOND);
    assert_eq!(swept(bench.store.as_ref()).await, 5);
    assert_eq!(swept(bench.store.as_ref()).await, 0);
    kept.reverse();
    assert_eq!(bench.walk(&everything(), 50).await, kept);
    // Those that were kept alive go later.
    for id in &kept[..2] {
        bench.kept(&beat_of(*id)).await;
    }
    bench.pass_seen(SPAN).await;
    assert_eq!(swept(bench.store.as_ref()).await, 3);
    bench.pass_seen(SPAN).await;
    assert_eq!(swept(bench.store.as_ref()).await, 2);
}

pub(crate) async fn the_request_of_a_gone_token_is_known_as_long_as_any_other(bench: Bench) {
    bench.be_seen().await;
    let mut draft = pooled(requested(1), "gpu");
    draft.profile.keep_alive_ttl = Some(SPAN);
    let token = bench.create(draft.clone()).await;
    bench.pass_seen(REPLAY_WINDOW - MICRO).await;
    assert_eq!(bench.found(token.id).await, None);
    assert_eq!(swept(bench.store.as_ref()).await, 0);
    match bench.store.create(draft.clone()).await {
        Ok(Creation::Taken(taken)) => assert_eq!(taken.id, token.id),
        other => panic!("unexpected {other:?}"),
    }
    bench.pass(MICRO);
    assert_eq!(swept(bench.store.as_ref()).await, 1);
    bench.create(draft).await;
}

pub(crate) async fn a_token_is_judged_with_its_life_as_it_is(bench: Bench) {
    let token = made(&bench).await;
    bench.pass(MINUTE * 6);
    let end = bench.now().saturating_add(SPAN);
    let seen: Rule = std::sync::Arc::new(move |token, _| {
        let deadline = token.tenure.as_ref().and_then(|tenure| tenure.deadline);
        assert_eq!(deadline, Some(end));
        Ruling::Keep
    });
    let kept = bench.store.change(token.id, seen).await;
    assert!(matches!(kept, Ok(Change::Kept(..))), "{kept:?}");
}

/// Whoever says that a token is gone was there: no absence takes that back.
pub(crate) async fn who_was_found_gone_stays_gone(bench: Bench) {
    for act in 0..5 {
        let token = made(&bench).await;
        bench.pass_seen(SPAN - SECOND).await;
        bench.pass(SECOND * 2);
        match act {
            0 => assert_eq!(bench.found(token.id).await, None),
            1 => assert_eq!(bench.standing().await, None),
            2 => assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty),
            3 => assert_eq!(bench.walk(&everything(), 50).await, []),
            _ => assert_eq!(swept(bench.store.as_ref()).await, 1),
        }
        bench.pass(MINUTE * 6);
        assert_eq!(bench.found(token.id).await, None, "after act {act}");
        assert_eq!(bench.standing().await, None, "after act {act}");
        assert_eq!(bench.ask(&asking(&gpu())).await, Acquired::Empty);
        swept(bench.store.as_ref()).await;
    }
}

pub(crate) async fn a_token_that_was_given_back_early_vanishes_in_time(bench: Bench) {
    let spanning = |span| changing(move |token| token.profile.keep_alive_ttl = Some(span));
    for act in 0..3 {
        let token = made(&bench).await;
        let held = bench.acquire(&asking_for(&gpu(), HOUR * 2)).await;
        bench.pass_seen(SPAN).await;
        assert_eq!(swept(bench.store.as_ref()).await, 0, "it is leased");
        match act {
            0 => {}
            1 => drop(bench.change(token.id, changing(|_| ())).await),
            _ => drop(bench.change(token.id, spanning(MINUTE)).await),
        }
        bench.give_back(&held).await;
        bench.pass_seen(if act == 2 { MINUTE } else { SPAN }).await;
        assert_eq!(bench.found(token.id).await, None);
        let removed = swept(bench.store.as_ref()).await;
        assert_eq!(removed, 1, "what is gone takes no room: {act}");
    }
}
