//! SIGTERM and SIGINT: what is in hand is finished, and nobody can hold the process up.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::{ListRequest, Verdict};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{
    Authority, PATIENCE, ROOT_TOKEN, command, create, named, out_of_time, presenting, reason, told,
    until, verdict,
};
use crate::peer::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, Peer, VALIDATE, WINDOW_UPDATE,
    call, connect, frame, head,
};
use crate::support::child::OwnedChild;

/// How much longer than its delay and its deadline a stop may seem to take: a second, and what a busy
/// machine needs to notice.
const GRACE: Duration = Duration::from_secs(4);

pub(crate) async fn it_stops_with_idle_silent_and_streaming_connections(mut authority: Authority) {
    let mut root = authority.root().await;
    create(&mut root, named("idle afterwards")).await;
    let silent = TcpStream::connect(&authority.address).expect("a silent connection");
    let mut half_spoken = TcpStream::connect(&authority.address).expect("a connection");
    half_spoken
        .write_all(b"PRI * HTTP/2.0\r\n")
        .expect("half a preface");
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut health = HealthClient::new(authority.channel());
    let mut watched = health.watch(request).await.expect("a stream").into_inner();
    let first = watched.next().await.expect("a status").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    let watching = tokio::spawn(async move {
        let mut last = ServingStatus::Serving;
        loop {
            match watched.next().await.expect("a status, or an error") {
                Ok(answer) => last = answer.status(),
                Err(end) => return (last, end),
            }
        }
    });
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(
        took < Duration::from_secs(8),
        "it waited for its deadline: {took:?}"
    );
    let (last, end) = watching.await.unwrap();
    let expected = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(told(&end), expected, "{end:?}");
    assert_eq!(
        last,
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

/// A server whose stop has so long for its deadline, in seconds, and a second of delay.
async fn serving_with_deadline(seconds: u64) -> Authority {
    let mut authority = Authority::before_sqlite_start().with(&[
        "--set",
        "log.filter=info",
        "--set",
        "server.drain_delay=1s",
        "--set",
        &format!("server.drain_deadline={seconds}s"),
        // So that nothing but the stop ends a connection.
        "--set",
        "limits.handshake_timeout=1day",
        "--set",
        "limits.stall_timeout=1day",
        "--set",
        "limits.call_deadline=1day",
    ]);
    authority.start();
    authority.serving(true).await;
    authority
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_peer_holds_the_stop_up() {
    let mut authority = serving_with_deadline(600).await;
    let address = authority.address.clone();
    let silent = connect(&address, 1).await.unwrap();
    let mut kept_alive = connect(&address, 1).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut kept_alive, request)
        .await
        .unwrap();
    let mut half_a_head = connect(&address, 1).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half_a_head, b"GET /metr")
        .await
        .unwrap();
    // It acknowledges neither settings, pings nor GOAWAY, as nothing here does by itself.
    let mut idle = Peer::greeting(&address, 1, &[]).await;
    idle.settle().await.unwrap();
    // An endless stream, and answers that nobody opens a window for.
    let mut no_window = Peer::greeting(&address, 1, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let watch = frame(
        HEADERS,
        END_HEADERS,
        1,
        &call("/grpc.health.v1.Health/Watch"),
    );
    let page = |stream| {
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &head("GET", "/metrics"),
        )
    };
    no_window.send(&[watch, page(3)].concat()).await.unwrap();
    no_window.settle().await.unwrap();
    // Windows wide open, and a socket that nobody reads.
    let widest = 0x7fff_ffff;
    let mut unread = Peer::greeting(&address, 1, &[(INITIAL_WINDOW_SIZE, widest)]).await;
    let widened = (widest - 65_535).to_be_bytes();
    unread
        .send(&frame(WINDOW_UPDATE, 0, 0, &widened))
        .await
        .unwrap();
    for n in 0..20 {
        let pages: Vec<u8> = (0..20).flat_map(|m| page(2 * (20 * n + m) + 1)).collect();
        unread.send(&pages).await.unwrap();
    }
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(took < Duration::from_secs(1) + PATIENCE / 2, "{took:?}");
    assert!(
        authority.log().contains("drained=true"),
        "{}",
        authority.log()
    );
    let last = idle.until(GOAWAY, 0).await;
    assert_eq!(crate::peer::farewells(&[last]), [0], "NO_ERROR");
    drop((silent, kept_alive, half_a_head, no_window, unread));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_end_is_cut_off_at_the_deadline_and_new_ones_are_refused_before() {
    let mut authority = serving_with_deadline(2).await;
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    let mut endless = Peer::greeting(&authority.address, 1, &[]).await;
    let begun = frame(HEADERS, END_HEADERS, 1, &call(VALIDATE));
    endless.send(&begun).await.unwrap();
    endless.settle().await.unwrap();
    let stopping = Instant::now();
    authority.signal("TERM");
    // In the delay everything is answered, over new connections, too.
    authority.serving(false).await;
    assert_eq!(
        verdict(&mut authority.client_as_root(), &secret).await,
        Verdict::Valid
    );
    until(|| {
        TcpStream::connect(&authority.address)
            .is_err()
            .then_some(())
    })
    .await;
    root.validate(presenting(&secret))
        .await
        .expect_err("it takes no more calls");
    let code = authority.exited();
    let took = stopping.elapsed();
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(
        authority.log().contains("drained=false"),
        "{}",
        authority.log()
    );
    let whole = Duration::from_secs(1 + 2);
    assert!((whole..whole + GRACE).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_removes_unix_sockets_and_refuses_them_before() {
    let mut authority = Authority::before_sqlite_start();
    let path = authority.folder.path().join("grpc.sock");
    authority = authority.listening_on(&format!("unix:{}", path.display()));
    for _ in 0..2 {
        authority.start();
        let silent = UnixStream::connect(&path).unwrap();
        let (code, took) = authority.stop("TERM");
        assert_eq!(code, Some(0), "{}", authority.log());
        assert!(took < PATIENCE / 2, "{took:?}");
        assert!(!path.exists());
        drop(silent);
    }
    // What a killed server left behind is replaced.
    authority.start();
    authority.kill();
    assert!(path.exists());
    authority.start();
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_server_that_still_waits_for_its_store_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Nothing is accepted there.
    let store = format!("redis://{}", free.local_addr().unwrap());
    let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--init-store"]);
    command
        .args(["--store", &store])
        .env("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let mut child = OwnedChild::spawn(&mut command).unwrap();
    let said = |words| std::fs::read_to_string(&log).unwrap().contains(words);
    until(|| said("starting").then_some(())).await;
    child.signal("TERM");
    let status = until(|| child.0.try_wait().unwrap()).await;
    assert_eq!(
        status.code(),
        Some(0),
        "{}",
        std::fs::read_to_string(&log).unwrap()
    );
    assert!(said("stopped before it served"));
}
