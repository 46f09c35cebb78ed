//! Reading tokens together: questions that come while others are being put go in one exchange.
//!
//! A thread that has many calls to answer comes by all of them before it sends anything; so under load
//! one command, one wake-up and one answer serve many, and a call alone waits for nobody.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::Value;
use tokio::sync::oneshot;

use super::Access;
use super::error::{micros, read, unexpected};
use super::line::Line;
use super::link::Link;
use super::scripts::READ_TOKENS;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::sharded::Sharded;
use crate::store::StoreError;

/// Most tokens that are read at once.
const TOGETHER_MAX: usize = 128;

/// The questions that wait to be put, by the thread that asked.
#[derive(Default)]
pub(super) struct Joint(Sharded<Waiting>);

#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<Vec<Question>>>);

struct Question {
    id: TokenId,
    tell: oneshot::Sender<Result<Sheet, StoreError>>,
}

/// What was read of a token, as it stands.
pub(super) struct Sheet {
    pub(super) record: Option<Vec<u8>>,
    pub(super) tenure: Option<Vec<u8>>,
    pub(super) now: Timestamp,
    /// Over which it was read.
    pub(super) link: Arc<Link>,
}

impl Joint {
    /// Reads what stands at `id`, by a read that begins after this was called. What cannot be read as
    /// text is as if it were absent.
    pub(super) async fn read(
        &self,
        access: &Arc<Access>,
        id: TokenId,
    ) -> Result<Sheet, StoreError> {
        let (tell, told) = oneshot::channel();
        let (_, waiting) = self.0.own();
        if waiting.join(Question { id, tell }) {
            // In a task of its own: it begins when those had their turn who are ready to ask, and
            // others wait for it, whatever becomes of this call.
            let turn = Turn(waiting.clone());
            let access = access.clone();
            tokio::spawn(async move { turn.put(&access).await });
        }
        let given_up = || Err(StoreError::Unreachable("the read was given up".to_owned()));
        told.await.unwrap_or_else(|_| given_up())
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<Question>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers whether it is the first, for which somebody has to come.
    fn join(&self, question: Question) -> bool {
        let mut waiting = self.lock();
        waiting.push(question);
        waiting.len() == 1
    }
}

/// The duty to put what waits; where that does not come to it, those who wait are told.
struct Turn(Waiting);

impl Turn {
    async fn put(self, access: &Arc<Access>) {
        let mut questions = mem::take(&mut *self.0.lock());
        drop(self);
        while questions.len() > TOGETHER_MAX {
            let rest = questions.split_off(questions.len() - TOGETHER_MAX);
            let access = access.clone();
            tokio::spawn(async move { put(&access, rest).await });
        }
        put(access, questions).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().clear();
    }
}

/// Puts questions in one exchange, and tells those who asked.
async fn put(access: &Access, questions: Vec<Question>) {
    match ask(access, &questions).await {
        Ok((now, link, values)) => {
            let mut values = values.into_iter();
            for Question { tell, .. } in questions {
                let (record, tenure) = (values.next().flatten(), values.next().flatten());
                let link = link.clone();
                // It fails where nobody waits any more.
                let _ = tell.send(Ok(Sheet {
                    record,
                    tenure,
                    now,
                    link,
                }));
            }
        }
        Err(error) => {
            for Question { tell, .. } in questions {
                let _ = tell.send(Err(error.clone()));
            }
        }
    }
}

type Values = Vec<Option<Vec<u8>>>;

async fn ask(
    access: &Access,
    questions: &[Question],
) -> Result<(Timestamp, Arc<Link>, Values), StoreError> {
    let line: Line<'_> = access.links.line()?;
    let keys = questions
        .iter()
        .flat_map(|Question { id, .. }| [access.keys.record(*id), access.keys.tenure(*id)]);
    let call = READ_TOKENS.call_on(keys.collect()).arg(access.now());
    let answer: Value = line.script(access.read_timeout, &call).await?;
    let (now, values): (String, Values) = read(answer)?;
    if values.len() != 2 * questions.len() {
        return Err(unexpected("not as many values as keys"));
    }
    let now = Timestamp::from_micros(micros(&now)?);
    Ok((now, line.into_link(), values))
}
