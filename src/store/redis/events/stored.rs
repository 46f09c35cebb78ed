//! The stored form of an event in the log; it changes by protobuf's rules only.

use std::time::Duration;

use prost::Message;

use crate::domain::event::{Event, EventKind};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::{StoreError, record, tenure};

/// Field numbers are for ever; the time is microseconds since 1970.
#[derive(Clone, PartialEq, Message)]
struct StoredEvent {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    time: u64,
    #[prost(string, tag = "3")]
    token: String,
    #[prost(uint64, tag = "4")]
    revision: u64,
    #[prost(bytes = "vec", tag = "5")]
    record: Vec<u8>,
    /// Empty where the event is not about a lease.
    #[prost(bytes = "vec", tag = "6")]
    tenure: Vec<u8>,
    #[prost(string, tag = "7")]
    detail: String,
}

pub(super) fn encode(event: &Event) -> Vec<u8> {
    let Event {
        kind,
        time,
        token,
        detail,
    } = event;
    let stored = StoredEvent {
        kind: u32::from(number(*kind)),
        time: time.micros(),
        token: token.id.to_string(),
        revision: token.revision,
        record: record::encode(token),
        tenure: tenure::encode(token).unwrap_or_default(),
        detail: detail.clone(),
    };
    stored.encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Event, StoreError> {
    let corrupt = |why: &str| StoreError::Corrupt(format!("an event: {why}"));
    let stored = StoredEvent::decode(bytes).map_err(|error| corrupt(&error.to_string()))?;
    let kind = u8::try_from(stored.kind).ok().and_then(kind);
    let kind = kind.ok_or_else(|| corrupt("of no known kind"))?;
    let id = TokenId::parse(&stored.token).map_err(|_| corrupt("of no token"))?;
    let mut token = record::decode(id, stored.revision, &stored.record)?;
    if !stored.tenure.is_empty() {
        token.tenure = Some(tenure::decode(id, &stored.tenure)?);
    }
    Ok(Event {
        kind,
        time: Timestamp::from_micros(stored.time),
        token,
        detail: stored.detail,
    })
}

/// An event of `token` that is not about a lease.
pub(super) fn event(kind: EventKind, time: Timestamp, token: Token) -> Event {
    let token = Token {
        tenure: None,
        ..token
    };
    let detail = detail(kind, &token);
    Event {
        kind,
        time,
        token,
        detail,
    }
}

/// The word for people, where the token itself says it.
pub(super) fn detail(kind: EventKind, token: &Token) -> String {
    let revoked = token.revoked.as_ref();
    let tenure = token.tenure.as_ref();
    match kind {
        EventKind::Revoked => {
            revoked.map_or_else(String::new, |end| end.reason.as_str().to_owned())
        }
        EventKind::Leased | EventKind::Released | EventKind::LeaseExpired => {
            let lease = tenure.and_then(|tenure| tenure.leases.first());
            lease.map_or_else(String::new, |lease| lease.holder.as_str().to_owned())
        }
        _ => String::new(),
    }
}

/// How far an end is away, in the largest unit that says it whole.
pub(super) fn away(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let whole = |(unit, _): &(u64, &str)| seconds >= *unit && seconds.is_multiple_of(*unit);
    match units.into_iter().find(whole) {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// The numbers of kinds are for ever; scripts write some of them, too.
pub(in crate::store::redis) fn number(kind: EventKind) -> u8 {
    match kind {
        EventKind::Created => 1,
        EventKind::Updated => 2,
        EventKind::Rotated => 3,
        EventKind::Revoked => 4,
        EventKind::Deleted => 5,
        EventKind::Expiring => 6,
        EventKind::Expired => 7,
        EventKind::Leased => 8,
        EventKind::Released => 9,
        EventKind::LeaseExpired => 10,
    }
}

pub(super) fn kind(number: u8) -> Option<EventKind> {
    Some(match number {
        1 => EventKind::Created,
        2 => EventKind::Updated,
        3 => EventKind::Rotated,
        4 => EventKind::Revoked,
        5 => EventKind::Deleted,
        6 => EventKind::Expiring,
        7 => EventKind::Expired,
        8 => EventKind::Leased,
        9 => EventKind::Released,
        10 => EventKind::LeaseExpired,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::{Holder, LeaseMark};
    use crate::domain::name::{PoolName, Reason};
    use crate::domain::profile::Profile;
    use crate::domain::tenure::Grant;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft, replaced};

    #[test]
    fn an_event_is_read_back_whole() {
        let token = draft().issue(at(5)).unwrap();
        let reason = Reason::parse("lost").unwrap();
        let revoked = replaced(token.revoke(at(6), reason));
        for (kind, token) in [(EventKind::Created, token), (EventKind::Revoked, revoked)] {
            let event = event(kind, at(7), token);
            assert_eq!(decode(&encode(&event)), Ok(event));
        }
    }

    #[test]
    fn one_about_a_lease_carries_it() {
        let profile = Profile {
            pool: PoolName::parse("gpu").ok(),
            ..Profile::default()
        };
        let draft = Draft { profile, ..draft() };
        let mut token = draft.issue(at(5)).unwrap();
        let mut tenure = token.tenure.clone().unwrap();
        let grant = Grant {
            mark: LeaseMark::parse(&"a".repeat(22)).unwrap(),
            holder: Holder::parse("worker").unwrap(),
            duration: Duration::from_secs(60),
            origin: None,
            digest: draft.digest.clone(),
        };
        tenure.grant(&token, at(6), grant);
        token.tenure = Some(tenure);
        let kind = EventKind::Leased;
        let leased = Event {
            kind,
            time: at(6),
            detail: detail(kind, &token),
            token,
        };
        assert_eq!(leased.detail, "worker");
        assert_eq!(decode(&encode(&leased)), Ok(leased));
    }

    #[test]
    fn a_damaged_event_is_an_error_and_never_a_panic() {
        let bytes = encode(&event(
            EventKind::Created,
            at(7),
            draft().issue(at(5)).unwrap(),
        ));
        for cut in 0..bytes.len() {
            let _ = decode(&bytes[..cut]);
        }
        assert!(decode(b"").is_err() && decode(b"\xff").is_err());
    }

    #[test]
    fn every_kind_is_known_again_by_its_number() {
        let known: Vec<EventKind> = (0..=u8::MAX).filter_map(kind).collect();
        assert_eq!(known.len(), 10);
        assert!(known.iter().all(|one| kind(number(*one)) == Some(*one)));
    }

    #[test]
    fn an_end_is_so_far_away_in_whole_units() {
        let said = [
            (86_400 * 7, "7d"),
            (7200, "2h"),
            (90, "90s"),
            (60, "1m"),
            (0, "0s"),
        ];
        for (seconds, text) in said {
            assert_eq!(away(Duration::from_secs(seconds)), text);
        }
    }
}
