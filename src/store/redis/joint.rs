//! Reading tokens together: the questions of a thread that come together are one command.

use std::sync::Arc;

use redis::Value;
use tokio::sync::oneshot;

use super::Access;
use super::error::{micros, read, unexpected};
use super::gathering::{Gathering, Turn};
use super::line::Line;
use super::link::Link;
use super::scripts::READ_TOKENS;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::store::StoreError;

/// Most tokens that are read at once.
const TOGETHER_MAX: usize = 128;

/// The questions that wait to be put.
#[derive(Default)]
pub(super) struct Joint(Gathering<Question>);

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
        if let Some(turn) = self.0.join(Question { id, tell }) {
            // In a task of its own: others wait for it, whatever becomes of this call.
            let access = access.clone();
            tokio::spawn(async move { put_all(&access, turn).await });
        }
        let given_up = || Err(StoreError::Unreachable("the read was given up".to_owned()));
        told.await.unwrap_or_else(|_| given_up())
    }
}

async fn put_all(access: &Arc<Access>, turn: Turn<Question>) {
    let mut questions = turn.take();
    while questions.len() > TOGETHER_MAX {
        let rest = questions.split_off(questions.len() - TOGETHER_MAX);
        let access = access.clone();
        tokio::spawn(async move { put(&access, rest).await });
    }
    put(access, questions).await;
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
