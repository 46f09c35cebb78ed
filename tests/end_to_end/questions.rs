//! Many questions of Validate at once, as a client asks them: in one call, or over one stream.

use prost_reflect::prost::Message;
use token_authority::transport::grpc::pb::validate_result::Result as Judged;
use token_authority::transport::grpc::pb::validate_stream_response::Result as Outcome;
use token_authority::transport::grpc::pb::{
    BatchValidateRequest, BatchValidateResponse, ErrorReason, ValidateRequest, ValidateResponse,
    ValidateStreamRequest, ValidateStreamResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::pb::{ErrorInfo, Status as WireStatus};

use crate::harness::{Client, PATIENCE};

/// What became of one question: an answer, or an error of its own.
pub(crate) type Answer = Result<ValidateResponse, WireStatus>;

/// Questions that may be on their way to a stream.
const ON_THE_WAY: usize = 64;

/// A stream of questions, by a client.
pub(crate) struct Questions {
    pub(crate) questions: mpsc::Sender<ValidateStreamRequest>,
    pub(crate) answers: Streaming<ValidateStreamResponse>,
}

impl Questions {
    pub(crate) async fn open(client: &mut Client) -> Result<Self, Status> {
        let (questions, receiver) = mpsc::channel(ON_THE_WAY);
        let answers = client
            .validate_stream(ReceiverStream::new(receiver))
            .await?;
        let answers = answers.into_inner();
        Ok(Self { questions, answers })
    }

    pub(crate) async fn send(&self, id: u64, request: ValidateRequest) {
        let request = Some(request);
        let question = ValidateStreamRequest { id, request };
        let sent = self.questions.send(question).await;
        sent.expect("a stream that is read");
    }

    /// The next answer, and to which question it is; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<(u64, Answer)>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        let next = next.expect("an answer in time")?;
        Ok(next.map(|answer| (answer.id, of_stream(answer))))
    }

    /// Asks one question, and answers its answer.
    pub(crate) async fn ask(&mut self, request: ValidateRequest) -> Answer {
        self.send(7, request).await;
        let (id, answer) = self.next().await.expect("no error").expect("an answer");
        assert_eq!(id, 7);
        answer
    }

    /// Code and reason of the error that the stream ends with.
    pub(crate) async fn end(mut self) -> (Code, String) {
        crate::harness::told(&self.next().await.expect_err("it ends with an error"))
    }
}

/// What a message of a stream answers.
pub(crate) fn of_stream(answer: ValidateStreamResponse) -> Answer {
    match answer.result.expect("a result") {
        Outcome::Response(response) => Ok(response),
        Outcome::Error(error) => Err(error),
    }
}

/// Asks many questions in one call.
pub(crate) async fn ask_all(
    client: &mut Client,
    requests: Vec<ValidateRequest>,
) -> Result<Vec<Answer>, Status> {
    let answer = client.batch_validate(BatchValidateRequest { requests });
    Ok(of_batch(answer.await?.into_inner()))
}

/// What one call answers.
pub(crate) fn of_batch(answer: BatchValidateResponse) -> Vec<Answer> {
    let results = answer.results.into_iter();
    let results = results.map(|one| match one.result.expect("a result") {
        Judged::Response(response) => Ok(response),
        Judged::Error(error) => Err(error),
    });
    results.collect()
}

/// An error within an answer, as that of a whole call.
pub(crate) fn whole(error: &WireStatus) -> Status {
    let details = error.encode_to_vec().into();
    Status::with_details(Code::from_i32(error.code), error.message.clone(), details)
}

/// Code and reason of an error within an answer.
pub(crate) fn in_band(error: &WireStatus) -> (Code, String) {
    let info = error
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"))
        .map(|detail| ErrorInfo::decode(&*detail.value).expect("a sound detail"));
    let reason = info.expect("every error carries ErrorInfo").reason;
    let known = ErrorReason::from_str_name(&reason).is_some();
    assert!(known, "{reason}");
    let reason = reason.trim_start_matches("ERROR_REASON_").to_owned();
    (Code::from_i32(error.code), reason)
}
