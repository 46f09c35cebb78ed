//! What Envoy makes of answers: the facts that the authority's own answers rest upon, with a stub in its place.

use token_authority::transport::grpc::envoy::service::auth::v3::CheckResponse;
use tonic::{Code, Status};

use crate::client;
use crate::grpc_clients::health_through;
use crate::kinds::kinds;
use crate::stub::{Stubbed, allowed, answer, denied};

/// Answers about paths that say what they want.
fn plain(path: &str) -> Result<CheckResponse, Status> {
    let ok = Code::Ok as i32;
    let refused = Code::PermissionDenied as i32;
    let unknown = Code::Unauthenticated as i32;
    Ok(match path {
        "/empty" => CheckResponse::default(),
        "/ok-and-denied" => answer(ok, denied(401, &[], "no")),
        "/denied" => answer(refused, None),
        "/unknown" => answer(unknown, None),
        "/denied-and-ok" => answer(refused, allowed(&[], &[], &[])),
        "/whole" => {
            let headers = [
                ("www-authenticate", "Bearer realm=\"x\""),
                ("content-type", "application/json"),
            ];
            answer(unknown, denied(401, &headers, "{}"))
        }
        "/odd" => answer(refused, denied(200, &[], "odd")),
        "/limited" => {
            let headers = [("retry-after", "7"), ("x-ratelimit-limit", "9")];
            let limited = Code::ResourceExhausted as i32;
            answer(limited, denied(429, &headers, "slowly"))
        }
        "/denied-503" => answer(Code::Unavailable as i32, denied(503, &[], "")),
        "/unavailable" => return Err(Status::unavailable("away")),
        "/unauthenticated" => return Err(Status::unauthenticated("who are you")),
        _ => answer(ok, allowed(&[], &[], &[])),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_what_envoys_authors_say_it_is() {
    for kind in kinds() {
        let mesh = Stubbed::with(&kind, plain, |_| {}).await;
        let ask = async |path: &str| client::get(mesh.envoy.ingress, path, "x").await;
        for (path, status, body) in [
            // The two that let a request pass which was meant to be refused.
            ("/empty", 200, None),
            ("/ok-and-denied", 200, None),
            ("/denied", 403, Some("")),
            ("/unknown", 403, Some("")),
            ("/denied-and-ok", 403, Some("")),
            ("/whole", 401, Some("{}")),
            ("/odd", 200, Some("odd")),
            ("/limited", 429, Some("slowly")),
            ("/denied-503", 503, Some("")),
            ("/unavailable", 503, Some("")),
            ("/unauthenticated", 503, Some("")),
            ("/else", 200, None),
        ] {
            let told = ask(path).await;
            assert_eq!(told.status, status, "{path} of {kind:?}: {told:?}");
            match body {
                Some(body) => assert_eq!(told.body, body, "{path} of {kind:?}"),
                None => assert!(told.body.starts_with("GET "), "{path} of {kind:?}"),
            }
        }
        assert_eq!(mesh.shop.asked(), ["/empty", "/ok-and-denied", "/else"]);
        let whole = ask("/whole").await;
        let challenge = whole.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer realm=\"x\""));
        assert_eq!(whole.header("content-type"), Some("application/json"));
        let limited = ask("/limited").await;
        assert_eq!(limited.header("retry-after"), Some("7"));
        assert_eq!(limited.header("x-ratelimit-limit"), Some("9"));
        assert_eq!(limited.header("content-type"), Some("text/plain"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_errors_let_requests_pass_every_error_does_and_no_denial() {
    for kind in kinds() {
        let mesh = Stubbed::with(&kind, plain, |changes| {
            changes.add("failure_mode_allow: false", "failure_mode_allow: true");
        })
        .await;
        for (path, status) in [
            ("/unavailable", 200),
            // So the authority does not answer its own callers so.
            ("/unauthenticated", 200),
            // And an outage is not told so: it would refuse where errors are to pass.
            ("/denied-503", 503),
            ("/denied", 403),
        ] {
            let told = client::get(mesh.envoy.ingress, path, "x").await;
            assert_eq!(told.status, status, "{path} of {kind:?}: {told:?}");
        }
    }
}

/// Answers that change what goes on.
fn changing(path: &str) -> Result<CheckResponse, Status> {
    let change = match path {
        "/set" => allowed(&[("x-one", "ours"), ("x-new", "ours")], &[], &[]),
        "/both" => allowed(&[("x-one", "ours")], &["x-one"], &[]),
        "/remove" => allowed(&[], &["Authorization", "x-one"], &[]),
        "/reroute" => allowed(&[(":path", "/elsewhere")], &[], &[]),
        "/empty-value" => allowed(&[("x-one", "")], &[], &[]),
        "/cookies" => allowed(&[], &[], &[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        "/broken" => allowed(&[("x-one", "a\nb")], &[], &[]),
        _ => None,
    };
    Ok(answer(Code::Ok as i32, change))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_request_is_what_envoys_authors_say_it_is() {
    for kind in kinds() {
        let mesh = Stubbed::with(&kind, changing, |_| {}).await;
        let theirs = ["x-one: theirs", "X-One: too", "authorization: Bearer x"];
        let theirs = theirs.map(str::to_owned);
        let ask = async |path: &str| client::ask(mesh.envoy.ingress, "GET", path, &theirs).await;
        let set = ask("/set").await;
        assert_eq!(
            set.seen("x-one"),
            ["ours"],
            "{kind:?}: every value gives way"
        );
        assert_eq!(set.seen("x-new"), ["ours"]);
        // What is set and removed is removed.
        assert_eq!(ask("/both").await.seen("x-one"), [""; 0]);
        let removed = ask("/remove").await;
        assert_eq!(removed.seen("x-one"), [""; 0]);
        assert_eq!(removed.seen("authorization"), [""; 0]);
        let rerouted = ask("/reroute").await;
        assert!(rerouted.body.starts_with("GET /elsewhere"), "{rerouted:?}");
        assert_eq!(ask("/empty-value").await.seen("x-one"), [""]);
        let cookies = ask("/cookies").await.headers;
        let cookies = cookies.iter().filter(|(name, _)| name == "set-cookie");
        assert_eq!(cookies.count(), 2);
        let broken = ask("/broken").await;
        assert_eq!(broken.status, 500, "{kind:?}: {broken:?}");
        assert!(!mesh.shop.asked().contains(&"/broken".to_owned()));
    }
}

/// Denials of a gRPC call, by the name of the service that it asks about.
fn of_grpc(_: &str) -> Result<CheckResponse, Status> {
    Ok(answer(
        Code::ResourceExhausted as i32,
        denied(429, &[("retry-after", "7")], "slowly"),
    ))
}

fn of_grpc_in_its_words(_: &str) -> Result<CheckResponse, Status> {
    let words = [("grpc-status", "8"), ("grpc-message", "slowly")];
    Ok(answer(
        Code::ResourceExhausted as i32,
        denied(429, &words, ""),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_client_is_told_what_is_meant_only_in_its_own_words() {
    for kind in kinds() {
        let mesh = Stubbed::with(&kind, of_grpc, |_| {}).await;
        let told = health_through(mesh.envoy.ingress, "x").await.unwrap_err();
        // Which clients repeat at once.
        assert_eq!(told.code(), Code::Unavailable, "{kind:?}: {told:?}");
        assert_eq!(told.metadata().get("retry-after").unwrap(), "7");
        let mesh = Stubbed::with(&kind, of_grpc_in_its_words, |_| {}).await;
        let told = health_through(mesh.envoy.ingress, "x").await.unwrap_err();
        assert_eq!(told.code(), Code::ResourceExhausted, "{kind:?}: {told:?}");
        assert_eq!(told.message(), "slowly");
    }
}
