//! The use cases: every transport enters here, and nothing here knows of any wire format.

pub mod access;
pub mod act;
mod audit;
pub mod batch;
mod budgets;
mod busiest;
mod cache;
pub mod call;
mod callers;
pub mod certificates;
pub mod changes;
pub mod coherence;
mod decide;
mod degraded;
pub mod ending;
pub mod error;
pub mod failures;
pub mod heartbeat;
pub mod leases;
mod look;
pub mod mint;
mod missing_peppers;
pub mod namespaces;
mod numbering;
mod permits;
pub mod pools;
pub mod readiness;
pub mod recorder;
mod recurring;
mod refusal;
pub mod replicas;
pub mod reports;
pub mod seen;
mod shares;
mod signing_in;
mod surrender;
pub mod sweeper;
pub mod telling;
pub mod tokens;
pub mod usage;
pub mod validate;
pub mod waiting;
pub mod watching;

use std::sync::Arc;

use crate::domain::policy::Policies;
use crate::domain::pool::LeaseTerms;
use crate::domain::usage::UsageTerms;
use crate::entropy::EntropyError;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::trail::Trail;

use access::Root;
pub use cache::CacheBounds;
use callers::Callers;
use certificates::CertificateCallers;
use coherence::Coherence;
use failures::FailureBudgets;
use mint::Mint;
use numbering::Numbering;
use recorder::Recorder;
use shares::Shares;
use surrender::PeerBudgets;
use watching::Watching;

/// Most calls that wait for leases, unless [`Authority::with_leases`] says otherwise.
const WAITING_MAX: usize = 4096;

/// The authority: a store, and who may do what with it.
pub struct Authority {
    store: Arc<dyn Store>,
    roots: Vec<Root>,
    certificates: CertificateCallers,
    callers: Callers,
    mint: Mint,
    coherence: Arc<Coherence>,
    policies: Arc<Policies>,
    validation_ids: Numbering,
    call_ids: Numbering,
    surrenders: PeerBudgets,
    sign_ins: PeerBudgets,
    shares: Shares,
    recorder: Arc<Recorder>,
    usage: UsageTerms,
    /// `None` where nobody's failures are counted.
    failures: Option<FailureBudgets>,
    watching: Arc<Watching>,
    terms: LeaseTerms,
    /// Most calls that wait for leases here.
    waiting_max: usize,
    metrics: Arc<Metrics>,
    trail: Arc<Trail>,
}

impl Authority {
    /// Audit lines go into the log, and what is counted is read by nobody, unless
    /// [`Authority::observed`] says otherwise.
    pub fn new(store: Arc<dyn Store>, roots: Vec<Root>, mint: Mint) -> Result<Self, EntropyError> {
        let metrics = Arc::new(Metrics::new([]));
        let coherence = Coherence::new(store.clone(), CacheBounds::default(), metrics.clone())?;
        Ok(Self {
            coherence: Arc::new(coherence),
            watching: Arc::new(Watching::new(store.clone())),
            store,
            roots,
            certificates: CertificateCallers::default(),
            callers: Callers::default(),
            mint,
            policies: Arc::default(),
            validation_ids: Numbering::new()?,
            call_ids: Numbering::new()?,
            surrenders: PeerBudgets::default(),
            sign_ins: PeerBudgets::default(),
            shares: Shares::default(),
            recorder: Arc::new(Recorder::new(metrics.clone())),
            usage: UsageTerms::default(),
            failures: None,
            terms: LeaseTerms::default(),
            waiting_max: WAITING_MAX,
            metrics,
            trail: Arc::new(Trail::to_log()),
        })
    }

    /// The same, counting in `metrics` and writing audit lines to `trail`.
    pub fn observed(self, metrics: Arc<Metrics>, trail: Arc<Trail>) -> Self {
        Self {
            mint: self.mint.counting(metrics.clone()),
            coherence: Arc::new(self.coherence.counting(metrics.clone())),
            recorder: Arc::new(Recorder::new(metrics.clone())),
            metrics,
            trail,
            ..self
        }
    }

    /// Remembers no more than this.
    pub fn with_cache(self, bounds: CacheBounds) -> Self {
        Self {
            coherence: Arc::new(self.coherence.within(bounds)),
            ..self
        }
    }

    /// What keeps answers from memory true; [`Coherence::keep`] has to run for there to be any.
    pub fn coherence(&self) -> Arc<Coherence> {
        self.coherence.clone()
    }

    /// Takes down what is judged; [`recorder::Flushing::keep`] has to run for it to be counted and kept.
    pub fn recorder(&self) -> Arc<Recorder> {
        self.recorder.clone()
    }

    /// Waits until the audit lines so far are written, or are known to wait.
    pub async fn recorded(&self) {
        self.trail.settled().await;
    }

    /// Knows callers by their certificates, too.
    pub fn with_certificates(self, certificates: CertificateCallers) -> Self {
        Self {
            certificates,
            ..self
        }
    }

    /// Leases on these terms, and lets so many calls wait for leases at once.
    pub fn with_leases(self, terms: LeaseTerms, waiting_max: usize) -> Self {
        Self {
            terms,
            waiting_max,
            ..self
        }
    }

    /// Reads the store no more for a client of whom so many secrets in a minute were not in force;
    /// 0, or without, for as many as come.
    pub fn with_failure_budget(self, per_minute: u32) -> Self {
        Self {
            failures: FailureBudgets::new(per_minute),
            ..self
        }
    }

    /// What is allowed of leases, and given where nothing is said.
    pub fn lease_terms(&self) -> LeaseTerms {
        self.terms
    }

    /// Keeps of requests what these terms say; without, all of them.
    pub fn with_usage(self, usage: UsageTerms) -> Self {
        Self { usage, ..self }
    }

    /// Restricts namespaces; without, there is no restriction.
    pub fn with_policies(self, policies: Policies) -> Self {
        Self {
            policies: Arc::new(policies),
            ..self
        }
    }
}
