//! Events that end in the middle, and go on behind a cursor until there is no going on.

use prost_types::Timestamp;
use token_authority::transport::grpc::pb;
use tonic::{Code, Response, Status};

use super::{refused, token};

pub(super) type Events = tokio_stream::Iter<std::vec::IntoIter<Result<pb::WatchResponse, Status>>>;

fn event(cursor: &str, kind: pb::EventType, detail: &str) -> Result<pb::WatchResponse, Status> {
    Ok(pb::WatchResponse {
        cursor: cursor.to_owned(),
        time: Some(Timestamp {
            seconds: 1_700_000_000,
            nanos: 5_000_000,
        }),
        r#type: kind.into(),
        token: Some(token("ci")),
        detail: detail.to_owned(),
    })
}

/// From the beginning, two events, how far there is nothing, and a connection that ends; from there,
/// one more event, and the end of all.
pub(super) fn watch(asked: &pb::WatchRequest) -> Result<Response<Events>, Status> {
    let draining = refused(
        Code::Unavailable,
        "ERROR_REASON_DRAINING",
        "the server is stopping",
    );
    let dropped = refused(Code::OutOfRange, "ERROR_REASON_EVENTS_DROPPED", "too late");
    let nothing = pb::WatchResponse {
        cursor: "c3".to_owned(),
        ..pb::WatchResponse::default()
    };
    let events = match asked.cursor.as_str() {
        "" => vec![
            event("c1", pb::EventType::Created, ""),
            event("c2", pb::EventType::Revoked, "lost"),
            Ok(nothing),
            Err(draining),
        ],
        "c3" => vec![event("c4", pb::EventType::LeaseExpired, "w1"), Err(dropped)],
        _ => return Err(dropped),
    };
    let mut answer = Response::new(tokio_stream::iter(events));
    let begin = match asked.cursor.as_str() {
        "" => "c0",
        cursor => cursor,
    };
    let begin = begin.parse().expect("visible ASCII");
    answer.metadata_mut().insert("watch-cursor", begin);
    Ok(answer)
}
