//! Rules of a token's life, and a sample token for other rooms' tests.

use super::*;
use crate::domain::address::Network;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::name::{Description, Labels, Owner, PoolName, TokenName};

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(crate) fn draft() -> Draft {
    Draft {
        id: TokenId::parse("0123456789ABCDEFGHIJKL").unwrap(),
        namespace: Namespace::fallback(),
        profile: Profile::default(),
        quota_left: None,
        expiration: Expiration::Unsaid,
        brand: Brand::parse("ta").unwrap(),
        digest: SecretDigest {
            key_id: 0,
            bytes: [7; 32],
        },
        origin: None,
        bounds: Bounds::default(),
    }
}

pub(crate) fn replaced(ruling: Ruling) -> Token {
    match ruling {
        Ruling::Replace(token) => *token,
        other => panic!("expected a change, got {other:?}"),
    }
}

#[test]
fn a_token_is_over_at_the_instant_of_its_end() {
    let token = Draft {
        expiration: Expiration::After(Duration::from_secs(60)),
        ..draft()
    }
    .issue(at(100))
    .unwrap();
    assert!(!token.expired(Timestamp::from_micros(159_999_999)));
    assert!(token.expired(at(160)));
}

#[test]
fn an_end_that_is_not_in_the_future_is_refused() {
    let ends = |end| {
        Draft {
            expiration: Expiration::At(end),
            ..draft()
        }
        .issue(at(100))
    };
    assert_eq!(ends(at(100)), Err(Refusal::ExpireTimePast { now: at(100) }));
    assert!(ends(at(101)).is_ok());
}

#[test]
fn each_owner_has_a_token_since_a_later_time() {
    let first = draft().issue(at(5)).unwrap();
    assert_eq!(first.owner_since, at(5));
    assert_eq!(first.handed_over(at(9)), at(9));
    let later = Timestamp::from_micros(at(5).micros() + 1);
    for now in [at(5), at(4)] {
        assert_eq!(
            first.handed_over(now),
            later,
            "the clock stands or goes back"
        );
    }
}

#[test]
fn revoking_twice_keeps_the_first_time_and_reason() {
    let token = draft().issue(at(1)).unwrap();
    let revoked = replaced(token.revoke(at(2), Reason::parse("leaked").unwrap()));
    assert_eq!(revoked.revoke(at(3), Reason::default()), Ruling::Keep);
    assert_eq!(revoked.revoked.as_ref().unwrap().time, at(2));
    assert_eq!(revoked.state(at(9)), State::Revoked);
}

#[test]
fn a_replay_adds_at_most_two_secrets_within_ten_minutes() {
    let origin = Origin {
        key: RequestKey([1; 32]),
        fingerprint: [2; 32],
    };
    let other = Origin {
        key: RequestKey([1; 32]),
        fingerprint: [3; 32],
    };
    let digest = |byte| SecretDigest {
        key_id: 0,
        bytes: [byte; 32],
    };
    let first = Draft {
        origin: Some(origin.clone()),
        ..draft()
    }
    .issue(at(0))
    .unwrap();
    let second = replaced(first.replay(at(1), &origin, digest(1)));
    let third = replaced(second.replay(at(599), &origin, digest(2)));
    assert_eq!(third.secrets.current.digests.len(), 3);
    assert_eq!(
        third.replay(at(599), &origin, digest(3)),
        Ruling::Refuse(Refusal::RequestUsed)
    );
    assert_eq!(
        first.replay(at(600), &origin, digest(3)),
        Ruling::Refuse(Refusal::RequestUsed)
    );
    assert_eq!(
        first.replay(at(1), &other, digest(3)),
        Ruling::Refuse(Refusal::RequestDiffers)
    );
    let revoked = replaced(first.revoke(at(2), Reason::default()));
    assert_eq!(
        revoked.replay(at(3), &origin, digest(3)),
        Ruling::Refuse(Refusal::RequestUsed)
    );
}

#[test]
fn a_pool_shares_one_routing_tag() {
    let pool = PoolName::parse("gpu").unwrap();
    let key =
        |byte| TokenId::derived(&RequestKey([byte; 32])).in_pool(&Namespace::fallback(), &pool);
    assert_eq!(key(1).tag(), key(2).tag());
    assert_ne!(key(1).after_tag(), key(2).after_tag());
    let elsewhere =
        TokenId::derived(&RequestKey([1; 32])).in_pool(&Namespace::parse("other").unwrap(), &pool);
    assert_ne!(elsewhere.tag(), key(1).tag());
}

#[test]
fn the_fingerprint_moves_with_every_argument() {
    let base = draft().fingerprint();
    let with = |profile| Draft { profile, ..draft() };
    let ending = |expiration| Draft {
        expiration,
        ..draft()
    };
    let plain = Profile::default;
    let pattern = Pattern::parse("/a").unwrap();
    let changed = [
        Draft {
            namespace: Namespace::parse("n").unwrap(),
            ..draft()
        },
        with(Profile {
            name: TokenName::parse("n").unwrap(),
            ..plain()
        }),
        with(Profile {
            description: Description::parse("n").unwrap(),
            ..plain()
        }),
        with(Profile {
            owner: Owner::parse("a").ok(),
            ..plain()
        }),
        with(Profile {
            pool: PoolName::parse("a").ok(),
            ..plain()
        }),
        with(Profile {
            scopes: vec![Scope::parse("a").unwrap()],
            ..plain()
        }),
        with(Profile {
            endpoints: Endpoints::new(vec![pattern]),
            ..plain()
        }),
        with(Profile {
            networks: vec![Network::parse("10.0.0.0/8").unwrap()],
            ..plain()
        }),
        with(Profile {
            labels: Labels::parse([("a", "b")].into_iter()).unwrap(),
            ..plain()
        }),
        with(Profile {
            disabled: true,
            ..plain()
        }),
        ending(Expiration::Never),
        ending(Expiration::After(Duration::from_secs(1))),
        ending(Expiration::At(at(1))),
    ];
    let mut seen: Vec<[u8; 32]> = changed.iter().map(Draft::fingerprint).collect();
    seen.push(base);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), changed.len() + 1);
    let same = Draft {
        digest: SecretDigest {
            key_id: 0,
            bytes: [9; 32],
        },
        ..draft()
    };
    assert_eq!(same.fingerprint(), base);
}
