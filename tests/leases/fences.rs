//! Fences of a Redis that comes back without its last moments: they grow all the same.

use std::time::{Duration, Instant};

use token_authority::domain::caller::Reach;
use token_authority::store::Store;
use token_authority::store::leases::{Acquired, LeaseTarget};

use crate::sites::Site;
use crate::support::leases::{asking, lease_id, pool};

const PATIENCE: Duration = Duration::from_secs(20);

/// Leases the one token, once the store answers; its fence, and what names the lease.
async fn lease(store: &dyn Store) -> (u64, LeaseTarget) {
    let patience = Instant::now() + PATIENCE;
    loop {
        match store.acquire(&asking(&pool("gpu"))).await {
            Ok(Acquired::Granted { token, lease, .. }) => {
                let target = LeaseTarget::Lease(lease_id(&token, &lease));
                return (lease.fence, target);
            }
            other => assert!(Instant::now() < patience, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fences_grow_over_a_redis_that_forgot_its_last_leases() {
    let mut site = Site::on_redis(1).await;
    site.fill(1).await;
    let store = site.stores[0].clone();
    let (mut greatest, first) = lease(store.as_ref()).await;
    store.release(first, &Reach::All).await.unwrap();
    let server = site.server.as_mut().unwrap();
    // From here on nothing is kept.
    let () = server.ask(&["CONFIG", "SET", "appendonly", "no"]).await;
    for number in 0..5 {
        let (fence, target) = lease(store.as_ref()).await;
        assert!(greatest < fence);
        greatest = fence;
        if number < 4 {
            store.release(target, &Reach::All).await.unwrap();
        }
    }
    server.kill();
    server.restart();
    // Redis knows nothing of the last holder; whoever keeps the greatest fence does.
    let (fence, target) = lease(store.as_ref()).await;
    assert!(greatest < fence, "{fence} after {greatest}");
    store.release(target, &Reach::All).await.unwrap();
}
