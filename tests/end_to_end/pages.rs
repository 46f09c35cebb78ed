//! `/livez` and `/readyz`, for load balancers and kubelets: as truthful as health, and never refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::harness::{Authority, PATIENCE, until};
use crate::scrape::http;

/// Asks until the page says this.
fn comes_to(address: &str, path: &str, status: u16, body: &str) {
    let begun = Instant::now();
    loop {
        let answer = http(address, "GET", path, "");
        if (answer.status, answer.body.as_str()) == (status, body) {
            assert_eq!(answer.content_type, "text/plain; charset=utf-8");
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{path}: {answer:?}");
    }
}

pub(crate) async fn readiness_is_told_until_the_drain_and_life_to_the_end(
    mut authority: Authority,
) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "server.drain_delay=1h"]);
    authority.start();
    let address = authority.address.clone();
    comes_to(&address, "/readyz", 200, "ok\n");
    comes_to(&address, "/livez", 200, "ok\n");
    for (method, path, status) in [
        ("HEAD", "/readyz", 200),
        ("HEAD", "/livez", 200),
        ("POST", "/readyz", 405),
        ("DELETE", "/livez", 405),
        ("GET", "/livez/", 404),
        ("GET", "/healthz", 404),
    ] {
        let answer = http(&address, method, path, "");
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(method != "HEAD" || answer.body.is_empty(), "{answer:?}");
    }
    authority.signal("TERM");
    comes_to(&address, "/readyz", 503, "draining\n");
    comes_to(&address, "/livez", 200, "ok\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_store_lives_but_is_not_ready() {
    let mut authority = Authority::on_redis();
    let address = authority.address.clone();
    comes_to(&address, "/readyz", 200, "ok\n");
    authority.redis = None;
    comes_to(&address, "/readyz", 503, "not ready\n");
    comes_to(&address, "/livez", 200, "ok\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_stand_beside_the_metrics_and_beside_grpc_whatever_becomes_of_those() {
    let own = ["--set", "server.metrics_listen=127.0.0.1:0"];
    let mut authority = Authority::before_sqlite_start().with(&own);
    authority.start();
    let place = until(|| {
        let said = authority.stdout();
        let place = said.strip_prefix("metrics on ").map(str::trim_end);
        place.map(str::to_owned)
    });
    for address in [&place.await, &authority.address] {
        comes_to(address, "/readyz", 200, "ok\n");
        comes_to(address, "/livez", 200, "ok\n");
    }
    assert_eq!(http(&authority.address, "GET", "/metrics", "").status, 404);
    let off = ["--set", "server.metrics_listen=off"];
    let mut authority = Authority::before_sqlite_start().with(&off);
    authority.start();
    comes_to(&authority.address, "/readyz", 200, "ok\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_answered_where_no_call_has_room() {
    let few = ["--set", "limits.calls_in_flight=1"];
    let mut authority = Authority::before_sqlite_start().with(&few);
    authority.start();
    comes_to(&authority.address, "/readyz", 200, "ok\n");
    // A call that never comes to its end has the only room.
    let mut held = TcpStream::connect(&authority.address).unwrap();
    held.write_all(&begun_call()).unwrap();
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(held.read(&mut [0; 9]).unwrap() > 0);
    let begun = Instant::now();
    loop {
        let scrape = http(&authority.address, "GET", "/metrics", "").body;
        if scrape.contains("token_authority_calls_in_hand 1\n") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no call in hand:\n{scrape}");
    }
    comes_to(&authority.address, "/readyz", 200, "ok\n");
    comes_to(&authority.address, "/livez", 200, "ok\n");
}

/// The bytes of a call to Validate whose message never comes (RFC 9113, RFC 7541).
fn begun_call() -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    let path = "/tokenauthority.v1.TokenService/Validate";
    for (name, value) in [
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0); // a literal, not indexed, with its name
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS, none
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 4, 0, 0, 0, 1]); // HEADERS
    bytes.extend(block);
    bytes
}
