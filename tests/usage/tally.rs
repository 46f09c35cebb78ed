//! A count of requests that knows nothing of how the authority counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{
    OverviewRequest, UsageRequest, UsageResponse, UsageTotals, Verdict,
};

use crate::harness::Client;

/// How soon all that was counted is in the store.
const ADDED_WITHIN: Duration = Duration::from_secs(60);

/// What was asked about one token, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) verdicts: BTreeMap<i32, u64>,
    pub(crate) endpoints: BTreeMap<String, u64>,
    pub(crate) versions: BTreeMap<u32, u64>,
    pub(crate) cost: u64,
    pub(crate) ended: u64,
    pub(crate) classes: BTreeMap<u32, u64>,
    /// Microseconds.
    pub(crate) latencies: Vec<u64>,
    pub(crate) response_bytes: u64,
}

impl Tally {
    pub(crate) fn requests(&self) -> u64 {
        self.verdicts.values().sum()
    }

    pub(crate) fn add(&mut self, other: Self) {
        fn join<K: Ord>(own: &mut BTreeMap<K, u64>, other: BTreeMap<K, u64>) {
            for (key, more) in other {
                *own.entry(key).or_default() += more;
            }
        }
        join(&mut self.verdicts, other.verdicts);
        join(&mut self.endpoints, other.endpoints);
        join(&mut self.versions, other.versions);
        join(&mut self.classes, other.classes);
        self.cost += other.cost;
        self.ended += other.ended;
        self.latencies.extend(other.latencies);
        self.response_bytes += other.response_bytes;
    }

    /// Requests that succeeded, where every end that was told was one of a valid request.
    fn successful(&self) -> u64 {
        let valid = self.verdicts.get(&Verdict::Valid.into());
        let failed = self.classes.get(&5).copied().unwrap_or_default();
        valid.copied().unwrap_or_default() - failed
    }

    /// The totals say the same.
    pub(crate) fn is_told_by(&self, told: &UsageTotals, of: &str) {
        let verdicts = told.verdicts.iter().map(|row| (row.verdict, row.requests));
        assert_eq!(verdicts.collect::<BTreeMap<_, _>>(), self.verdicts, "{of}");
        let classes = told
            .status_classes
            .iter()
            .map(|row| (row.class, row.requests));
        assert_eq!(classes.collect::<BTreeMap<_, _>>(), self.classes, "{of}");
        let sums = (
            told.requests,
            told.cost,
            told.completed,
            told.response_bytes,
        );
        let own = (self.requests(), self.cost, self.ended, self.response_bytes);
        assert_eq!(sums, own, "{of}");
        let ends = (told.successful, told.failed);
        let successful = self.successful();
        assert_eq!(ends, (successful, self.requests() - successful), "{of}");
        self.percentiles_are(told, of);
    }

    fn percentiles_are(&self, told: &UsageTotals, of: &str) {
        let mut spans = self.latencies.clone();
        spans.sort_unstable();
        for (percent, told) in [
            (50, &told.p50_latency),
            (95, &told.p95_latency),
            (99, &told.p99_latency),
        ] {
            let rank = (spans.len() * percent).div_ceil(100);
            let Some(at) = rank.checked_sub(1) else {
                assert_eq!(*told, None, "{of}");
                continue;
            };
            let told = Duration::try_from(told.unwrap()).unwrap().as_micros();
            let error = told.abs_diff(u128::from(spans[at]));
            let allowed = u128::from(spans[at]) * 32 / 1000 + 1;
            assert!(error <= allowed, "{of}: p{percent} {told} is {}", spans[at]);
        }
    }
}

/// What Usage answers about a token, once it tells of so many requests and ends.
pub(crate) async fn told_once(
    client: &mut Client,
    token_id: &str,
    (requests, ended): (u64, u64),
) -> UsageResponse {
    let patience = Instant::now() + ADDED_WITHIN;
    loop {
        let request = UsageRequest {
            token_id: token_id.to_owned(),
            window: None,
        };
        let told = client.usage(request).await.unwrap().into_inner();
        let totals = told.totals.clone().unwrap_or_default();
        if (totals.requests, totals.completed) == (requests, ended) {
            return told;
        }
        let more = totals.requests > requests || totals.completed > ended;
        assert!(
            !more,
            "something counted twice: {requests} {ended} {totals:?}"
        );
        assert!(Instant::now() < patience, "{requests} {ended} {totals:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What Overview tells of the namespace `default`, once it is as many requests and ends as are expected.
pub(crate) async fn overlooked(client: &mut Client, (requests, ended): (u64, u64)) -> UsageTotals {
    let patience = Instant::now() + ADDED_WITHIN;
    loop {
        let request = OverviewRequest::default();
        let told = client.overview(request).await.unwrap().into_inner();
        let totals = told.totals.unwrap_or_default();
        let enough = totals.requests >= requests && totals.completed >= ended;
        if enough || Instant::now() > patience {
            return totals;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
