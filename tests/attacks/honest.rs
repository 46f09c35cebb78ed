//! A client that means well and calls all the time, over one connection and over new ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::Verdict;
use tokio::task::JoinHandle;

use crate::harness::{Authority, Client, ROOT_TOKEN, create, named, presenting};

/// How long an honest call may take, with a connection made for it. An unoptimised server on a busy
/// machine needs a few milliseconds, or a hundred; where an attack holds what honest calls need,
/// they wait for deadlines of five seconds and more, or for ever.
const SLOWEST: Duration = Duration::from_secs(3);
/// Every so many calls come over a new connection.
const NEW_EVERY: usize = 4;

/// Calls under way, until [`Honest::fared_well`].
pub(crate) struct Honest {
    over: Arc<AtomicBool>,
    calling: JoinHandle<(usize, Duration)>,
}

impl Honest {
    pub(crate) async fn begin(authority: &Authority) -> Self {
        let mut kept = authority.root().await;
        let (_, secret) = create(&mut kept, named("honest")).await;
        let over = Arc::new(AtomicBool::new(false));
        let endpoint = authority.endpoint();
        let calling = tokio::spawn({
            let over = over.clone();
            async move {
                let (mut calls, mut slowest) = (0, Duration::ZERO);
                while !over.load(Ordering::Relaxed) || calls < 2 * NEW_EVERY {
                    let begun = Instant::now();
                    calls += 1;
                    if calls % NEW_EVERY == 0 {
                        let mut new =
                            crate::harness::client_over(endpoint.connect_lazy(), Some(ROOT_TOKEN));
                        validate(&mut new, &secret).await;
                    } else {
                        validate(&mut kept, &secret).await;
                    }
                    slowest = slowest.max(begun.elapsed());
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (calls, slowest)
            }
        });
        Self { over, calling }
    }

    /// Ends, and asserts that every call was answered, and soon.
    pub(crate) async fn fared_well(self) {
        self.over.store(true, Ordering::Relaxed);
        let (calls, slowest) = self.calling.await.expect("every call is answered");
        eprintln!("{calls} honest calls, the slowest in {slowest:?}");
        assert!(slowest < SLOWEST, "an honest call took {slowest:?}");
    }
}

async fn validate(client: &mut Client, secret: &str) {
    let mut request = tonic::Request::new(presenting(secret));
    request.set_timeout(2 * SLOWEST);
    let answer = client.validate(request).await;
    let verdict = answer.expect("an honest call is answered").into_inner();
    assert_eq!(verdict.verdict(), Verdict::Valid);
}
