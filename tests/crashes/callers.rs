//! Callers who make tokens, change and end them, and spend quotas, all at once, until something
//! ends under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{self, RotateRequest};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::harness::{Client, PATIENCE, presenting};
use crate::kit::{by_id, deletion, within};
use crate::ledger::{Change, Entry, Facts, Purse};

/// Callers who make tokens, and those who only spend quotas: a use is lost between its answer and
/// its commit in a moment so short that only many uses meet it.
const CALLERS: usize = 8;
const SPENDERS: usize = 4;

/// What is acknowledged at least before a round ends.
const ACKNOWLEDGED_MIN: usize = 80;

/// What one caller knows when its round is over.
pub(crate) struct Told {
    pub(crate) entries: Vec<Entry>,
    /// A creation that was not answered.
    pub(crate) begun: Option<Facts>,
    /// Why it stopped.
    pub(crate) status: Status,
}

impl Told {
    /// How many changes were asked for and not answered.
    pub(crate) fn open(&self) -> usize {
        let asked = self.entries.iter().filter(|entry| entry.asked.is_some());
        asked.count() + usize::from(self.begun.is_some())
    }
}

/// A round of callers at work.
pub(crate) struct Round {
    number: usize,
    began: Instant,
    acknowledged: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Told>>,
}

impl Round {
    /// Starts the callers; `connect` makes the connections of each, which it uses in turn.
    pub(crate) fn begin(
        number: usize,
        purses: &Arc<Vec<Purse>>,
        connect: impl Fn() -> Vec<Client>,
    ) -> Self {
        let acknowledged = Arc::<AtomicUsize>::default();
        let callers = (0..CALLERS + SPENDERS).map(|caller| {
            let only_spends = caller >= CALLERS;
            let caller = Caller {
                name: format!("r{number}c{caller}"),
                clients: connect(),
                calls: caller,
                turn: caller,
                purses: Arc::clone(purses),
                acknowledged: Arc::clone(&acknowledged),
                entries: Vec::new(),
                begun: None,
            };
            tokio::spawn(caller.work(only_spends))
        });
        Self {
            number,
            began: Instant::now(),
            callers: callers.collect(),
            acknowledged,
        }
    }

    /// Waits until enough was acknowledged, and for a while that differs from round to round.
    pub(crate) async fn is_under_way(&self) {
        let pause = Duration::from_millis(100 + (self.number as u64 * 37) % 200);
        let enough = ACKNOWLEDGED_MIN + (self.number * 7) % 40;
        within(PATIENCE, "changes are acknowledged", async || {
            self.acknowledged.load(Ordering::SeqCst) >= enough && self.began.elapsed() >= pause
        })
        .await;
    }

    /// Waits until each caller met an error, and answers what they know.
    pub(crate) async fn over(self) -> Vec<Told> {
        let mut told = Vec::new();
        for caller in self.callers {
            let ended = tokio::time::timeout(PATIENCE, caller).await;
            told.push(ended.expect("a caller that met an error").unwrap());
        }
        told
    }
}

/// One caller, with tokens that nobody else changes.
struct Caller {
    name: String,
    clients: Vec<Client>,
    calls: usize,
    /// Counts its tokens, from where no other caller begins, so that their lives end differently.
    turn: usize,
    purses: Arc<Vec<Purse>>,
    acknowledged: Arc<AtomicUsize>,
    entries: Vec<Entry>,
    begun: Option<Facts>,
}

impl Caller {
    async fn work(mut self, only_spends: bool) -> Told {
        let status = loop {
            let done = match only_spends {
                true => self.spend().await,
                false => self.live().await,
            };
            if let Err(status) = done {
                break status;
            }
        };
        Told {
            entries: self.entries,
            begun: self.begun,
            status,
        }
    }

    /// The life of one token.
    async fn live(&mut self) -> Result<(), Status> {
        self.turn += 1;
        let (name, turn) = (self.name.clone(), self.turn);
        let facts = |step: usize, owner: &str| Facts::new(format!("{name}-{turn}.{step}"), owner);
        self.create(facts(0, &name)).await?;
        self.spend().await?;
        self.update(facts(1, &name)).await?;
        self.rotate().await?;
        self.spend().await?;
        self.update(facts(2, &format!("heir of {name}"))).await?;
        self.is_as_told().await?;
        match turn % 3 {
            0 => self.revoke(format!("turn {turn}")).await,
            1 => self.delete().await,
            _ => Ok(()),
        }
    }

    /// The connection whose turn it is.
    fn client(&mut self) -> &mut Client {
        self.calls += 1;
        let turn = self.calls % self.clients.len();
        &mut self.clients[turn]
    }

    fn last(&mut self) -> &mut Entry {
        self.entries.last_mut().expect("a token")
    }

    /// Notes that `change` is asked for, and answers of which token.
    fn ask(&mut self, change: Change) -> String {
        let entry = self.last();
        entry.asked = Some(change);
        entry.token_id.clone()
    }

    fn acknowledge(&mut self) {
        self.last().done();
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
    }

    async fn create(&mut self, facts: Facts) -> Result<(), Status> {
        let request = facts.creation();
        self.begun = Some(facts);
        let answer = self.client().create(request).await?.into_inner();
        let facts = self.begun.take();
        let token = whole(answer.token);
        assert_eq!(Some(Facts::of(&token)), facts);
        self.entries.push(Entry::created(&token, answer.secret));
        self.acknowledge();
        Ok(())
    }

    async fn update(&mut self, facts: Facts) -> Result<(), Status> {
        let token_id = self.ask(Change::Update(facts.clone()));
        let answer = self.client().update(facts.update(&token_id)).await?;
        assert_eq!(Facts::of(&whole(answer.into_inner().token)), facts);
        self.acknowledge();
        Ok(())
    }

    async fn rotate(&mut self) -> Result<(), Status> {
        let request_id = format!("rotate {} {}", self.name, self.turn);
        let token_id = self.ask(Change::Rotate(request_id.clone()));
        let request = rotation(&token_id, &request_id);
        let answer = self.client().rotate(request).await?.into_inner();
        self.last().rotated(&whole(answer.token), answer.secret);
        self.acknowledge();
        Ok(())
    }

    async fn revoke(&mut self, reason: String) -> Result<(), Status> {
        let token_id = self.ask(Change::Revoke(reason.clone()));
        self.client().revoke(by_id(&token_id, &reason)).await?;
        self.acknowledge();
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), Status> {
        let token_id = self.ask(Change::Delete);
        self.client().delete(deletion(&token_id)).await?;
        self.acknowledge();
        Ok(())
    }

    async fn spend(&mut self) -> Result<(), Status> {
        let purses = Arc::clone(&self.purses);
        let purse = &purses[self.calls % purses.len()];
        purse.spend(self.client()).await
    }

    /// Asks about both secrets of the last token, over whichever connection has its turn.
    async fn is_as_told(&mut self) -> Result<(), Status> {
        let entry = self.last().clone();
        let secrets = [Some(entry.secret.clone()), entry.cut.clone()];
        let (current, cut) = entry.verdicts();
        for (secret, expected) in secrets.into_iter().zip([current, cut]) {
            let request = presenting(&secret.expect("it was rotated"));
            let answer = self.client().validate(request).await?.into_inner();
            assert_eq!(answer.verdict(), expected, "{entry:?}");
        }
        Ok(())
    }
}

pub(crate) fn rotation(token_id: &str, request_id: &str) -> RotateRequest {
    RotateRequest {
        token_id: token_id.to_owned(),
        request_id: request_id.to_owned(),
        ..RotateRequest::default()
    }
}

fn whole(token: Option<pb::Token>) -> pb::Token {
    token.expect("every change answers the token")
}
