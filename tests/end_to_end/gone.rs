//! Callers that go while their lease is granted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use token_authority::authority::act;
use token_authority::authority::error::Error;
use token_authority::authority::leases::{AcquireOrder, Leased};
use token_authority::authority::waiting::{Interruption, OnHold};
use token_authority::domain::caller::Caller;
use token_authority::domain::lease::Holder;
use token_authority::domain::name::{PoolName, RequestId};
use token_authority::domain::profile::Profile;

use crate::round_trips::Bench;

/// A caller of whom nothing is known but whether it is still there.
struct Line {
    gone: bool,
}

#[tonic::async_trait]
impl OnHold for Line {
    async fn hold(
        &mut self,
        over: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Result<(), Interruption> {
        over.await;
        Ok(())
    }

    async fn caller_by_now(&mut self) -> Result<Arc<Caller>, Error> {
        Err(Error::Internal("nobody waits here".to_owned()))
    }

    fn has_gone(&mut self) -> bool {
        self.gone
    }
}

fn pool() -> PoolName {
    PoolName::parse("gpu").unwrap()
}

/// A bench with a pool of one token.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    let profile = Profile {
        pool: Some(pool()),
        ..Profile::default()
    };
    bench.create_saying(profile).await;
    bench
}

async fn acquired(bench: &Bench, name: Option<&str>, gone: bool) -> Result<Leased, Error> {
    let order = AcquireOrder {
        namespace: None,
        pool: pool(),
        holder: Holder::default(),
        duration: Duration::from_secs(60),
        wait: Duration::ZERO,
        request_id: name.map(|name| RequestId::parse(name).unwrap()),
    };
    let mut right = bench.right::<act::Acquire>();
    let mut line = Line { gone };
    bench.authority.acquire(&mut right, order, &mut line).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_somebody_who_has_gone_is_the_next_ones() {
    let bench = bench().await;
    let gone = acquired(&bench, None, true).await.unwrap_err();
    assert_eq!(gone, Error::CallerGone);
    acquired(&bench, None, false).await.expect("a lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gave_the_request_a_name_may_come_back_for_the_lease() {
    let bench = bench().await;
    let gone = acquired(&bench, Some("again"), true).await.unwrap_err();
    assert_eq!(gone, Error::CallerGone);
    let back = acquired(&bench, Some("again"), false).await;
    back.expect("the lease that was granted before");
    let other = acquired(&bench, Some("other"), false).await.unwrap_err();
    assert!(matches!(other, Error::PoolExhausted { .. }), "{other:?}");
    // Its name was given already, and what is repeated too late must not end what it holds.
    let late = acquired(&bench, Some("again"), true).await.unwrap_err();
    assert_eq!(late, Error::CallerGone);
    let again = acquired(&bench, Some("again"), false).await.unwrap_err();
    assert!(matches!(again, Error::AcquireUsed(_)), "3 secrets in all");
}
