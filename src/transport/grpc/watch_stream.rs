//! Watch: events over one stream, for as long as the caller may hear of them and takes them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::authority::act::{self, Act};
use crate::authority::error::Error;
use crate::authority::watching::Watcher;

use super::caller::Shown;
use super::standing::Standing;
use super::token_service::TokenServiceHandler;
use super::{call, convert, pb};

/// Says where a stream begins.
const CURSOR: &str = "watch-cursor";
/// Events that lie ready for a peer which is not reading just now.
const READY_MAX: usize = 16;
/// How long a peer may take none of them.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Events = ReceiverStream<Answer>;

type Answer = Result<pb::WatchResponse, Status>;

impl TokenServiceHandler {
    pub(super) async fn tell_events(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Events>, Status> {
        let shown = Shown::by(act::Watch::RPC, &request, &self.authority)?;
        let (mut right, _, message) = self.permitted::<act::Watch, _>(request).await?;
        let begun = match convert::watch_query(message) {
            Ok(query) => {
                let namespaces = query.namespaces.clone();
                let watcher = self.authority.watch(&mut right, query).await;
                watcher.map(|watcher| (watcher, namespaces))
            }
            Err(error) => Err(error),
        };
        let (watcher, namespaces) = right.conclude(begun)?;
        let begin = AsciiMetadataValue::try_from(watcher.cursor().to_string());
        let id = shown.call.id.clone();
        let standing = Standing::<act::StillWatch>::of(&self.authority, shown);
        let lost = Arc::new(standing).lost_where(move |right| right.within(&namespaces).map(drop));
        let (hand, ready) = mpsc::channel(READY_MAX + 1);
        let told = tell(watcher, lost, hand);
        // Nothing of it waits for a peer that does not read: so it ends in time, and holds nothing.
        tokio::spawn(call::within(id, told).in_current_span());
        let mut response = Response::new(ReceiverStream::new(ready));
        // Cursors are letters and digits.
        if let Ok(begin) = begin {
            response.metadata_mut().insert(CURSOR, begin);
        }
        Ok(response)
    }
}

/// Hands out events until nobody takes them, or the stream is to end, and then why.
async fn tell(mut watcher: Watcher, lost: impl Future<Output = Error>, hand: mpsc::Sender<Answer>) {
    // Kept free for the end: also whoever takes nothing is told, should it read on.
    let Ok(last) = hand.clone().reserve_owned().await else {
        return;
    };
    let why = tokio::select! {
        biased;
        () = hand.closed() => return,
        why = lost => why,
        why = hand_out(&mut watcher, &hand) => why,
    };
    last.send(Err(why.into()));
}

async fn hand_out(watcher: &mut Watcher, hand: &mpsc::Sender<Answer>) -> Error {
    let mut cursor = watcher.cursor();
    loop {
        let watched = match watcher.next().await {
            Ok(watched) => watched,
            Err(why) => return why,
        };
        match timeout(PATIENCE, hand.reserve()).await {
            Ok(Ok(room)) => {
                cursor = watched.cursor;
                room.send(Ok(convert::watched(watched)));
            }
            Ok(Err(_)) => return Error::CallerGone,
            Err(_) => return watcher.too_slow(cursor, PATIENCE),
        }
    }
}
