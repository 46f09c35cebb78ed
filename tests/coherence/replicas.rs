//! Four running authorities over one redis-server.

use std::sync::Arc;

use crate::doors::{Door, Wire};
use crate::harness::Authority;
use crate::kit::{connect, marked_redis, quiet};
use crate::proxy::Proxy;
use crate::scrape::Scrape;
use crate::support::redis_server::{RedisServer, free_port};

pub(crate) const REPLICAS: usize = 4;

/// Askers all come from one address, and ask about ended secrets most of the time.
pub(crate) const NO_BUDGET: [&str; 2] = ["--set", "limits.failures_per_minute=0"];
/// Answers from memory at each replica without which nothing is shown.
const HITS_MIN: f64 = 500.0;

/// The fields are dropped in this order: the processes before what they work on.
pub(crate) struct Replicas {
    pub(crate) authorities: Vec<Authority>,
    pub(crate) redis: RedisServer,
}

impl Replicas {
    pub(crate) async fn start() -> Self {
        Self::with(&[], &[]).await
    }

    /// The same with settings of Redis and flags of the authorities.
    pub(crate) async fn with(settings: &[&str], flags: &[&str]) -> Self {
        let redis = marked_redis(settings);
        let urls = [(); REPLICAS].map(|()| redis.url());
        let authorities = serving(&urls, flags).await;
        Self { authorities, redis }
    }

    /// The last of them reaches Redis through a proxy.
    pub(crate) async fn with_proxy(flags: &[&str]) -> (Self, Proxy) {
        let redis = marked_redis(&[]);
        let proxy = Proxy::before(redis.port).await;
        let mut urls = [(); REPLICAS].map(|()| redis.url());
        urls[REPLICAS - 1] = proxy.url();
        let authorities = serving(&urls, flags).await;
        (Self { authorities, redis }, proxy)
    }

    /// Fails the test unless each of them answered from memory, and often.
    pub(crate) fn remembered(&self) {
        self.authorities.iter().for_each(remembered);
    }

    /// A door to each, over a connection of its own.
    pub(crate) fn doors(&self) -> Vec<Arc<dyn Door>> {
        let door = |authority| -> Arc<dyn Door> { Arc::new(Wire(connect(authority))) };
        self.authorities.iter().map(door).collect()
    }
}

/// Fails the test unless it answered from memory, and often.
pub(crate) fn remembered(authority: &Authority) {
    let scrape = Scrape::of(authority);
    let hits = scrape.value("cache_hits_total");
    assert!(hits > HITS_MIN, "{:?}", scrape.beginning("cache_"));
}

async fn serving(urls: &[String], flags: &[&str]) -> Vec<Authority> {
    let replica = |url: &String| {
        // One that is started again is found where it was.
        let place = format!("127.0.0.1:{}", free_port());
        let authority = quiet(Authority::over(url)).listening_on(&place);
        authority.with(&NO_BUDGET).with(flags)
    };
    let mut authorities: Vec<_> = urls.iter().map(replica).collect();
    for authority in &mut authorities {
        authority.start();
    }
    for authority in &authorities {
        authority.serving(true).await;
    }
    authorities
}
