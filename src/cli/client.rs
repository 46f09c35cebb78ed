//! The connection to a server: one channel, the caller's secret and a deadline on each call.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use zeroize::Zeroizing;

use crate::transport::grpc::pb;
use crate::transport::grpc::pb::token_service_client::TokenServiceClient;

use super::connection::Connection;
use super::failure::Failure;
use super::secret::Credential;
use super::server::Server;

/// Longest answer, in bytes: a page of a thousand tokens with every field at its limit.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Times between two attempts to connect again, the first and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The beats on a stream, and the answers to them.
pub(super) type Beats = Streaming<pb::KeepAliveStreamResponse>;

/// Calls a server as one caller.
#[derive(Clone)]
pub(super) struct Client {
    stub: TokenServiceClient<Channel>,
    connection: Connection,
    authorization: Option<MetadataValue<Ascii>>,
    /// What to tell a caller who is refused for the credential, or for want of one.
    hint: Option<String>,
    timeout: Duration,
}

/// A stream of events.
pub(super) struct Events {
    answers: Streaming<pb::WatchResponse>,
    client: Client,
}

impl Events {
    /// The next one; an error where the stream ended, which it does not by itself.
    pub(super) async fn next(&mut self) -> Result<pb::WatchResponse, Failure> {
        let next = self.answers.message().await.transpose();
        let next = next.unwrap_or_else(|| Err(Status::unavailable("the stream ended")));
        self.client.answer(next.map(Response::new))
    }
}

impl Client {
    pub(super) async fn connect(
        server: Server,
        credential: Credential,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let (authorization, hint) = match credential {
            Credential::Given { secret, file } => {
                let hint =
                    file.map(|path| format!("the secret sent is that in {}", path.display()));
                (Some(bearer(&secret)?), hint)
            }

            Credential::Absent(why) => (None, Some(format!("no credential was sent: {why}"))),
        };
        Self::open(server, authorization, hint, timeout).await
    }

    async fn open(
        server: Server,
        authorization: Option<MetadataValue<Ascii>>,
        hint: Option<String>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let connection = Connection::open(server, timeout).await?;
        let stub = TokenServiceClient::new(connection.channel.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self {
            stub,
            connection,
            authorization,
            hint,
            timeout,
        })
    }

    /// The same caller over a connection of its own, which is made within `within`.
    pub(super) async fn again(&self, within: Duration) -> Result<Self, Failure> {
        let server = self.connection.server().clone();
        let (authorization, hint) = (self.authorization.clone(), self.hint.clone());
        let opening = Self::open(server, authorization, hint, within.min(self.timeout));
        let timeout = self.timeout;
        Ok(Self {
            timeout,
            ..opening.await?
        })
    }

    pub(super) async fn create(
        &mut self,
        message: pb::CreateRequest,
    ) -> Result<pb::CreateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.create(request).await;
        self.answer(answer)
    }

    pub(super) async fn batch_create(
        &mut self,
        message: pb::BatchCreateRequest,
    ) -> Result<pb::BatchCreateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.batch_create(request).await;
        self.answer(answer)
    }

    pub(super) async fn list_pools(
        &mut self,
        message: pb::ListPoolsRequest,
    ) -> Result<pb::ListPoolsResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.list_pools(request).await;
        self.answer(answer)
    }

    pub(super) async fn usage(
        &mut self,
        message: pb::UsageRequest,
    ) -> Result<pb::UsageResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.usage(request).await;
        self.answer(answer)
    }

    pub(super) async fn overview(
        &mut self,
        message: pb::OverviewRequest,
    ) -> Result<pb::OverviewResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.overview(request).await;
        self.answer(answer)
    }

    /// Takes as much longer than other calls as it is to wait. A wait that ends with its connection,
    /// which every connection does some time, or with its server goes on over another one, also where
    /// that server has yet to come back.
    pub(super) async fn acquire(
        &mut self,
        mut message: pb::AcquireRequest,
    ) -> Result<pb::AcquireResponse, Failure> {
        let begun = Instant::now();
        let asked = message.wait.and_then(|span| Duration::try_from(span).ok());
        let mut left = asked;
        loop {
            let mut request = self.request(message.clone());
            request.set_timeout(self.timeout.saturating_add(left.unwrap_or_default()));
            let answer = self.stub.acquire(request).await;
            let failure = match self.answer(answer) {
                Err(failure) if failure.is_draining() => failure,
                answer => return answer,
            };
            let end = asked.and_then(|wait| begun.checked_add(wait));
            let Some(end) = end.filter(|end| Instant::now() < *end) else {
                return Err(failure);
            };
            *self = self.again_until(end).await?;
            left = Some(end.saturating_duration_since(Instant::now()));
            message.wait = left.and_then(|left| prost_types::Duration::try_from(left).ok());
        }
    }

    /// The same caller over a connection of its own, tried until `end` as long as there is none.
    async fn again_until(&self, end: Instant) -> Result<Self, Failure> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.again(self.timeout).await {
                Err(Failure::Unreachable { .. }) if Instant::now() + pause < end => {}
                answer => return answer,
            }
            sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    pub(super) async fn release(
        &mut self,
        message: pb::ReleaseRequest,
    ) -> Result<pb::ReleaseResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.release(request).await;
        self.answer(answer)
    }

    pub(super) async fn keep_alive(
        &mut self,
        message: pb::KeepAliveRequest,
    ) -> Result<pb::KeepAliveResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.keep_alive(request).await;
        self.answer(answer)
    }

    /// Opens a stream of beats, which has no deadline.
    pub(super) async fn keep_alive_stream(
        &mut self,
        beats: mpsc::Receiver<pb::KeepAliveStreamRequest>,
    ) -> Result<Beats, Failure> {
        let request = self.unbounded(ReceiverStream::new(beats));
        let answer = self.stub.keep_alive_stream(request).await;
        self.answer(answer)
    }

    /// Opens a stream of events, which has no deadline once it is open; answers where it begins, too.
    pub(super) async fn watch(
        &mut self,
        message: pb::WatchRequest,
    ) -> Result<(Option<String>, Events), Failure> {
        let request = self.unbounded(message);
        let opening = tokio::time::timeout(self.timeout, self.stub.watch(request)).await;
        let late = |_| {
            Err(Status::deadline_exceeded(
                "the stream did not begin in time",
            ))
        };
        let opened = opening.unwrap_or_else(late);
        let cursor = opened.as_ref().ok().and_then(|opened| {
            let cursor = opened.metadata().get("watch-cursor")?;
            cursor.to_str().ok().map(str::to_owned)
        });
        let events = Events {
            answers: self.answer(opened)?,
            client: self.clone(),
        };
        Ok((cursor, events))
    }

    pub(super) async fn get(
        &mut self,
        message: pb::GetRequest,
    ) -> Result<pb::GetResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.get(request).await;
        self.answer(answer)
    }

    pub(super) async fn list(
        &mut self,
        message: pb::ListRequest,
    ) -> Result<pb::ListResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.list(request).await;
        self.answer(answer)
    }

    pub(super) async fn list_namespaces(
        &mut self,
        message: pb::ListNamespacesRequest,
    ) -> Result<pb::ListNamespacesResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.list_namespaces(request).await;
        self.answer(answer)
    }

    pub(super) async fn update(
        &mut self,
        message: pb::UpdateRequest,
    ) -> Result<pb::UpdateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.update(request).await;
        self.answer(answer)
    }

    pub(super) async fn rotate(
        &mut self,
        message: pb::RotateRequest,
    ) -> Result<pb::RotateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.rotate(request).await;
        self.answer(answer)
    }

    pub(super) async fn reset_limits(
        &mut self,
        message: pb::ResetLimitsRequest,
    ) -> Result<pb::ResetLimitsResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.reset_limits(request).await;
        self.answer(answer)
    }

    pub(super) async fn revoke(
        &mut self,
        message: pb::RevokeRequest,
    ) -> Result<pb::RevokeResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.revoke(request).await;
        self.answer(answer)
    }

    pub(super) async fn delete(
        &mut self,
        message: pb::DeleteRequest,
    ) -> Result<pb::DeleteResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.delete(request).await;
        self.answer(answer)
    }

    pub(super) async fn validate(
        &mut self,
        message: pb::ValidateRequest,
    ) -> Result<pb::ValidateResponse, Failure> {
        let request = self.request(message);
        let answer = self.stub.validate(request).await;
        self.answer(answer)
    }

    pub(super) async fn who_am_i(&mut self) -> Result<pb::WhoAmIResponse, Failure> {
        let request = self.request(pb::WhoAmIRequest {});
        let answer = self.stub.who_am_i(request).await;
        self.answer(answer)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.unbounded(message);
        // Sent as grpc-timeout, and watched by the channel in case the server does not.
        request.set_timeout(self.timeout);
        request
    }

    fn unbounded<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", authorization.clone());
        }
        request
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Failure> {
        answer.map(Response::into_inner).map_err(|status| {
            let refused = status.code() == Code::Unauthenticated;
            let hint = self.hint.clone().filter(|_| refused);
            self.connection.failure(status, hint)
        })
    }
}

fn bearer(secret: &str) -> Result<MetadataValue<Ascii>, Failure> {
    let text = Zeroizing::new(format!("Bearer {secret}"));
    let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| {
        Failure::Usage("the caller's secret holds characters that no secret has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_no_header_is_not_repeated() {
        let lines = bearer("can\nary").unwrap_err().lines();
        assert!(!lines.concat().contains("ary\n") && !lines.concat().contains("can\n"));
        assert!(!format!("{:?}", bearer("canary").unwrap()).contains("canary"));
    }
}
