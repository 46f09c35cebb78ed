//! Drops cached answers of tokens that something happens to; begins again where it broke off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tonic::{Code, Status};

use crate::{cache::AnswerCache, channel::Authority, pb::WatchRequest};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the watch and its guard share.
pub(crate) struct Watched {
    pub(crate) cache: AnswerCache,
    /// Whether events are being told.
    pub(crate) told: AtomicBool,
}

/// Goes on until it is aborted.
pub(crate) async fn watch(mut authority: Authority, namespace: String, watched: Arc<Watched>) {
    let mut cursor = String::new();
    let mut pause = PAUSE_MIN;
    loop {
        let request = WatchRequest {
            namespace: namespace.clone(),
            cursor: cursor.clone(),
            ..WatchRequest::default()
        };
        let before = cursor.clone();
        let error = listen(&mut authority, request, &mut cursor, &watched).await;
        watched.told.store(false, Ordering::Relaxed);
        tracing::warn!(code = ?error.code(), "the watch of events broke");
        if error.code() == Code::OutOfRange {
            cursor.clear();
            watched.cache.clear();
        }
        if cursor != before {
            pause = PAUSE_MIN;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Listens until the stream ends, and answers why it did.
async fn listen(
    authority: &mut Authority,
    request: WatchRequest,
    cursor: &mut String,
    watched: &Watched,
) -> Status {
    let answer = match authority.watch(request).await {
        Ok(answer) => answer,
        Err(error) => return error,
    };
    let begun = answer.metadata().get("watch-cursor");
    if let Some(begun) = begun.and_then(|begun| begun.to_str().ok())
        && cursor.is_empty()
    {
        // Of what happened before, nothing is told.
        watched.cache.clear();
        begun.clone_into(cursor);
    }
    watched.told.store(true, Ordering::Relaxed);
    let mut events = answer.into_inner();
    loop {
        match events.message().await {
            Ok(Some(event)) => {
                *cursor = event.cursor;
                if let Some(token) = event.token {
                    watched.cache.drop_token(&token.token_id);
                }
            }
            Ok(None) => return Status::unavailable("the stream ended"),
            Err(error) => return error,
        }
    }
}
