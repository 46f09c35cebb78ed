//! Replicas under load: askers who never stop, and what is done and asked beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};

use crate::board::{Board, Numbered};
use crate::doors::{Door, Subject, Unanswered};
use crate::history::{History, Life, Look, Nanos, Way, now};
use crate::kit::{HEALED_WITHIN, within};
use crate::{draw, millis};

/// How many ask at each replica, one question after the other.
const ASKERS: usize = 3;
/// What an asker pauses at most before it asks again, in milliseconds: so little that the replicas
/// always have something to do, and so much that changes are not left waiting for a processor.
const PAUSE_MS: usize = 5;
/// How long anybody waits before asking again for what could not be answered.
const UNANSWERED_PAUSE: Duration = Duration::from_millis(10);
/// How long the last questions may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Cheap to clone: all clones are the same scene.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) doors: Arc<[Arc<dyn Door>]>,
    pub(crate) board: Arc<Board>,
    history: Arc<Mutex<History>>,
    closing: Arc<AtomicBool>,
}

/// The askers of a scene, by whom it is closed.
pub(crate) struct Askers(Vec<JoinHandle<Vec<Look>>>);

impl Scene {
    pub(crate) fn open(doors: Vec<Arc<dyn Door>>) -> (Self, Askers) {
        let scene = Self {
            doors: doors.into(),
            board: Arc::new(Board::new()),
            history: Arc::default(),
            closing: Arc::default(),
        };
        let replicas = (0..scene.doors.len()).flat_map(|replica| [replica; ASKERS]);
        let askers = replicas.map(|replica| tokio::spawn(scene.clone().keep_asking(replica)));
        let askers = Askers(askers.collect());
        (scene, askers)
    }

    pub(crate) fn any(&self) -> usize {
        draw(self.doors.len())
    }

    /// All replicas but those, beginning with any of them.
    pub(crate) fn others(&self, without: &[usize]) -> Vec<usize> {
        let mut others: Vec<usize> = (0..self.doors.len()).collect();
        others.retain(|replica| !without.contains(replica));
        let first = draw(others.len());
        others.rotate_left(first);
        others
    }

    /// Makes a subject at any of these replicas that everybody asks about, and that all know.
    pub(crate) async fn heat(&self, replicas: &[usize], place: usize, way: Way) -> Numbered {
        let made = self.make(replicas[draw(replicas.len())], way).await;
        let subject = made.expect("all is well");
        self.board.put(place, subject.clone());
        self.board.light(place);
        self.look_everywhere(&subject).await;
        subject
    }

    /// Makes a subject at a replica.
    pub(crate) async fn make(&self, replica: usize, way: Way) -> Result<Numbered, Unanswered> {
        let subject = self.doors[replica].make(way).await?;
        let life = Life {
            way,
            born: now(),
            sent: None,
            done: None,
        };
        let mut history = self.lock();
        history.lives.push(life);
        Ok((history.lives.len() - 1, Arc::new(subject)))
    }

    /// Changes a subject at a replica.
    pub(crate) async fn change(
        &self,
        replica: usize,
        (number, subject): &Numbered,
    ) -> Result<(), Unanswered> {
        self.lock().lives[*number].sent.get_or_insert_with(now);
        self.doors[replica].change(subject).await?;
        self.lock().lives[*number].done.get_or_insert_with(now);
        Ok(())
    }

    /// Changes a subject as a caller does who knows that repeating is safe: at one of these replicas
    /// after the other, until it is answered. Answers how often it had to be repeated.
    pub(crate) async fn insist(&self, replicas: &[usize], subject: &Numbered) -> usize {
        for (repeated, replica) in replicas.iter().cycle().enumerate() {
            if self.change(*replica, subject).await.is_ok() {
                return repeated;
            }
            tokio::time::sleep(UNANSWERED_PAUSE).await;
        }
        unreachable!("replicas come again and again")
    }

    /// Asks one replica about a subject; answers whether it was answered.
    pub(crate) async fn look(&self, replica: usize, subject: &Numbered) -> bool {
        let look = self.ask(replica, subject).await;
        self.lock().looks.push(look);
        look.told.is_some()
    }

    /// Asks each replica about a subject until it is answered, as it is once all is well again.
    pub(crate) async fn is_answered_everywhere(&self, subject: &Numbered) {
        for replica in 0..self.doors.len() {
            let again = format!("replica {replica} answers again");
            within(HEALED_WITHIN, &again, async || {
                self.look(replica, subject).await
            })
            .await;
        }
    }

    /// How many of these were changed by then.
    pub(crate) fn done_before(&self, moment: Nanos, subjects: &[Numbered]) -> usize {
        let history = self.lock();
        let done = |number: usize| history.lives[number].done;
        let subjects = subjects.iter();
        let done = subjects.filter(|(number, _)| done(*number).is_some_and(|done| done < moment));
        done.count()
    }

    /// Asks all replicas about a subject, at once.
    pub(crate) async fn look_everywhere(&self, subject: &Numbered) {
        let mut looks = JoinSet::new();
        for replica in 0..self.doors.len() {
            let (scene, subject) = (self.clone(), subject.clone());
            looks.spawn(async move { scene.look(replica, &subject).await });
        }
        looks.join_all().await;
    }

    /// Ends the load and answers all that was seen, after a last look at each of these subjects
    /// everywhere.
    pub(crate) async fn close(self, askers: Askers, last: Vec<Numbered>) -> History {
        for subject in &last {
            self.look_everywhere(subject).await;
        }
        self.closing.store(true, Ordering::Relaxed);
        let mut history = std::mem::take(&mut *self.lock());
        for asker in askers.0 {
            let looks = tokio::time::timeout(PATIENCE, asker).await;
            let looks = looks
                .expect("the last answers come")
                .expect("no asker panics");
            history.looks.extend(looks);
        }
        history
    }

    async fn ask(&self, replica: usize, (number, subject): &(usize, Arc<Subject>)) -> Look {
        let began = now();
        let answer = self.doors[replica].ask(&subject.secret).await;
        Look {
            subject: *number,
            replica,
            began,
            ended: now(),
            told: answer.ok(),
        }
    }

    async fn keep_asking(self, replica: usize) -> Vec<Look> {
        let mut looks = Vec::new();
        while !self.closing.load(Ordering::Relaxed) {
            let Some(subject) = self.board.next() else {
                tokio::time::sleep(UNANSWERED_PAUSE).await;
                continue;
            };
            looks.push(self.ask(replica, &subject).await);
            tokio::time::sleep(millis(0, PAUSE_MS)).await;
        }
        looks
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
