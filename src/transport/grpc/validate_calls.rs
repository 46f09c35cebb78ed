//! Validate on the wire, of one question and of many: in one call, and over one stream.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinError, coop};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::authority::Authority;
use crate::authority::access::Right;
use crate::authority::act::{self, Act};
use crate::authority::error::Error;
use crate::authority::validate::{Judges, Validation};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::usage::withheld;

use super::caller::Shown;
use super::conversation::{Answer, Conversation, StreamBounds};
use super::eager::Eager;
use super::pb::validate_result::Result as Judged;
use super::pb::validate_stream_response::Result as Outcome;
use super::standing::{Standing, Trouble};
use super::token_service::TokenServiceHandler;
use super::{convert, pb, status};

/// Most questions of one batch.
const BATCH_MAX: usize = 1000;
/// Questions of one batch that wait for the store at once.
const BATCH_AT_ONCE: usize = 64;
/// No more questions of a batch are judged once their answers take so many bytes. Those that are under
/// way then add some 20 KiB each at the most, and clients accept 4 MiB as a rule.
const BATCH_ANSWER_BYTES: usize = 5 << 19;

pub(super) type Verdicts =
    Pin<Box<dyn Stream<Item = Result<pb::ValidateStreamResponse, Status>> + Send>>;

/// What is answered to one question, however it came.
pub(super) async fn judgement<A: Judges>(
    authority: &Authority,
    right: &Right<A>,
    message: pb::ValidateRequest,
) -> Result<pb::ValidateResponse, Error> {
    let asked = convert::question(message)?;
    match judgement_at_once(authority, right, &asked) {
        Some(answer) => answer,
        // Boxed, so that what is answered at once is not moved about with room for it.
        None => Box::pin(judgement_by_asking(authority, right, &asked)).await,
    }
}

/// The same by memory alone; `None` where the store is to be asked.
fn judgement_at_once<A: Judges>(
    authority: &Authority,
    right: &Right<A>,
    asked: &convert::Asked,
) -> Option<Result<pb::ValidateResponse, Error>> {
    let judged = authority.validate_at_once(right, &asked.secret, &asked.question)?;
    Some(judged.map(|validation| told(validation, asked)))
}

/// The same of what is not [answered at once](judgement_at_once).
async fn judgement_by_asking<A: Judges>(
    authority: &Authority,
    right: &Right<A>,
    asked: &convert::Asked,
) -> Result<pb::ValidateResponse, Error> {
    let judged = authority.validate_by_asking(right, &asked.secret, &asked.question);
    Ok(told(judged.await?, asked))
}

fn told(validation: Validation, asked: &convert::Asked) -> pb::ValidateResponse {
    let subject = validation.subject.as_ref();
    tracing::debug!(
        validation_id = validation.id,
        token_id = subject.map(|subject| tracing::field::display(subject.about.id())),
        verdict = ?validation.verdict,
        subject_request_id = asked.trace.request_id,
        user_agent = &*withheld(&asked.question.user_agent),
        "validated"
    );
    convert::validation(validation)
}

impl TokenServiceHandler {
    pub(super) async fn validate_many(
        &self,
        request: Request<pb::BatchValidateRequest>,
    ) -> Result<Response<pb::BatchValidateResponse>, Status> {
        let rpc = act::BatchValidate::RPC;
        let shown = Shown::by(rpc, &request, &self.authority)?;
        let session = shown.session(rpc, &self.authority).await?;
        let right = self.authority.permit::<act::BatchValidate>(&session)?;
        let pb::BatchValidateRequest { requests } = request.into_inner();
        let asked = requests.len();
        if !(1..=BATCH_MAX).contains(&asked) {
            let flaw = Flaw::new(format!("must be 1 to {BATCH_MAX} questions; got {asked}"));
            let invalid = Error::Invalid(Violations::one("requests", flaw));
            return Ok(right.conclude(Err(invalid))?);
        }
        let charge = self
            .authority
            .charge(rpc, &session, shown.proof(), asked as u64);
        let (charged, refused) = charge.await;
        let charged = usize::try_from(charged).unwrap_or(asked);
        let (authority, right) = (self.authority.clone(), Arc::new(right));
        let judge = move |at, message| {
            let (authority, right) = (authority.clone(), right.clone());
            async move {
                let response = judgement(&authority, &right, message).await;
                let result = match right.answered(response) {
                    Ok(response) => Judged::Response(response),
                    Err(error) => Judged::Error(status::in_band(&error.into())),
                };
                (at, result)
            }
        };
        let mut answers = Answers::to(asked);
        if let Some(refused) = refused {
            answers.refuse_from(charged, &refused.into());
        }
        let questions = requests.into_iter().take(charged);
        let under_way = Eager::of(shown.call.id.clone());
        answers.gather(questions, under_way, judge).await?;
        let results = answers.results;
        Ok(Response::new(pb::BatchValidateResponse { results }))
    }

    pub(super) async fn validate_all(
        &self,
        request: Request<Streaming<pb::ValidateStreamRequest>>,
    ) -> Result<Response<Verdicts>, Status> {
        let shown = Shown::by(act::ValidateStream::RPC, &request, &self.authority)?;
        let call = shown.call.id.clone();
        let caller = Arc::new(Standing::begin(&self.authority, shown).await?);
        let (lost, deadline) = (caller.clone().lost(), self.call_deadline);
        let answer = move |message| verdict(&caller, message, deadline);
        let bounds = StreamBounds {
            at_once: self.stream_messages,
            message_bytes: self.message_bytes,
        };
        let questions = request.into_inner();
        let verdicts = Conversation::new(call, questions, answer, lost, bounds);
        Ok(Response::new(Box::pin(verdicts)))
    }
}

/// The answers to the questions of a batch, as far as they are there.
struct Answers {
    results: Vec<pb::ValidateResult>,
    /// What they take.
    bytes: usize,
}

impl Answers {
    fn to(questions: usize) -> Self {
        let none = pb::ValidateResult { result: None };
        Self {
            results: vec![none; questions],
            bytes: 0,
        }
    }

    /// Has questions judged, several at once where the store is asked.
    async fn gather<F>(
        &mut self,
        questions: impl Iterator<Item = pb::ValidateRequest>,
        mut under_way: Eager<F>,
        judge: impl Fn(usize, pb::ValidateRequest) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = (usize, Judged)> + Send + 'static,
    {
        let panicked = |panic: JoinError| Error::Internal(panic.to_string());
        for (at, question) in questions.enumerate() {
            coop::consume_budget().await;
            while under_way.len() >= BATCH_AT_ONCE
                && let Some(answer) = under_way.next().await
            {
                self.put(answer.map_err(panicked)?);
            }
            if self.bytes >= BATCH_ANSWER_BYTES {
                let full = status::in_band(&status::answer_full(BATCH_ANSWER_BYTES));
                self.results[at].result = Some(Judged::Error(full));
                continue;
            }
            if let Poll::Ready(answer) = under_way.begun(judge(at, question)).await {
                self.put(answer);
            }
        }
        while let Some(answer) = under_way.next().await {
            self.put(answer.map_err(panicked)?);
        }
        Ok(())
    }

    fn put(&mut self, (at, result): (usize, Judged)) {
        self.bytes += result.encoded_len();
        self.results[at].result = Some(result);
    }

    /// Answers the questions from that one on with an error.
    fn refuse_from(&mut self, at: usize, why: &Status) {
        let error = Judged::Error(status::in_band(why));
        let refused = pb::ValidateResult {
            result: Some(error),
        };
        self.results[at..].fill(refused);
    }
}

type Gateway = Standing<act::ValidateStream>;

/// The answer to one question of a stream; an error where the stream is to end.
fn verdict(
    caller: &Arc<Gateway>,
    message: pb::ValidateStreamRequest,
    deadline: Duration,
) -> Answer<
    pb::ValidateStreamResponse,
    impl Future<Output = Result<pb::ValidateStreamResponse, Status>> + Send + use<>,
> {
    let pb::ValidateStreamRequest { id, request } = message;
    let asked = match request {
        Some(request) => convert::question(request),
        None => {
            let flaw = Flaw::new("must be given");
            Err(Error::Invalid(Violations::one("request", flaw)))
        }
    };
    if let Some(right) = caller.right_at_once() {
        let answer = match &asked {
            Ok(asked) => judgement_at_once(caller.authority(), &right, asked),
            Err(_) => None,
        };
        if let Some(answer) = answer {
            let answer = right.answered(answer).map_err(Trouble::Message);
            return Answer::Now(numbered(id, Some(answer)));
        }
    }
    let caller = caller.clone();
    Answer::Later(async move {
        let answer = in_time(deadline, judged(&caller, asked)).await;
        numbered(id, answer)
    })
}

/// An answer on a stream; `None` for one that did not come in time.
fn numbered(
    id: u64,
    answer: Option<Result<pb::ValidateResponse, Trouble>>,
) -> Result<pb::ValidateStreamResponse, Status> {
    let outcome = match answer {
        Some(Ok(response)) => Outcome::Response(response),
        Some(Err(Trouble::Loss(error))) => return Err(error.into()),
        Some(Err(Trouble::Message(error))) => Outcome::Error(status::in_band(&error.into())),
        None => Outcome::Error(status::in_band(&status::deadline_exceeded())),
    };
    Ok(pb::ValidateStreamResponse {
        id,
        result: Some(outcome),
    })
}

async fn judged(
    caller: &Gateway,
    asked: Result<convert::Asked, Error>,
) -> Result<pb::ValidateResponse, Trouble> {
    let right = caller.right().await?;
    let result = match asked {
        Ok(asked) => judgement_by_asking(caller.authority(), &right, &asked).await,
        Err(error) => Err(error),
    };
    right.answered(result).map_err(Trouble::Message)
}

/// What `work` brings within `span`; a clock is only asked where it is not over at once.
async fn in_time<T>(span: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let begun = poll_fn(|context| Poll::Ready(work.as_mut().poll(context)));
    match begun.await {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(span, work).await.ok(),
    }
}
