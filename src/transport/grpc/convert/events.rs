//! Watch on the wire.

use std::collections::BTreeSet;

use crate::authority::error::Error;
use crate::authority::watching::{Occurrence, WatchQuery, Watched};
use crate::domain::event::EventKind;
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::token::TokenId;
use crate::transport::grpc::pb;

use super::{given, namespaces, sound, timestamp, whole_token};

const TYPES_MAX: usize = 32;

pub(in crate::transport) fn watch_query(request: pb::WatchRequest) -> Result<WatchQuery, Error> {
    let pb::WatchRequest {
        namespace,
        types,
        token_id,
        cursor,
    } = request;
    let mut flaws = Violations::default();
    let v = &mut flaws;
    let namespaces = namespaces(v, &namespace);
    if types.len() > TYPES_MAX {
        let count = types.len();
        let flaw = format!("has {count} entries; at most {TYPES_MAX} are allowed");
        v.add("types", Flaw::new(flaw));
    }
    let mut kinds = BTreeSet::new();
    for (at, number) in types.iter().take(TYPES_MAX).enumerate() {
        kinds.extend(v.take(format!("types[{at}]"), kind(*number)));
    }
    let token = given(v, "token_id", &token_id, TokenId::parse);
    let query = namespaces.map(|namespaces| WatchQuery {
        namespaces,
        kinds,
        token,
        cursor,
    });
    sound(query, flaws)
}

fn kind(number: i32) -> Result<EventKind, Flaw> {
    let asked = pb::EventType::try_from(number).ok();
    let known = EventKind::ALL.into_iter();
    let mut known = known.filter(|kind| asked == Some(wire_kind(*kind)));
    known.next().ok_or_else(|| {
        Flaw::new(format!(
            "must be a known type other than EVENT_TYPE_UNSPECIFIED; got {number}"
        ))
    })
}

fn wire_kind(kind: EventKind) -> pb::EventType {
    match kind {
        EventKind::Created => pb::EventType::Created,
        EventKind::Updated => pb::EventType::Updated,
        EventKind::Rotated => pb::EventType::Rotated,
        EventKind::Revoked => pb::EventType::Revoked,
        EventKind::Deleted => pb::EventType::Deleted,
        EventKind::Expiring => pb::EventType::Expiring,
        EventKind::Expired => pb::EventType::Expired,
        EventKind::Leased => pb::EventType::Leased,
        EventKind::Released => pb::EventType::Released,
        EventKind::LeaseExpired => pb::EventType::LeaseExpired,
    }
}

pub(in crate::transport) fn watched(watched: Watched) -> pb::WatchResponse {
    let Watched { cursor, event } = watched;
    let cursor = cursor.to_string();
    let Some(event) = event else {
        return pb::WatchResponse {
            cursor,
            ..pb::WatchResponse::default()
        };
    };
    let Occurrence { kind, seen, detail } = event;
    let mut token = whole_token(&seen);
    // What was left of it then is not known.
    if let Some(quota) = &mut token.quota {
        quota.remaining = 0;
    }
    pb::WatchResponse {
        cursor,
        time: Some(timestamp(seen.left.now)),
        r#type: wire_kind(kind).into(),
        token: Some(token),
        detail,
    }
}
