//! Replicas that answer from memory, in memory themselves, right or wrong on purpose: what the judge
//! must let pass, and catch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use token_authority::transport::grpc::pb::Verdict;

use crate::doors::{Door, Subject, Unanswered};
use crate::history::Way;
use crate::millis;

/// What an answer takes at least, from memory too.
const ANSWER: Duration = Duration::from_micros(300);
/// What a read of the store may take on its way back, in milliseconds: often longer than the change
/// that overtakes it.
const READ_MS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// A change is answered before the replicas dropped what they know.
    NoBarrier,
    /// What was read is kept, whatever was dropped meanwhile.
    StaleFill,
    /// A change that finds nothing left to do waits for nobody.
    HastyRepeat,
}

/// What all replicas share: the store, and who is told of changes.
struct Shared {
    fault: Fault,
    tokens: Mutex<BTreeMap<String, Verdict>>,
    memories: Vec<Mutex<Memory>>,
    made: AtomicU64,
}

/// What one replica knows to be valid, and how often it dropped something.
#[derive(Default)]
struct Memory {
    known: BTreeSet<String>,
    dropped: u64,
}

/// One replica.
pub(crate) struct Twin {
    shared: Arc<Shared>,
    replica: usize,
}

impl Twin {
    pub(crate) fn replicas(fault: Fault, count: usize) -> Vec<Arc<dyn Door>> {
        let shared = Arc::new(Shared {
            fault,
            tokens: Mutex::default(),
            memories: (0..count).map(|_| Mutex::default()).collect(),
            made: AtomicU64::new(0),
        });
        let replica = |replica| -> Arc<dyn Door> {
            let shared = shared.clone();
            Arc::new(Self { shared, replica })
        };
        (0..count).map(replica).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Lets one replica after the other drop what it knows of a secret.
    async fn tell_all(self: Arc<Self>, secret: String) {
        for memory in &self.memories {
            tokio::time::sleep(millis(1, 4)).await;
            let mut memory = lock(memory);
            memory.known.remove(&secret);
            memory.dropped += 1;
        }
    }
}

#[async_trait]
impl Door for Twin {
    async fn make(&self, way: Way) -> Result<Subject, Unanswered> {
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let secret = format!("secret {number}");
        lock(&self.shared.tokens).insert(secret.clone(), Verdict::Valid);
        Ok(Subject {
            way,
            secret,
            token_id: String::new(),
            lease_id: String::new(),
        })
    }

    async fn change(&self, subject: &Subject) -> Result<(), Unanswered> {
        let (secret, verdict) = (subject.secret.clone(), subject.way.verdict());
        let before = lock(&self.shared.tokens).insert(secret.clone(), verdict);
        // It goes on though its caller may be gone.
        let telling = tokio::spawn(self.shared.clone().tell_all(secret));
        let nothing_to_do = before == Some(verdict);
        match self.shared.fault {
            Fault::NoBarrier => {}
            Fault::HastyRepeat if nothing_to_do => {}
            _ => telling.await.expect("it does not panic"),
        }
        Ok(())
    }

    async fn ask(&self, secret: &str) -> Result<Verdict, Unanswered> {
        tokio::time::sleep(ANSWER).await;
        let memory = &self.shared.memories[self.replica];
        let dropped = {
            let memory = lock(memory);
            if memory.known.contains(secret) {
                return Ok(Verdict::Valid);
            }
            memory.dropped
        };
        let verdict = lock(&self.shared.tokens)[secret];
        tokio::time::sleep(millis(0, READ_MS)).await;
        let mut memory = lock(memory);
        let is_fresh = memory.dropped == dropped || self.shared.fault == Fault::StaleFill;
        if verdict == Verdict::Valid && is_fresh {
            memory.known.insert(secret.to_owned());
        }
        Ok(verdict)
    }
}
