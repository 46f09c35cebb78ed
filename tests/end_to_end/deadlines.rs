//! Deadlines: an answer or `DEADLINE_EXCEEDED`, and nothing half-done.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{ListRequest, Verdict};
use tonic::{Code, Request};

use crate::harness::{Authority, create, named, presenting, reason, verdict};

pub(crate) async fn a_tiny_deadline_is_exceeded_or_met_and_nothing_is_half_done(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (mut met, mut exceeded) = (0, 0);
    for n in 0..60u64 {
        let mut request = Request::new(named("t"));
        request.set_timeout(Duration::from_micros(1 << (n / 3)));
        match root.create(request).await {
            Ok(_) => met += 1,
            // The client's own clock may be the first to notice: then there are no details.
            Err(status) => {
                let deadline = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
                assert!(deadline, "{status:?}");
                exceeded += 1;
            }
        }
    }
    assert!(met > 0 && exceeded > 0, "{met} met, {exceeded} exceeded");
    // What is listed is whole, and at least what was acknowledged.
    let listed = root
        .list(ListRequest {
            page_size: 1000,
            ..ListRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!((met..=60).contains(&listed.tokens.len()));
    let (_, secret) = create(&mut root, named("after")).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_is_a_deadline_exceeded_or_an_outage_in_time() {
    let mut authority = Authority::before_redis_start();
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    authority.redis().signal("STOP");
    let begun = Instant::now();
    // Well below the store's own timeout: the server notices before the client gives up.
    let mut request = Request::new(presenting(&secret));
    request
        .metadata_mut()
        .insert("grpc-timeout", "300m".parse().unwrap());
    let status = root.validate(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    let mut request = Request::new(named("unknown outcome"));
    request
        .metadata_mut()
        .insert("grpc-timeout", "300m".parse().unwrap());
    assert_eq!(
        root.create(request).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert!(begun.elapsed() < Duration::from_secs(3));
    authority.redis().signal("CONT");
    authority.serving(true).await;
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    let listed = root
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner()
        .tokens;
    assert!(
        listed.len() == 1 || listed.len() == 2,
        "done or not done: {listed:?}"
    );
}
