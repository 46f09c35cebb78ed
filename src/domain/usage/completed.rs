//! How requests ended, as those tell who served them.

use std::time::Duration;

use super::Add;
use super::histogram::Histogram;
use crate::domain::verdict::Verdict;

/// Status classes, from 1xx to 5xx.
pub const CLASSES: usize = 5;

/// What is told of how one request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What it was judged; `None` of one that a client let pass by itself.
    pub verdict: Option<Verdict>,
    /// HTTP's, 100 to 599; `None` where there is none.
    pub status: Option<u16>,
    /// gRPC's, where there is one.
    pub grpc_status: Option<u32>,
    pub latency: Option<Duration>,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl Outcome {
    /// Whether it succeeded: what gRPC says counts before what HTTP says; `None` where neither does.
    pub fn succeeded(&self) -> Option<bool> {
        let by_grpc = self.grpc_status.map(|status| status == 0);
        by_grpc.or(self.status.map(|status| status < 400))
    }
}

/// Sums over what was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    pub requests: u64,
    /// Of them, those that nobody judged.
    pub unjudged: u64,
    /// Of those that nobody judged, how many failed.
    pub unjudged_failed: u64,
    /// Judged valid, and failed all the same.
    pub failed: u64,
    /// Refused, and succeeded all the same.
    pub succeeded: u64,
    pub latency: Histogram,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// By the first digit of HTTP's status, 1 to 5.
    pub classes: [u64; CLASSES],
}

impl Completed {
    pub fn note(&mut self, outcome: &Outcome) {
        self.requests += 1;
        match (outcome.verdict, outcome.succeeded()) {
            (None, succeeded) => {
                self.unjudged += 1;
                self.unjudged_failed += u64::from(succeeded == Some(false));
            }
            (Some(Verdict::Valid), Some(false)) => self.failed += 1,
            (Some(Verdict::Valid), _) => {}
            (Some(_), Some(true)) => self.succeeded += 1,
            (Some(_), _) => {}
        }
        if let Some(latency) = outcome.latency {
            self.latency.note(latency);
        }
        self.request_bytes = self.request_bytes.saturating_add(outcome.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(outcome.response_bytes);
        let class = outcome.status.map(|status| usize::from(status / 100));
        let class = class.and_then(|class| class.checked_sub(1));
        if let Some(count) = class.and_then(|class| self.classes.get_mut(class)) {
            *count += 1;
        }
    }
}

impl Add for Completed {
    fn add(&mut self, other: Self) {
        let Self {
            requests,
            unjudged,
            unjudged_failed,
            failed,
            succeeded,
            latency,
            request_bytes,
            response_bytes,
            classes,
        } = other;
        let sums = [
            (&mut self.requests, requests),
            (&mut self.unjudged, unjudged),
            (&mut self.unjudged_failed, unjudged_failed),
            (&mut self.failed, failed),
            (&mut self.succeeded, succeeded),
            (&mut self.request_bytes, request_bytes),
            (&mut self.response_bytes, response_bytes),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.latency.add(latency);
        for (sum, more) in self.classes.iter_mut().zip(classes) {
            *sum = sum.saturating_add(more);
        }
    }

    fn weight(&self) -> u64 {
        self.requests
    }
}
