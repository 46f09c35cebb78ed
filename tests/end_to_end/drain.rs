//! SIGTERM and SIGINT: what is in hand is finished, and nobody can hold the process up.

use std::net::TcpStream;
use std::time::Duration;

use token_authority::transport::grpc::pb::{ListRequest, Verdict};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Authority, create, named, out_of_time, presenting, reason, verdict};

pub(crate) async fn it_stops_with_idle_silent_and_streaming_connections(mut authority: Authority) {
    let mut root = authority.root().await;
    create(&mut root, named("idle afterwards")).await;
    let silent = TcpStream::connect(&authority.address).expect("a silent connection");
    let mut half_spoken = TcpStream::connect(&authority.address).expect("a connection");
    std::io::Write::write_all(&mut half_spoken, b"PRI * HTTP/2.0\r\n").expect("half a preface");
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut health = HealthClient::new(authority.channel());
    let mut watched = health.watch(request).await.expect("a stream").into_inner();
    let first = watched.next().await.expect("a status").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    let watching = tokio::spawn(async move {
        let mut last = ServingStatus::Serving;
        while let Some(Ok(answer)) = watched.next().await {
            last = answer.status();
        }
        last
    });
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(
        took < Duration::from_secs(8),
        "it waited for its deadline: {took:?}"
    );
    assert_eq!(
        watching.await.unwrap(),
        ServingStatus::NotServing,
        "health says so before the stream ends"
    );
    drop((silent, half_spoken));
}

pub(crate) async fn what_was_acknowledged_before_a_stop_is_stored(mut authority: Authority) {
    let mut root = authority.root().await;
    create(&mut root, named("the connection is there")).await;
    let calls: Vec<_> = (0..300)
        .map(|n| {
            let mut root = root.clone();
            tokio::spawn(async move { root.create(named(&n.to_string())).await })
        })
        .collect();
    let mut calls = calls.into_iter();
    let first = calls.next().expect("a call").await.unwrap();
    let mut secrets = vec![
        first
            .expect("the first call is answered")
            .into_inner()
            .secret,
    ];
    let (code, _) = authority.stop("INT");
    assert_eq!(code, Some(0), "{}", authority.log());
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => secrets.push(answer.into_inner().secret),
            // Refused by the gate, or never taken: the connection was gone.
            Err(status) => assert!(
                status.code() == Code::Unavailable || std::error::Error::source(&status).is_some(),
                "{status:?}"
            ),
        }
    }
    authority.start();
    let mut root = authority.root().await;
    for secret in secrets {
        assert_eq!(verdict(&mut root, &secret).await, Verdict::Valid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_hand_is_finished_and_an_abandoned_change_seen_through() {
    let mut authority = Authority::on_redis();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    authority.redis().run("CLIENT PAUSE 3000 ALL").await;
    let held = tokio::spawn({
        let (mut root, secret) = (root.clone(), secret.clone());
        async move { root.validate(presenting(&secret)).await }
    });
    // Given up by its caller, but begun: it must be seen through all the same.
    let mut abandoned = tonic::Request::new(named("abandoned"));
    abandoned
        .metadata_mut()
        .insert("grpc-timeout", "200m".parse().unwrap());
    assert!(out_of_time(&root.create(abandoned).await.unwrap_err()));
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(
        took > Duration::from_millis(500),
        "it waited for the call: {took:?}"
    );
    let answer = held.await.unwrap().expect("it was in hand").into_inner();
    assert_eq!(answer.verdict(), Verdict::Valid);
    root.validate(presenting(&secret))
        .await
        .expect_err("nobody is there any more");
    assert!(
        !authority.log().contains("outcome=abandoned"),
        "{}",
        authority.log()
    );
    authority.start();
    let mut root = authority.root().await;
    let listed = root
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner()
        .tokens;
    assert_eq!(listed.len(), 2, "the abandoned change was made whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_outlive_their_calls_count_as_in_hand() {
    let mut authority =
        Authority::before_redis_start().with(&["--set", "limits.calls_in_flight=2"]);
    authority.start();
    let mut root = authority.root().await;
    create(&mut root, named("t")).await;
    authority.redis().run("CLIENT PAUSE 60000 ALL").await;
    let mut refused = 0;
    for n in 0..6 {
        let mut request = tonic::Request::new(named(&n.to_string()));
        request
            .metadata_mut()
            .insert("grpc-timeout", "50m".parse().unwrap());
        match root.create(request).await.unwrap_err() {
            status if out_of_time(&status) => {}
            status => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::ResourceExhausted, "OVERLOADED")
                );
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 4, "two are in hand, though nobody waits for them");
}
