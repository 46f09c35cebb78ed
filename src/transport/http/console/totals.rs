//! How much was asked and how it ended, as pages show it.

use crate::transport::grpc::pb;

use super::shown::{count, took, verdict};

/// Numbers over a window.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) requests: String,
    pub(super) successful: String,
    pub(super) failed: String,
    pub(super) cost: String,
    pub(super) completed: String,
    pub(super) average: String,
    pub(super) p50: String,
    pub(super) p95: String,
    pub(super) p99: String,
    pub(super) verdicts: Vec<(String, String)>,
}

impl Totals {
    pub(super) fn of(totals: Option<&pb::UsageTotals>) -> Self {
        let Some(totals) = totals else {
            return Self::default();
        };
        let verdicts = totals.verdicts.iter();
        Self {
            requests: count(totals.requests),
            successful: count(totals.successful),
            failed: count(totals.failed),
            cost: count(totals.cost),
            completed: count(totals.completed),
            average: took(totals.average_latency.as_ref()),
            p50: took(totals.p50_latency.as_ref()),
            p95: took(totals.p95_latency.as_ref()),
            p99: took(totals.p99_latency.as_ref()),
            verdicts: verdicts
                .map(|own| (verdict(own.verdict), count(own.requests)))
                .collect(),
        }
    }
}

/// How an endpoint was used.
pub(super) struct EndpointRow {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) totals: Totals,
}

/// The busiest endpoints, the busiest first.
pub(super) fn endpoints(told: &[pb::EndpointUsage]) -> Vec<EndpointRow> {
    let mut told: Vec<&pb::EndpointUsage> = told.iter().collect();
    let requests = |own: &pb::EndpointUsage| own.totals.as_ref().map_or(0, |own| own.requests);
    told.sort_by_key(|own| std::cmp::Reverse(requests(own)));
    let row = |own: &pb::EndpointUsage| EndpointRow {
        method: own.method.clone(),
        path: match own.endpoint.as_str() {
            "" => "(no path given)".to_owned(),
            path => path.to_owned(),
        },
        totals: Totals::of(own.totals.as_ref()),
    };
    told.into_iter().take(10).map(row).collect()
}

/// The windows that one may choose from.
const WINDOWS: [(&str, &str); 4] = [
    ("1h", "the last hour"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
];

/// A window that may be chosen.
pub(super) struct Choice {
    pub(super) value: &'static str,
    pub(super) text: &'static str,
    pub(super) chosen: bool,
}

/// The chosen window, as it is written in a query, and all that may be chosen.
pub(super) fn windows(asked: &str) -> (&str, Vec<Choice>) {
    let asked = if asked.is_empty() { "24h" } else { asked };
    let choice = |(value, text)| Choice {
        value,
        text,
        chosen: value == asked,
    };
    (asked, WINDOWS.into_iter().map(choice).collect())
}
