//! Updates: what changes, what is refused, what is left alone.

use super::*;
use crate::domain::endpoint::Pattern;
use crate::domain::name::{PoolName, Reason};
use crate::domain::profile::Profile;
use crate::domain::token::tests::{at, draft, replaced};
use crate::domain::token::{Draft, Expiration, State};

fn scope(text: &str) -> Vec<Scope> {
    vec![Scope::parse(text).unwrap()]
}

fn refused(ruling: Ruling) -> Refusal {
    match ruling {
        Ruling::Refuse(refusal) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn only_what_the_patch_names_changes() {
    let token = draft().issue(at(100)).unwrap();
    let patch = Patch {
        name: TokenName::parse("new").ok(),
        disabled: Some(true),
        ..Patch::default()
    };
    let changed = replaced(token.update(at(101), &patch));
    assert_eq!(changed.state(at(101)), State::Disabled);
    assert_eq!(changed.update_time, at(101));
    let mut expected = token.clone();
    expected.profile.name = TokenName::parse("new").unwrap();
    expected.profile.disabled = true;
    expected.update_time = at(101);
    assert_eq!(changed, expected);
    assert_eq!(changed.update(at(102), &patch), Ruling::Keep);
}

#[test]
fn a_lost_revision_changes_nothing() {
    let token = draft().issue(at(100)).unwrap();
    let with = |revision| Patch {
        disabled: Some(true),
        revision: Some(revision),
        ..Patch::default()
    };
    assert!(matches!(
        refused(token.update(at(101), &with(token.revision - 1))),
        Refusal::RevisionMoved { .. }
    ));
    replaced(token.update(at(101), &with(token.revision)));
}

#[test]
fn a_revoked_token_is_final_and_an_expired_one_lives_again_by_a_later_end() {
    let token = Draft {
        expiration: Expiration::After(Duration::from_secs(10)),
        ..draft()
    };
    let token = token.issue(at(100)).unwrap();
    let until = |end| Patch {
        expire_time: Some(end),
        ..Patch::default()
    };
    assert_eq!(token.state(at(200)), State::Expired);
    let alive = replaced(token.update(at(200), &until(Some(at(300)))));
    assert_eq!(alive.state(at(200)), State::Active);
    let past = refused(token.update(at(200), &until(Some(at(150)))));
    assert_eq!(past, Refusal::ExpireTimePast { now: at(200) });
    assert_eq!(
        replaced(token.update(at(200), &until(None))).expire_time,
        None
    );
    let revoked = replaced(token.revoke(at(101), Reason::default()));
    let state = State::Revoked;
    let over = refused(revoked.update(at(102), &until(None)));
    assert_eq!(over, Refusal::Over { state });
}

#[test]
fn restrictions_do_not_become_empty_by_accident() {
    let endpoints = Endpoints::new(vec![Pattern::parse("/a/**").unwrap()]);
    let profile = Profile {
        endpoints,
        networks: vec![Network::parse("10.0.0.0/8").unwrap()],
        ..Profile::default()
    };
    let token = Draft { profile, ..draft() }.issue(at(100)).unwrap();
    let no_endpoints = Patch {
        endpoints: Some(Endpoints::default()),
        ..Patch::default()
    };
    let no_networks = Patch {
        networks: Some(Vec::new()),
        ..Patch::default()
    };
    for (patch, named) in [
        (no_endpoints, "token.allowed_endpoints"),
        (no_networks, "token.allowed_cidrs"),
    ] {
        let refusal = refused(token.update(at(101), &patch));
        assert!(matches!(refusal, Refusal::Breaks { field, .. } if field == named));
    }
    let all = Patch {
        endpoints: Some(Endpoints::new(vec![Pattern::parse("*").unwrap()])),
        ..Patch::default()
    };
    replaced(token.update(at(101), &all));
}

#[test]
fn a_pooled_token_takes_no_permission_on_the_authority() {
    let profile = Profile {
        pool: PoolName::parse("gpu").ok(),
        ..Profile::default()
    };
    let token = Draft { profile, ..draft() }.issue(at(100)).unwrap();
    let patch = Patch {
        scopes: Some(scope("authority:read")),
        ..Patch::default()
    };
    let refusal = refused(token.update(at(101), &patch));
    assert!(matches!(refusal, Refusal::Breaks { field, .. } if field == "token.scopes[0]"));
}

#[test]
fn a_new_owner_is_owner_since_then() {
    let token = draft().issue(at(100)).unwrap();
    let owned = |owner: Option<Owner>| Patch {
        owner: Some(owner),
        ..Patch::default()
    };
    let ann = replaced(token.update(at(105), &owned(Owner::parse("ann").ok())));
    assert_eq!(ann.owner_since, at(105));
    let named = Patch {
        name: TokenName::parse("n").ok(),
        ..owned(Owner::parse("ann").ok())
    };
    assert_eq!(replaced(ann.update(at(106), &named)).owner_since, at(105));
    let back = replaced(ann.update(at(105), &owned(None)));
    assert!(
        back.owner_since > ann.owner_since,
        "two changes never share an instant"
    );
}

#[test]
fn a_quota_is_put_adjusted_and_removed() {
    let token = draft().issue(at(100)).unwrap();
    let with = |quota| Patch {
        quota,
        ..Patch::default()
    };
    let adjust = |limit, remaining| QuotaPatch::Adjust {
        limit,
        period: None,
        remaining,
    };
    let none = refused(token.update(at(101), &with(adjust(None, Some(1)))));
    assert!(matches!(none, Refusal::Breaks { field, .. } if field == "token.quota.limit"));
    let ten = replaced(token.update(at(101), &with(adjust(Some(10), None))));
    assert_eq!(ten.profile.quota, Quota::new(10, None).ok());
    let beyond = refused(ten.update(at(102), &with(adjust(Some(5), Some(6)))));
    assert!(matches!(beyond, Refusal::Breaks { field, .. } if field == "token.quota.remaining"));
    let zero = refused(ten.update(at(102), &with(adjust(Some(0), None))));
    assert!(matches!(zero, Refusal::Breaks { field, .. } if field == "token.quota.limit"));
    let gone = replaced(ten.update(at(102), &with(QuotaPatch::Remove)));
    assert_eq!(gone.profile.quota, None);
    assert_eq!(token.reset_limits(at(102)), Ruling::Keep);
}
