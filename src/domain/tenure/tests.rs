//! Rules of tenures: one holder at a time, growing fences, and a clock of life that is kept.

use super::*;
use crate::domain::absence::Absence;
use crate::domain::lease::LeaseMark;
use crate::domain::name::{PoolName, Reason};
use crate::domain::profile::Profile;
use crate::domain::token::tests::{at, draft, replaced};
use crate::domain::token::{Draft, Expiration};
use crate::domain::update::Patch;

const MINUTE: Duration = Duration::from_secs(60);

fn pooled(ttl: Option<u64>, lifetime: Option<u64>) -> Token {
    let profile = Profile {
        pool: PoolName::parse("gpu").ok(),
        keep_alive_ttl: ttl.map(Duration::from_secs),
        ..Profile::default()
    };
    let after = |seconds| Expiration::After(Duration::from_secs(seconds));
    let draft = Draft {
        profile,
        expiration: lifetime.map_or(Expiration::Never, after),
        ..draft()
    };
    draft.issue(at(1000)).unwrap()
}

fn grant(digit: char) -> Grant {
    Grant {
        mark: LeaseMark::parse(&digit.to_string().repeat(22)).unwrap(),
        holder: Holder::parse("worker").unwrap(),
        duration: MINUTE,
        origin: None,
        digest: draft().digest,
    }
}

fn leased(token: &Token, seconds: u64, digit: char) -> Tenure {
    let mut tenure = token.tenure.clone().unwrap();
    tenure.grant(token, at(seconds), grant(digit));
    tenure
}

#[test]
fn a_lease_is_over_at_the_instant_of_its_end() {
    let token = pooled(None, None);
    let tenure = leased(&token, 1000, 'a');
    let last = Timestamp::from_micros(1_059_999_999);
    assert!(tenure.live(last).is_some());
    assert!(tenure.live(at(1060)).is_none());
    let over = tenure.last(at(1060)).unwrap();
    assert_eq!(over.end(last), None);
    assert_eq!(over.end(at(1060)), Some((at(1060), LeaseEnd::Expired)));
}

#[test]
fn fences_grow_with_the_clock_and_without() {
    let token = pooled(None, None);
    let mut tenure = leased(&token, 1000, 'a');
    assert_eq!(tenure.fence, 1_000_000_000);
    tenure.end(at(1000), LeaseEnd::Released);
    tenure.grant(&token, at(1000), grant('b'));
    assert_eq!(tenure.fence, 1_000_000_001);
    assert_eq!(tenure.live(at(1000)).unwrap().fence, tenure.fence);
}

#[test]
fn eight_ended_leases_are_remembered_for_an_hour() {
    let token = pooled(None, None);
    let mut tenure = token.tenure.clone().unwrap();
    for (digit, second) in ('a'..='k').zip(1000..) {
        tenure.grant(&token, at(second), grant(digit));
        tenure.end(at(second), LeaseEnd::Released);
    }
    assert_eq!(tenure.remembered(at(1100)).count(), ENDED_MAX);
    let mark = |digit| grant(digit).mark;
    assert!(tenure.lease(mark('d'), at(1100)).is_some());
    assert!(tenure.lease(mark('c'), at(1100)).is_none());
    let hour = ENDED_KEPT.as_secs();
    assert!(tenure.lease(mark('d'), at(1003 + hour)).is_none());
    assert!(tenure.lease(mark('e'), at(1003 + hour)).is_some());
    tenure.grant(&token, at(1100), grant('z'));
    assert_eq!(tenure.remembered(at(1100)).count(), 1 + ENDED_MAX);
}

#[test]
fn a_lease_in_force_is_extended_and_never_shortened() {
    let token = pooled(Some(300), None);
    let mut tenure = leased(&token, 1000, 'a');
    let end = |tenure: &Tenure| tenure.leases[0].expire_time;
    tenure.extend(&token, at(1010), Some(Duration::from_secs(10)));
    assert_eq!(end(&tenure), at(1060));
    tenure.extend(&token, at(1010), None);
    assert_eq!(end(&tenure), at(1070));
    assert_eq!(tenure.deadline, Some(at(1370)));
    tenure.extend(&token, at(1070), None);
    assert_eq!(end(&tenure), at(1070), "it was over");
    assert_eq!(tenure.deadline, Some(at(1370)));
}

#[test]
fn a_lease_never_outlives_its_token() {
    let token = pooled(None, Some(30));
    let mut tenure = leased(&token, 1000, 'a');
    assert_eq!(tenure.leases[0].expire_time, at(1030));
    tenure.extend(&token, at(1010), None);
    let end = tenure.leases[0].end(at(1030));
    assert_eq!(end, Some((at(1030), LeaseEnd::Revoked)));
    let patch = Patch {
        expire_time: Some(None),
        ..Patch::default()
    };
    let longer = replaced(token.update(at(1031), &patch));
    let tenure = tenure.changed(&token, &longer, at(1031));
    assert!(tenure.live(at(1031)).is_none(), "it does not come back");
}

#[test]
fn revoking_switching_off_and_an_earlier_end_take_the_lease_along() {
    let token = pooled(Some(300), None);
    let tenure = leased(&token, 1000, 'a');
    let revoked = replaced(token.revoke(at(1010), Reason::default()));
    let after = tenure.changed(&token, &revoked, at(1010));
    let ended = Some((at(1010), LeaseEnd::Revoked));
    assert_eq!((after.leases[0].ended, after.deadline), (ended, None));
    let patch = Patch {
        disabled: Some(true),
        ..Patch::default()
    };
    let off = replaced(token.update(at(1010), &patch));
    let after = tenure.changed(&token, &off, at(1010));
    assert_eq!(
        (after.leases[0].ended, after.deadline),
        (ended, tenure.deadline)
    );
    let patch = Patch {
        expire_time: Some(Some(at(1020))),
        ..Patch::default()
    };
    let shorter = replaced(token.update(at(1010), &patch));
    let after = tenure.changed(&token, &shorter, at(1010));
    assert_eq!(after.leases[0].ended, None);
    assert_eq!(
        after.leases[0].end(at(1020)),
        Some((at(1020), LeaseEnd::Revoked))
    );
}

#[test]
fn the_clock_of_life_is_restarted_by_beats_and_does_not_end_before_a_lease() {
    let token = pooled(Some(300), None);
    assert_eq!(token.tenure.as_ref().unwrap().deadline, Some(at(1300)));
    let mut tenure = leased(&token, 1010, 'a');
    assert_eq!(tenure.deadline, Some(at(1010 + 60 + 300)));
    tenure.release(&token, at(1020), LeaseEnd::Released);
    assert_eq!(tenure.deadline, Some(at(1320)));
    let lasting = pooled(None, None);
    assert_eq!(lasting.tenure.unwrap().deadline, None);
}

#[test]
fn a_changed_span_restarts_the_clock_of_life() {
    let token = pooled(Some(300), None);
    let patch = Patch {
        keep_alive_ttl: Some(Some(MINUTE)),
        ..Patch::default()
    };
    let changed = replaced(token.update(at(1010), &patch));
    let tenure = token.tenure.as_ref().unwrap();
    let after = tenure.changed(&token, &changed, at(1010));
    assert_eq!(after.deadline, Some(at(1070)));
    let renamed = Patch {
        disabled: Some(true),
        ..Patch::default()
    };
    let renamed = replaced(token.update(at(1010), &renamed));
    assert_eq!(&tenure.changed(&token, &renamed, at(1010)), tenure);
}

#[test]
fn a_token_that_nobody_keeps_alive_is_gone_unless_it_was_over_before() {
    let token = pooled(Some(300), None);
    assert!(!token.lapsed(Timestamp::from_micros(1_299_999_999)));
    assert!(token.lapsed(at(1300)));
    assert!(!pooled(Some(300), Some(300)).lapsed(at(2000)), "it expired");
    assert!(!pooled(None, None).lapsed(at(2000)));
    let mut revoked = replaced(token.revoke(at(1010), Reason::default()));
    let tenure = token.tenure.as_ref().unwrap();
    revoked.tenure = Some(tenure.changed(&token, &revoked, at(1010)));
    assert!(!revoked.lapsed(at(2000)));
}

#[test]
fn the_clock_of_life_stands_still_while_nobody_could_call() {
    let token = pooled(Some(300), None);
    let stored = token.tenure.clone().unwrap();
    let absence = Absence {
        from: at(1100),
        until: at(1460),
    };
    let absences = Absences::new(vec![absence], at(1460));
    let seen = token.holding(stored, at(1500), &absences);
    assert_eq!(seen.tenure.as_ref().unwrap().deadline, Some(at(1760)));
    assert!(!seen.lapsed(at(1759)));
    assert!(seen.lapsed(at(1760)));
}
