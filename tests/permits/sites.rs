//! Servers that share a store: four on one Redis, or one on SQLite.

use std::time::Duration;

use crate::harness::{Authority, Client};
use crate::kit::{connect, marked_redis, quiet, within};
use crate::scrape::Scrape;
use crate::support::redis_server::{RedisServer, free_port};

const REPLICAS: usize = 4;
/// How soon all that was taken ahead has come back once nobody asks.
const QUIET_WITHIN: Duration = Duration::from_secs(10);

/// The fields are dropped in this order: the processes before what they work on.
pub(crate) struct Site {
    pub(crate) authorities: Vec<Authority>,
    _redis: Option<RedisServer>,
}

impl Site {
    /// One of them that is started again is found where it was.
    pub(crate) async fn four() -> Self {
        let redis = marked_redis(&[]);
        let replica = |_| {
            let place = format!("127.0.0.1:{}", free_port());
            quiet(Authority::over(&redis.url())).listening_on(&place)
        };
        let mut authorities: Vec<_> = (0..REPLICAS).map(replica).collect();
        authorities.iter_mut().for_each(Authority::start);
        for authority in &authorities {
            authority.serving(true).await;
        }
        Self {
            authorities,
            _redis: Some(redis),
        }
    }

    pub(crate) async fn one() -> Self {
        let place = format!("127.0.0.1:{}", free_port());
        let mut authority = quiet(Authority::before_sqlite_start()).listening_on(&place);
        authority.start();
        authority.serving(true).await;
        Self {
            authorities: vec![authority],
            _redis: None,
        }
    }

    /// A client of the first of them.
    pub(crate) fn root(&self) -> Client {
        connect(&self.authorities[0])
    }

    /// A client of each, over a connection of its own.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.authorities.iter().map(connect).collect()
    }

    /// A series of the metrics, summed over all.
    pub(crate) fn sum(&self, series: &str) -> f64 {
        let value = |authority| Scrape::of(authority).value(series);
        self.authorities.iter().map(value).sum()
    }

    /// Waits until nobody holds anything that was taken ahead.
    pub(crate) async fn is_quiet(&self) {
        let quiet = async || self.sum("permits_outstanding") == 0.0;
        within(QUIET_WITHIN, "all is given back", quiet).await;
        // What is on its way to the store is counted when it is there.
        let settled = async || {
            let of = |what| self.sum(&format!("permits_{what}_total"));
            of("granted") == of("used") + of("returned") + of("lost")
        };
        within(QUIET_WITHIN, "it is known what became of all", settled).await;
    }
}
