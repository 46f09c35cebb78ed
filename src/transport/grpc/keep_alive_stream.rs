//! KeepAliveStream: many leases of one worker over one stream, a few beats at once.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::authority::act;

use super::conversation::{Answer, Conversation, StreamBounds};
use super::pb::keep_alive_stream_response::Result as Outcome;
use super::standing::{Standing, Trouble};
use super::{convert, pb, status};

/// Beats of one stream that are under way at once; a peer that sends more is read no further.
const AT_ONCE: usize = 16;

pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<pb::KeepAliveStreamResponse, Status>> + Send>>;

type Worker = Standing<act::KeepAliveStream>;

/// Answers beats until either side ends the stream, or the caller lost its right.
pub(super) fn answers(
    worker: Worker,
    beats: Streaming<pb::KeepAliveStreamRequest>,
    message_bytes: usize,
) -> Answers {
    let call = worker.shown().call.id.clone();
    let worker = Arc::new(worker);
    let lost = worker.clone().lost();
    let answer = move |beat| Answer::Later(answer(worker.clone(), beat));
    let bounds = StreamBounds {
        at_once: AT_ONCE,
        message_bytes,
    };
    Box::pin(Conversation::new(call, beats, answer, lost, bounds))
}

/// The answer to one beat; an error where the stream is to end.
async fn answer(
    worker: Arc<Worker>,
    beat: pb::KeepAliveStreamRequest,
) -> Result<pb::KeepAliveStreamResponse, Status> {
    let pb::KeepAliveStreamRequest { id, request } = beat;
    let outcome = match kept(&worker, request.unwrap_or_default()).await {
        Ok(kept) => Outcome::Response(kept),
        Err(Trouble::Loss(error)) => return Err(error.into()),
        Err(Trouble::Message(error)) => Outcome::Error(status::in_band(&error.into())),
    };
    Ok(pb::KeepAliveStreamResponse {
        id,
        result: Some(outcome),
    })
}

/// Who calls is asked with each beat: a token that was revoked since keeps nothing alive.
async fn kept(
    worker: &Worker,
    request: pb::KeepAliveRequest,
) -> Result<pb::KeepAliveResponse, Trouble> {
    let right = worker.right().await?;
    let authority = worker.authority();
    let result = match convert::beat_order(request, authority.lease_terms()) {
        Ok((id, duration)) => {
            let kept = authority.keep_alive(&right, id, duration).await;
            kept.map(|kept| convert::kept(&kept, Some(id)))
        }
        Err(error) => Err(error),
    };
    right.answered(result).map_err(Trouble::Message)
}
