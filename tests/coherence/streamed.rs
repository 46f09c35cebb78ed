//! A door whose questions all go over one stream, many at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use token_authority::transport::grpc::pb::{ValidateStreamRequest, Verdict};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::doors::{Door, Subject, Unanswered, Wire, question, unanswered};
use crate::history::Way;
use crate::questions::{Answer, Questions, whole};

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// A running authority, by gRPC, which is asked over a stream.
pub(crate) struct Streamed {
    wire: Wire,
    questions: mpsc::Sender<ValidateStreamRequest>,
    waiting: Waiting,
    last: AtomicU64,
}

impl Streamed {
    pub(crate) async fn over(mut wire: Wire) -> Self {
        let stream = Questions::open(&mut wire.0).await.expect("a stream");
        let waiting = Waiting::default();
        let questions = stream.questions.clone();
        tokio::spawn(hand_out(stream, waiting.clone()));
        Self {
            wire,
            questions,
            waiting,
            last: AtomicU64::default(),
        }
    }

    fn wait(&self, id: u64, tell: oneshot::Sender<Answer>) {
        let waiting = self.waiting.lock();
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        waiting.insert(id, tell);
    }
}

/// Gives each answer to whoever waits for it, in whatever order they come.
async fn hand_out(mut stream: Questions, waiting: Waiting) -> Result<(), Status> {
    while let Some(next) = stream.answers.message().await? {
        let id = next.id;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let asker = waiting.remove(&id).expect("a question of that id");
        // Whoever asked may have hung up.
        let _ = asker.send(crate::questions::of_stream(next));
    }
    Ok(())
}

#[async_trait]
impl Door for Streamed {
    async fn make(&self, way: Way) -> Result<Subject, Unanswered> {
        self.wire.make(way).await
    }

    async fn change(&self, subject: &Subject) -> Result<(), Unanswered> {
        self.wire.change(subject).await
    }

    async fn ask(&self, secret: &str) -> Result<Verdict, Unanswered> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.wait(id, tell);
        let request = Some(question(secret));
        let sent = self
            .questions
            .send(ValidateStreamRequest { id, request })
            .await;
        sent.expect("the stream goes on");
        match told.await.expect("the stream goes on") {
            Ok(answer) => Ok(answer.verdict()),
            Err(error) => Err(unanswered(&whole(&error))),
        }
    }
}
