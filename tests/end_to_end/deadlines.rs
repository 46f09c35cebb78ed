//! Deadlines: an answer or `DEADLINE_EXCEEDED`, and nothing half-done.

use std::time::Duration;

use token_authority::transport::grpc::pb::{ListRequest, Verdict};
use tonic::{Code, Request};

use crate::harness::{
    Authority, ROOT_TOKEN, create, named, out_of_time, presenting, reason, verdict,
};

pub(crate) async fn a_tiny_deadline_is_exceeded_or_met_and_nothing_is_half_done(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (mut met, mut exceeded) = (0, 0);
    for n in 0..60u64 {
        let mut request = Request::new(named("t"));
        request.set_timeout(Duration::from_micros(1 << (n / 3)));
        // A connection each: a server gives up one that resets too many calls.
        match authority.client(Some(ROOT_TOKEN)).create(request).await {
            Ok(_) => met += 1,
            // The client's own clock may be the first to notice: then there are no details.
            Err(status) => {
                assert!(out_of_time(&status), "{status:?}");
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
    let authority = Authority::on_redis();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    authority.redis().signal("STOP");
    // Well below the store's own timeout. The client's clock is sometimes the first to notice.
    let mut told = None;
    for _ in 0..30 {
        let mut request = Request::new(presenting(&secret));
        request
            .metadata_mut()
            .insert("grpc-timeout", "300m".parse().unwrap());
        let status = root.validate(request).await.unwrap_err();
        assert!(out_of_time(&status), "{status:?}");
        if status.code() == Code::DeadlineExceeded {
            told = Some(status);
            break;
        }
    }
    assert_eq!(
        reason(&told.expect("the server says so itself")),
        "DEADLINE_EXCEEDED"
    );
    let mut request = Request::new(named("unknown outcome"));
    request
        .metadata_mut()
        .insert("grpc-timeout", "300m".parse().unwrap());
    assert!(out_of_time(&root.create(request).await.unwrap_err()));
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
