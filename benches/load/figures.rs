//! What one window comes to.

use std::time::Duration;

use crate::Fault;

/// The figures of one row in one round; spans are in microseconds.
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) calls_per_second: f64,
    /// CPU of the server for one call; `None` where the system does not tell.
    pub(crate) server_cpu: Option<f64>,
    /// CPU of redis-server for one call; `None` for what has none.
    pub(crate) redis_cpu: Option<f64>,
    pub(crate) driver_cpu: Option<f64>,
    /// How often the store was asked about a token, for one call; `None` for what has none.
    pub(crate) looks: Option<f64>,
    /// Calls that failed, and count for nothing else.
    pub(crate) failed: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Figures {
    /// Of the latencies of all calls that ended within `span`, each kept: a minute is a few million.
    pub(crate) fn of(
        mut latencies: Vec<Duration>,
        span: Duration,
        used: Used,
    ) -> Result<Self, Fault> {
        if latencies.is_empty() {
            return Err("no call ended while it was measured".into());
        }
        latencies.sort_unstable();
        let calls = latencies.len() as f64;
        let each = |cpu: Option<Duration>| Some(cpu?.as_secs_f64() * 1e6 / calls);
        Ok(Self {
            calls: latencies.len(),
            calls_per_second: calls / span.as_secs_f64(),
            server_cpu: each(used.server),
            redis_cpu: each(used.redis),
            driver_cpu: each(used.driver),
            looks: used.looks.map(|looks| looks as f64 / calls),
            failed: 0,
            p50: at(&latencies, 0.5),
            p99: at(&latencies, 0.99),
            p999: at(&latencies, 0.999),
        })
    }
}

/// What was used up meanwhile, as far as it can be told.
#[derive(Default)]
pub(crate) struct Used {
    pub(crate) server: Option<Duration>,
    pub(crate) redis: Option<Duration>,
    pub(crate) driver: Option<Duration>,
    pub(crate) looks: Option<u64>,
}

/// The latency that the given share of the sorted calls did not exceed.
fn at(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1].as_secs_f64() * 1e6
}
