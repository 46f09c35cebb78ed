//! Connections that one act at a time has for itself, over which it waits for replicas.
//!
//! `WAIT` answers for what its own connection sent, and holds up whatever comes behind it there. So it
//! is never sent over a link that calls share. An act that changes something, or that answers what an
//! earlier one may have changed, does all of its work over one of these connections, and each of its
//! exchanges ends when enough replicas have everything that it saw.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value, cmd, pipe};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::{read, unexpected};
use super::link::{Link, Links, Request};
use crate::store::StoreError;

/// How many acts wait for replicas at once; others wait for their turn.
const HELD_MAX: usize = 16;

/// How late an idle Redis may notice that a wait is over, which it does ten times a second, and some
/// more for the way.
const TICKS: Duration = Duration::from_millis(150);

/// The connections, and how many replicas each exchange over them waits for.
pub(super) struct Replicas {
    wanted: usize,
    /// Where the notes go that nobody reads.
    channel: String,
    turns: Semaphore,
    idle: Mutex<Vec<Arc<Link>>>,
    /// Grows whenever a link is taken down: a connection that was verified before is not trusted.
    era: AtomicU64,
}

impl Replicas {
    pub(super) fn new(wanted: usize, channel: String) -> Self {
        Self {
            wanted,
            channel,
            turns: Semaphore::new(HELD_MAX),
            idle: Mutex::default(),
            era: AtomicU64::new(0),
        }
    }

    /// Whether acts wait for replicas at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted > 0
    }

    /// Lets go of all connections, those in use as soon as their acts end.
    pub(super) fn distrust(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        self.idle().clear();
    }

    /// Holds a connection, once it is this act's turn: one that another left, or a new one.
    pub(super) async fn hold<'a>(
        &'a self,
        links: &'a Links,
        limit: Duration,
    ) -> Result<Held<'a>, StoreError> {
        let holding = async {
            let turn = self.turns.acquire().await;
            let turn = turn.map_err(|_| StoreError::Closed)?;
            let era = self.era.load(Ordering::Acquire);
            let idle = self.idle().pop();
            let link = match idle {
                Some(link) => link,
                None => Arc::new(links.dial(None).await?),
            };
            Ok(Held {
                replicas: self,
                link,
                era,
                unanswered: AtomicUsize::new(0),
                _turn: turn,
            })
        };
        let held = tokio::time::timeout(limit, holding).await;
        held.unwrap_or(Err(StoreError::Slow(limit)))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write that every Redis hands to its replicas, whatever else it refuses. Newer ones let `WAIT`
    /// answer for the connection's last write only, and an act may have read what others wrote.
    fn note(&self) -> Cmd {
        let mut command = cmd("PUBLISH");
        command.arg(&self.channel).arg("");
        command
    }

    /// Waits for the replicas, and for less than the whole answer may take.
    fn wait(&self, limit: Duration) -> Cmd {
        let reserve = (limit / 4).max(TICKS).min(limit / 2);
        let span = limit.saturating_sub(reserve).as_millis().max(1);
        let mut command = cmd("WAIT");
        command.arg(self.wanted).arg(span.to_string());
        command
    }

    /// Judges what [`Self::wait`] answered.
    fn judge(&self, answer: Value) -> Result<(), StoreError> {
        let have = read::<usize>(answer)?;
        if have < self.wanted {
            let wanted = self.wanted;
            return Err(StoreError::Unreplicated { have, wanted });
        }
        Ok(())
    }
}

/// A connection that one act has for itself until this is dropped.
pub(super) struct Held<'a> {
    replicas: &'a Replicas,
    link: Arc<Link>,
    era: u64,
    /// Exchanges without an answer: begun and given up, or failed. Whatever comes over the connection
    /// behind one of them may wait for it.
    unanswered: AtomicUsize,
    _turn: SemaphorePermit<'a>,
}

impl Held<'_> {
    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// Sends and waits for the answer and for the replicas. Errors of single commands are still
    /// inside of the answer, and then nothing is said about replicas.
    pub(super) async fn exchange(
        &self,
        links: &Links,
        limit: Duration,
        request: Request<'_>,
    ) -> Result<Value, StoreError> {
        let (mut all, single) = match request {
            Request::One(command) => {
                let mut all = pipe();
                all.add_command(command.clone());
                (all, true)
            }
            Request::Many(pipeline) => (pipeline.clone(), false),
        };
        all.add_command(self.replicas.note());
        all.add_command(self.replicas.wait(limit));
        self.unanswered.fetch_add(1, Ordering::AcqRel);
        let answer = links.exchange(&self.link, limit, Request::Many(&all));
        let answer = answer.await?;
        self.unanswered.fetch_sub(1, Ordering::AcqRel);
        let Value::Array(mut answers) = answer else {
            return Err(unexpected("no list of answers"));
        };
        let (waited, noted) = (answers.pop(), answers.pop());
        let failed = |answer: &Value| matches!(answer, Value::ServerError(_));
        if !answers.iter().any(failed) {
            links.accept(limit, noted.unwrap_or_default())?;
            let waited = links.accept(limit, waited.unwrap_or_default())?;
            self.replicas.judge(waited)?;
        }
        match single {
            true => answers.pop().ok_or_else(|| unexpected("no answer")),
            false => Ok(Value::Array(answers)),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut idle = self.replicas.idle();
        // Looked at under the lock that whoever makes it grow takes next.
        let trusted = self.replicas.era.load(Ordering::Acquire) == self.era;
        // Nobody verifies it anew, so what it was refused once it would be refused for ever.
        let whole = self.link.keeps_all_peppers();
        if trusted && whole && self.unanswered.load(Ordering::Acquire) == 0 {
            idle.push(Arc::clone(&self.link));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(wanted: usize) -> Replicas {
        Replicas::new(wanted, "ta:noted".to_owned())
    }

    #[test]
    fn replicas_are_waited_for_less_long_than_their_answer() {
        let packed = |limit| {
            let command = replicas(2).wait(Duration::from_millis(limit));
            String::from_utf8(command.get_packed_command()).unwrap()
        };
        assert!(packed(1000).ends_with("$1\r\n2\r\n$3\r\n750\r\n"));
        assert!(packed(400).ends_with("$3\r\n250\r\n"));
        assert!(packed(100).ends_with("$2\r\n50\r\n"));
        // Zero would be for ever.
        assert!(packed(1).ends_with("$1\r\n1\r\n"));
    }

    #[test]
    fn fewer_replicas_than_are_wanted_are_told() {
        assert_eq!(replicas(2).judge(Value::Int(2)), Ok(()));
        assert_eq!(replicas(2).judge(Value::Int(3)), Ok(()));
        let error = replicas(2).judge(Value::Int(1)).unwrap_err();
        assert!(
            error.to_string().contains("only 1 of 2 replicas"),
            "{error}"
        );
        assert!(error.to_string().contains("outcome is unknown"), "{error}");
    }
}
