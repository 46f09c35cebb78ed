//! Events: what happened to tokens, in the order in which it did, and what time alone tells.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use token_authority::domain::event::{Event, EventCursor, EventKind};
use token_authority::domain::lease::LeaseEnd;
use token_authority::domain::rotation::{Grace, Rotation};
use token_authority::domain::secret::{Brand, SecretDigest};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Ruling, Token, TokenId};
use token_authority::store::events::EVENTS_MAX;
use token_authority::store::leases::LeaseTarget;
use token_authority::store::{Change, Creation, Deletion, Rule};

use crate::fixture::Bench;
use crate::holding::{HOUR, MINUTE, SECOND, changing, gpu};
use crate::support::drafts::{
    draft, ending_after, ending_at, pooled, requested, revoking, swept, willing, within,
};
use crate::support::leases::{LEASE, asking, lasting};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longest that a store may take to show what was answered, and room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is heard behind a place in the log. Repetitions, which a store may tell, are passed over.
struct Ear {
    next: EventCursor,
    known: BTreeSet<(TokenId, EventKind, u64, Timestamp)>,
}

impl Ear {
    async fn on(bench: &Bench) -> Self {
        Self {
            next: bench.store.last_event().await.expect("the store answers"),
            known: BTreeSet::new(),
        }
    }

    /// All that is told and was not heard yet.
    async fn hear(&mut self, bench: &Bench) -> Vec<Event> {
        while bench.store.tell().await.expect("the store answers").more {}
        let mut heard = Vec::new();
        loop {
            let page = bench.store.events(self.next).await;
            let page = page.expect("the store answers");
            assert!(!page.missed && page.events.len() <= EVENTS_MAX);
            assert!(page.events.is_sorted_by(|one, next| one.0 < next.0));
            if page.next == self.next {
                return heard;
            }
            self.next = page.next;
            let new = page.events.into_iter().map(|(_, event)| event);
            heard.extend(new.filter(|event| {
                let of = (event.token.id, event.kind, event.token.revision, event.time);
                self.known.insert(of)
            }));
        }
    }

    /// The next so many events, and no more than those that are there by then.
    async fn next(&mut self, bench: &Bench, count: usize) -> Vec<Event> {
        let begun = Instant::now();
        let mut heard = Vec::new();
        while heard.len() < count {
            assert!(begun.elapsed() < PATIENCE, "only {heard:?}");
            heard.extend(self.hear(bench).await);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        heard
    }

    /// The next events, which are of these kinds.
    async fn kinds(&mut self, bench: &Bench, expected: &[EventKind]) -> Vec<Event> {
        let heard = self.next(bench, expected.len()).await;
        assert_eq!(kinds(&heard), expected);
        heard
    }
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// As an event shows a token that it is not about as one that is held.
fn plain(token: &Token) -> Token {
    Token {
        tenure: None,
        ..token.clone()
    }
}

fn rotating() -> Rule {
    std::sync::Arc::new(|token, now| {
        let rotation = Rotation {
            brand: Brand::parse("ta").expect("a brand"),
            digest: SecretDigest {
                key_id: SecretDigest::UNKEYED,
                bytes: [8; 32],
            },
            grace: Grace::new(Duration::ZERO).expect("a grace"),
            revision: None,
            origin: None,
        };
        token.rotate(now, &rotation)
    })
}

pub(crate) async fn each_change_is_told_as_what_it_is_and_in_order(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    let created = bench.create(draft()).await;
    bench.pass(SECOND);
    let disabled = bench
        .change(created.id, changing(|token| token.profile.disabled = true))
        .await;
    let rotated = bench.change(created.id, rotating()).await;
    let revoked = bench.change(created.id, revoking("lost")).await;
    bench.pass(SECOND);
    let deleted = bench.store.delete(created.id, willing()).await;
    assert_eq!(deleted, Ok(Deletion::Deleted));
    let expected = [
        (EventKind::Created, &created, ""),
        (EventKind::Updated, &disabled, ""),
        (EventKind::Rotated, &rotated, ""),
        (EventKind::Revoked, &revoked, "lost"),
        (EventKind::Deleted, &revoked, ""),
    ];
    let heard = ear.next(&bench, expected.len()).await;
    let told: Vec<_> = heard
        .iter()
        .map(|event| (event.kind, &event.token, event.detail.as_str()))
        .collect();
    assert_eq!(told, expected);
    let seconds = |event: &Event| event.time.saturating_since(created.create_time).as_secs();
    assert_eq!(
        heard.iter().map(seconds).collect::<Vec<_>>(),
        [0, 1, 1, 1, 2]
    );
}

pub(crate) async fn what_changes_nothing_is_not_told(bench: Bench) {
    let token = bench.create(requested(1)).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    let again = bench.store.create(requested(1)).await;
    assert!(matches!(again, Ok(Creation::Taken(_))));
    let kept = bench.store.change(token.id, willing()).await;
    assert!(matches!(kept, Ok(Change::Kept(..))));
    let unwilling: Rule = std::sync::Arc::new(|token, _| {
        Ruling::Refuse(token_authority::domain::token::Refusal::RevisionMoved {
            asked: 0,
            current: token.revision,
        })
    });
    let refused = bench.store.change(token.id, unwilling.clone()).await;
    assert!(matches!(refused, Ok(Change::Refused(_))));
    let refused = bench.store.delete(token.id, unwilling).await;
    assert!(matches!(refused, Ok(Deletion::Refused(_))));
    let absent = bench.store.delete(draft().id, willing()).await;
    assert_eq!(absent, Ok(Deletion::Absent));
    let last = bench.change(token.id, revoking("")).await;
    let heard = ear.next(&bench, 1).await;
    assert_eq!(kinds(&heard), [EventKind::Revoked]);
    assert_eq!(heard[0].token, last);
}

pub(crate) async fn an_end_is_told_once_for_each_span_before_it(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    let token = bench.create(ending_after(DAY * 10)).await;
    ear.kinds(&bench, &[EventKind::Created]).await;
    bench.pass(DAY * 3 - SECOND);
    assert_eq!(ear.hear(&bench).await, []);
    let times = [
        (SECOND, EventKind::Expiring, "7d"),
        (DAY * 6, EventKind::Expiring, "1d"),
        (DAY, EventKind::Expired, ""),
    ];
    for (span, kind, detail) in times {
        bench.pass(span);
        let heard = ear.kinds(&bench, &[kind]).await;
        assert_eq!(
            (heard[0].detail.as_str(), heard[0].time),
            (detail, bench.now())
        );
        assert_eq!(heard[0].token, token);
        assert_eq!(ear.hear(&bench).await, [], "it was told");
    }
}

pub(crate) async fn what_came_due_while_nobody_told_it_is_told_in_order(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    let token = bench.create(ending_after(DAY * 10)).await;
    ear.kinds(&bench, &[EventKind::Created]).await;
    bench.pass(DAY * 11);
    let expected = [EventKind::Expiring, EventKind::Expiring, EventKind::Expired];
    let heard = ear.kinds(&bench, &expected).await;
    let end = token.expire_time.expect("an end");
    let ahead = heard.iter().map(|event| end.saturating_since(event.time));
    assert_eq!(ahead.collect::<Vec<_>>(), [DAY * 7, DAY, Duration::ZERO]);
}

pub(crate) async fn a_change_beside_an_alarm_does_not_lose_it(bench: Bench) {
    let token = bench.create(ending_after(DAY * 10)).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    bench.pass(DAY * 3);
    bench
        .change(token.id, changing(|token| token.profile.disabled = true))
        .await;
    let heard = ear.next(&bench, 2).await;
    let told: BTreeSet<_> = kinds(&heard).into_iter().collect();
    assert_eq!(told, [EventKind::Updated, EventKind::Expiring].into());
}

pub(crate) async fn a_moved_end_is_told_where_it_is(bench: Bench) {
    let token = bench.create(ending_after(DAY * 10)).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    let end = token.expire_time.expect("an end");
    let later = end.saturating_add(DAY * 10);
    bench.change(token.id, ending_at(Some(later))).await;
    ear.kinds(&bench, &[EventKind::Updated]).await;
    bench.clock.set(end);
    assert_eq!(ear.hear(&bench).await, [], "the old end is not its");
    bench.clock.set(later);
    let last = [EventKind::Expiring, EventKind::Expiring, EventKind::Expired];
    ear.kinds(&bench, &last).await;
    // It lives again, and ends again.
    let last = later.saturating_add(DAY * 2);
    bench.change(token.id, ending_at(Some(last))).await;
    ear.kinds(&bench, &[EventKind::Updated]).await;
    bench.clock.set(last);
    let expected = [EventKind::Expiring, EventKind::Expired];
    ear.kinds(&bench, &expected).await;
}

pub(crate) async fn time_tells_nothing_of_a_token_that_is_revoked_or_has_no_end(bench: Bench) {
    bench.create(draft()).await;
    let revoked = bench.create(ending_after(DAY * 10)).await;
    bench.change(revoked.id, revoking("")).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    bench.pass(DAY * 20);
    let last = bench.create(draft()).await;
    let heard = ear.kinds(&bench, &[EventKind::Created]).await;
    assert_eq!(heard[0].token, last);
}

pub(crate) async fn a_token_that_vanishes_was_told_before(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    bench.create(ending_after(HOUR)).await;
    ear.kinds(&bench, &[EventKind::Created]).await;
    bench.pass(HOUR);
    ear.kinds(&bench, &[EventKind::Expired]).await;
    bench.pass(DAY);
    assert_eq!(swept(bench.store.as_ref()).await, 1);
    assert_eq!(ear.hear(&bench).await, []);
}

pub(crate) async fn a_lease_is_told_from_its_beginning_to_its_end(bench: Bench) {
    bench.create(lasting()).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    let held = bench.lease().await;
    bench.pass(SECOND);
    bench.give_back(&held).await;
    let forced = bench.lease().await;
    bench.pass(SECOND);
    bench
        .ended(LeaseTarget::Token(forced.token.id), false)
        .await;
    let expected = [
        EventKind::Leased,
        EventKind::Released,
        EventKind::Leased,
        EventKind::Released,
    ];
    let heard = ear.kinds(&bench, &expected).await;
    for (event, of) in heard.iter().zip([&held, &held, &forced, &forced]) {
        assert_eq!(plain(&event.token), plain(&of.token));
        assert_eq!(event.detail, "worker");
        let tenure = event.token.tenure.as_ref().expect("how it is held");
        assert_eq!(tenure.leases[0].mark, of.lease.mark);
        let live = tenure.live(event.time).is_some();
        assert_eq!(live, event.kind == EventKind::Leased);
    }
    let why = |event: &Event| {
        let tenure = event.token.tenure.as_ref()?;
        tenure.leases[0].end(event.time).map(|(_, why)| why)
    };
    assert_eq!(why(&heard[1]), Some(LeaseEnd::Released));
    assert_eq!(why(&heard[3]), Some(LeaseEnd::Forced));
}

pub(crate) async fn a_lease_that_is_over_is_told_though_nobody_acts(bench: Bench) {
    bench.create(lasting()).await;
    bench.create(pooled(within("shop"), "gpu")).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    let held = bench.lease().await;
    bench.pass(LEASE / 2);
    ear.kinds(&bench, &[EventKind::Leased]).await;
    bench.pass(LEASE / 2);
    let heard = ear.kinds(&bench, &[EventKind::LeaseExpired]).await;
    assert_eq!(heard[0].time, held.lease.expire_time);
    assert_eq!(heard[0].detail, "worker");
    bench.pass(HOUR * 2);
    assert_eq!(ear.hear(&bench).await, [], "it was told");
}

pub(crate) async fn a_lease_that_another_follows_is_told_to_be_over_once(bench: Bench) {
    bench.create(lasting()).await;
    let mut ear = Ear::on(&bench).await;
    ear.hear(&bench).await;
    bench.lease().await;
    bench.pass(LEASE);
    bench.acquire(&asking(&gpu())).await;
    let expected = [
        EventKind::Leased,
        EventKind::LeaseExpired,
        EventKind::Leased,
    ];
    ear.kinds(&bench, &expected).await;
    assert_eq!(ear.hear(&bench).await, []);
}

pub(crate) async fn a_lease_that_ends_with_its_token_is_told(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    for delete in [false, true] {
        let token = bench.create(lasting()).await;
        bench.lease().await;
        bench.pass(SECOND);
        ear.kinds(&bench, &[EventKind::Created, EventKind::Leased])
            .await;
        let last = match delete {
            true => {
                let deleted = bench.store.delete(token.id, willing()).await;
                assert_eq!(deleted, Ok(Deletion::Deleted));
                EventKind::Deleted
            }
            false => {
                bench.change(token.id, revoking("")).await;
                EventKind::Revoked
            }
        };
        let heard = ear.next(&bench, 2).await;
        let told: BTreeSet<_> = kinds(&heard).into_iter().collect();
        assert_eq!(told, [last, EventKind::Released].into());
    }
}

pub(crate) async fn a_lease_ends_by_the_end_of_its_token_alone(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    bench.create(pooled(ending_after(MINUTE / 2), "gpu")).await;
    bench.lease().await;
    ear.kinds(&bench, &[EventKind::Created, EventKind::Leased])
        .await;
    bench.pass(MINUTE / 2);
    let heard = ear.next(&bench, 2).await;
    let told: BTreeSet<_> = kinds(&heard).into_iter().collect();
    assert_eq!(told, [EventKind::Expired, EventKind::Released].into());
}

pub(crate) async fn pages_follow_each_other_without_gap(bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    let mut made = BTreeSet::new();
    for _ in 0..EVENTS_MAX + 40 {
        made.insert(bench.create(draft()).await.id);
    }
    let heard = ear.next(&bench, made.len()).await;
    let told: BTreeSet<_> = heard.iter().map(|event| event.token.id).collect();
    assert_eq!((heard.len(), told), (made.len(), made));
}

pub(crate) async fn a_cursor_survives_a_restart(mut bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    let first = bench.create(draft()).await;
    ear.kinds(&bench, &[EventKind::Created]).await;
    let last = bench.change(first.id, revoking("")).await;
    bench.store.close().await;
    bench.reopen().await;
    let heard = ear.kinds(&bench, &[EventKind::Revoked]).await;
    assert_eq!(heard[0].token, last);
    assert_eq!(bench.store.last_event().await, Ok(ear.next));
}

pub(crate) async fn an_end_that_came_while_the_store_was_closed_is_told(mut bench: Bench) {
    let mut ear = Ear::on(&bench).await;
    bench.create(ending_after(DAY * 2)).await;
    ear.kinds(&bench, &[EventKind::Created]).await;
    bench.store.close().await;
    bench.pass(DAY * 2);
    bench.reopen().await;
    let expected = [EventKind::Expiring, EventKind::Expired];
    ear.kinds(&bench, &expected).await;
}

pub(crate) async fn of_two_who_tell_at_once_nothing_is_lost(bench: Bench) {
    let beside = bench.beside().await;
    let mut ear = Ear::on(&bench).await;
    let mut made = BTreeSet::new();
    for _ in 0..50 {
        made.insert(bench.create(ending_after(DAY * 2)).await.id);
    }
    ear.next(&bench, made.len()).await;
    bench.pass(DAY);
    let telling = async |store: &dyn token_authority::store::Store| {
        while store.tell().await.expect("the store answers").more {}
    };
    tokio::join!(telling(bench.store.as_ref()), telling(beside.as_ref()));
    let heard = ear.next(&bench, made.len()).await;
    let told: BTreeSet<_> = heard.iter().map(|event| event.token.id).collect();
    assert_eq!(told, made);
    assert!(heard.iter().all(|event| event.kind == EventKind::Expiring));
}

pub(crate) async fn a_closed_store_tells_nothing(bench: Bench) {
    let last = bench.store.last_event().await.expect("the store answers");
    bench.store.close().await;
    assert!(bench.store.events(last).await.is_err());
    assert!(bench.store.last_event().await.is_err());
    assert!(bench.store.tell().await.is_err());
}
