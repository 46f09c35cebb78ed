//! Uses of tokens: who makes them, and what is written down of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost_types::FieldMask;
use token_authority::transport::grpc::pb::{
    CreateRequest, Quota, RateLimit, Token, ValidateRequest, Verdict,
};
use tokio::task::JoinSet;

use crate::harness::{Client, PATIENCE, create, named, presenting, span};
use crate::kit::within;
use crate::sites::Site;

/// Nanoseconds since the first look at the clock.
pub(crate) type Nanos = u64;

/// How long a thousand uses may take on a busy machine with a slow disk.
const LOADED: Duration = PATIENCE.saturating_mul(3);

pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub(crate) fn now() -> Nanos {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(FIRST.elapsed().as_nanos()).expect("a short run")
}

/// A question, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) begun: Nanos,
    pub(crate) ended: Nanos,
    pub(crate) cost: u64,
    /// `None` if there was no answer: then it may have been made or not.
    pub(crate) verdict: Option<Verdict>,
}

impl Use {
    pub(crate) fn passed(&self) -> bool {
        self.verdict == Some(Verdict::Valid)
    }
}

pub(crate) fn rate(requests: u64, period: Duration, burst: u64) -> RateLimit {
    RateLimit {
        name: "only".to_owned(),
        requests,
        period: Some(span(period)),
        burst,
    }
}

pub(crate) fn limited(limit: RateLimit) -> CreateRequest {
    CreateRequest {
        rate_limits: vec![limit],
        ..named("limited")
    }
}

pub(crate) fn metered(limit: u64) -> CreateRequest {
    CreateRequest {
        quota: Some(Quota {
            limit,
            ..Quota::default()
        }),
        ..named("metered")
    }
}

/// A token that was just made, and its secret.
pub(crate) async fn made(site: &Site, request: CreateRequest) -> (Token, Arc<str>) {
    let (token, secret) = create(&mut site.root(), request).await;
    (token, secret.into())
}

/// Uses the token once.
pub(crate) async fn use_once(client: &mut Client, secret: &str, cost: u64) -> Use {
    let request = ValidateRequest {
        cost: Some(cost),
        ..presenting(secret)
    };
    let begun = now();
    let answer = client.validate(request).await;
    Use {
        begun,
        ended: now(),
        cost,
        verdict: answer.ok().map(|answer| answer.into_inner().verdict()),
    }
}

/// Callers who use a token at all servers of a site, one use after the other, until they are called
/// off.
pub(crate) struct Callers {
    uses: Arc<Mutex<Vec<Use>>>,
    off: Arc<AtomicBool>,
    calling: JoinSet<()>,
}

impl Callers {
    /// So many at each server; what each use costs is theirs in turn.
    pub(crate) fn at(site: &Site, each: usize, secret: &Arc<str>, costs: &'static [u64]) -> Self {
        let (uses, off) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut calling = JoinSet::new();
        for client in site.clients() {
            for number in 0..each {
                let (client, secret) = (client.clone(), secret.clone());
                let (uses, off) = (Arc::clone(&uses), off.clone());
                let costs = costs.iter().copied().cycle().skip(number);
                calling.spawn(call(client, secret, costs, uses, off));
            }
        }
        Self { uses, off, calling }
    }

    /// What they did so far.
    pub(crate) fn so_far(&self) -> Vec<Use> {
        self.uses.lock().unwrap().clone()
    }

    /// Waits until so much has passed.
    pub(crate) async fn until_passed(&self, cost: u64) {
        let passed = async || passed(&self.so_far()) >= cost;
        let what = format!("{cost} pass");
        within(LOADED, &what, passed).await;
    }

    /// Waits until nothing passes any more, and nothing comes back for a while.
    pub(crate) async fn until_refused(&self) {
        let refused = async || {
            let uses = self.so_far();
            let last = uses.iter().rev();
            last.take_while(|made| made.verdict == Some(Verdict::RateLimited))
                .count()
                > 200
        };
        within(LOADED, "all is refused", refused).await;
    }

    /// Lets them use what is left until nothing is left anywhere; answers all that was done.
    pub(crate) async fn exhaust(self, site: &Site, secret: &str) -> Vec<Use> {
        self.until_refused().await;
        let mut uses = self.off().await;
        site.is_quiet().await;
        // What came back last is there for whoever asks.
        for client in &mut site.clients() {
            loop {
                let last = use_once(client, secret, 1).await;
                uses.push(last);
                if !last.passed() {
                    break;
                }
            }
        }
        assert_eq!(unknown(&uses), 0);
        uses
    }

    /// Calls them off; answers all that they did.
    pub(crate) async fn off(self) -> Vec<Use> {
        self.off.store(true, Ordering::SeqCst);
        self.calling.join_all().await;
        let uses = self.uses.lock().unwrap();
        uses.clone()
    }
}

async fn call(
    mut client: Client,
    secret: Arc<str>,
    mut costs: impl Iterator<Item = u64>,
    uses: Arc<Mutex<Vec<Use>>>,
    off: Arc<AtomicBool>,
) {
    while !off.load(Ordering::SeqCst) {
        let cost = costs.next().unwrap();
        let made = use_once(&mut client, &secret, cost).await;
        uses.lock().unwrap().push(made);
        if !made.passed() {
            // Where there is nothing to be had, others shall have the processor.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The cost of all that certainly passed.
pub(crate) fn passed(uses: &[Use]) -> u64 {
    uses.iter()
        .filter(|made| made.passed())
        .map(|made| made.cost)
        .sum()
}

/// The cost of all of which nobody knows.
pub(crate) fn unknown(uses: &[Use]) -> u64 {
    let unanswered = uses.iter().filter(|made| made.verdict.is_none());
    unanswered.map(|made| made.cost).sum()
}

/// The mask of a change of one field.
pub(crate) fn only(path: &str) -> Option<FieldMask> {
    Some(FieldMask {
        paths: vec![path.to_owned()],
    })
}
