//! SIGTERM and SIGINT: what is in hand is finished, and nobody can hold the process up.

use std::net::TcpStream;
use std::time::Duration;

use token_authority::transport::grpc::pb::Verdict;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Authority, create, named, verdict};

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
        "health says so first"
    );
    drop((silent, half_spoken));
}

pub(crate) async fn calls_in_hand_are_finished(mut authority: Authority) {
    let root = authority.root().await;
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let mut root = root.clone();
            tokio::spawn(async move { root.create(named(&n.to_string())).await })
        })
        .collect();
    let (code, _) = authority.stop("INT");
    assert_eq!(code, Some(0), "{}", authority.log());
    let mut secrets = Vec::new();
    for call in calls {
        if let Ok(answer) = call.await.unwrap() {
            secrets.push(answer.into_inner().secret);
        }
    }
    authority.start();
    let mut root = authority.root().await;
    for secret in secrets {
        assert_eq!(
            verdict(&mut root, &secret).await,
            Verdict::Valid,
            "acknowledged means stored"
        );
    }
}
