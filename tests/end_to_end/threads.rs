//! Both shapes of the runtime serve, tell how connections are spread, and stop.

use token_authority::transport::grpc::pb::Verdict;

use crate::harness::{Authority, create, named, presenting};
use crate::scrape::Scrape;

const SERIES: &str = "worker_connections";

/// A server with two threads that serve.
async fn serving(runtime: &str) -> Authority {
    let runtime = format!("server.runtime={runtime}");
    let flags = ["--set", &runtime, "--set", "server.workers=2"];
    let mut authority = Authority::before_sqlite_start().with(&flags);
    authority.start();
    authority.serving(true).await;
    authority
}

/// Asks over so many connections at once, stops, and answers how many connections each worker had.
async fn spread(authority: &mut Authority, connections: usize) -> Vec<f64> {
    let (_, secret) = create(&mut authority.root().await, named("t")).await;
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = authority.root().await;
        let answer = client.validate(presenting(&secret)).await.unwrap();
        assert_eq!(answer.into_inner().verdict(), Verdict::Valid);
        clients.push(client);
    }
    let metrics = Scrape::of(authority);
    let by_worker = metrics.beginning(SERIES);
    let by_worker = by_worker.into_iter().map(|(_, open)| open).collect();
    let (code, _) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    by_worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_spread_over_the_workers_of_a_runtime_per_core() {
    let mut authority = serving("per-core").await;
    let open = spread(&mut authority, 8).await;
    let [first, second] = open[..] else {
        panic!("a series for each worker: {open:?}");
    };
    assert!(first >= 4.0 && second >= 4.0, "{open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_runtime_serves_without_workers() {
    let mut authority = serving("shared").await;
    assert!(spread(&mut authority, 8).await.is_empty());
}
