//! KeepAliveStream: many leases of one worker over one stream, a few beats at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::pb::Status as WireStatus;

use prost::Message;

use crate::authority::Authority;
use crate::authority::act::{self, Act};
use crate::authority::error::Error;

use super::caller::Shown;
use super::pb::keep_alive_stream_response::Result as Outcome;
use super::{call, convert, pb, status};

/// Beats of one stream that are under way at once, and answers that wait to be read; a peer that
/// sends more is read no further.
const AT_ONCE: usize = 16;

/// How often it is asked who calls where no beat asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) type Answers = ReceiverStream<Result<pb::KeepAliveStreamResponse, Status>>;

/// A stream of beats, and who sends them.
pub(super) struct Worker {
    pub(super) authority: Arc<Authority>,
    pub(super) shown: Shown,
    /// Longest message that is accepted, in bytes.
    pub(super) message_bytes: usize,
}

impl Worker {
    /// Answers beats until either side ends the stream, or the caller lost its right.
    pub(super) fn serve(self, beats: Streaming<pb::KeepAliveStreamRequest>) -> Answers {
        let (answers, receiver) = mpsc::channel(AT_ONCE);
        let id = self.shown.call.id.clone();
        let worker = Arc::new(self);
        tokio::spawn(call::within(id, worker.answer_all(beats, answers)));
        ReceiverStream::new(receiver)
    }

    async fn answer_all(
        self: Arc<Self>,
        mut beats: Streaming<pb::KeepAliveStreamRequest>,
        answers: mpsc::Sender<Result<pb::KeepAliveStreamResponse, Status>>,
    ) {
        let mut under_way = JoinSet::new();
        let mut lost = std::pin::pin!(self.lost());
        let mut ended = false;
        loop {
            if ended && under_way.is_empty() {
                return;
            }
            let room = !ended && under_way.len() < AT_ONCE;
            tokio::select! {
                () = answers.closed() => return,
                lost = &mut lost => {
                    let _ = answers.send(Err(lost.into())).await;
                    return;
                }
                beat = beats.message(), if room => match beat {
                    Ok(Some(beat)) => {
                        let id = self.shown.call.id.clone();
                        under_way.spawn(call::within(id, self.clone().answer(beat)));
                    }
                    Ok(None) => ended = true,
                    Err(broken) => {
                        let _ = answers.send(Err(self.explained(&broken))).await;
                        return;
                    }
                },
                Some(answer) = under_way.join_next() => {
                    let answer = answer.unwrap_or_else(|panic| {
                        Err(Error::Internal(panic.to_string()).into())
                    });
                    let last = answer.is_err();
                    if answers.send(answer).await.is_err() || last {
                        return;
                    }
                }
            }
        }
    }

    /// Over when the caller has lost its right, though it sends no beat; says how. A store that
    /// cannot say so takes nobody's right.
    async fn lost(&self) -> Error {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is over at once, and the caller was let in just now.
        looks.tick().await;
        loop {
            looks.tick().await;
            if let Err(error) = self.still_permitted().await
                && is_loss(&error)
            {
                return error;
            }
        }
    }

    async fn still_permitted(&self) -> Result<(), Error> {
        let (authority, call) = (&self.authority, &self.shown.call);
        let rpc = act::KeepAliveStream::RPC;
        let by_now = authority.caller_by_now(self.shown.proof(), call).await;
        let session = by_now.map_err(|error| match is_loss(&error) {
            true => authority.unknown_caller(rpc, call, error),
            false => error,
        })?;
        let right = authority.permit::<act::KeepAliveStream>(&session)?;
        right.conclude(Ok(()))
    }

    /// The answer to one beat; an error where the stream is to end.
    async fn answer(
        self: Arc<Self>,
        beat: pb::KeepAliveStreamRequest,
    ) -> Result<pb::KeepAliveStreamResponse, Status> {
        let pb::KeepAliveStreamRequest { id, request } = beat;
        let outcome = match self.kept(request.unwrap_or_default()).await {
            Ok(kept) => Outcome::Response(kept),
            Err(error) if is_loss(&error) => return Err(error.into()),
            Err(error) => Outcome::Error(in_band(&error.into())),
        };
        Ok(pb::KeepAliveStreamResponse {
            id,
            result: Some(outcome),
        })
    }

    /// Who calls is asked with each beat: a token that was revoked since keeps nothing alive.
    async fn kept(&self, request: pb::KeepAliveRequest) -> Result<pb::KeepAliveResponse, Error> {
        let session = self
            .shown
            .session(act::KeepAliveStream::RPC, &self.authority)
            .await?;
        let right = self.authority.permit::<act::KeepAliveStream>(&session)?;
        let result = match convert::beat_order(request, self.authority.lease_terms()) {
            Ok((id, duration)) => self
                .authority
                .keep_alive(&right, id, duration)
                .await
                .map(|kept| convert::kept(&kept, Some(id))),
            Err(error) => Err(error),
        };
        right.conclude(result)
    }

    /// Explains why the stream of beats broke.
    fn explained(&self, broken: &Status) -> Status {
        match broken.code() {
            Code::OutOfRange => status::too_large(self.message_bytes),
            Code::Internal | Code::InvalidArgument => status::undecodable(broken.message()),
            _ => status::with_request_id(broken.clone()),
        }
    }
}

/// Whether the caller may keep nothing alive any more.
fn is_loss(error: &Error) -> bool {
    matches!(
        error,
        Error::Unauthenticated(_) | Error::PermissionMissing { .. }
    )
}

/// A status as an answer within a stream carries it: with the details of a whole call's.
fn in_band(status: &Status) -> WireStatus {
    WireStatus::decode(status.details()).unwrap_or_else(|_| WireStatus {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}
