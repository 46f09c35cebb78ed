//! The metrics: what is counted, that strangers make no series, and where and when they are read.

use std::collections::BTreeSet;

use http::header::CONTENT_TYPE;
use http_body::Body as _;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    BatchValidateRequest, DeleteRequest, GetRequest, ListRequest, RevokeRequest, ValidateRequest,
    Verdict, WhoAmIRequest,
};
use tonic::Code;
use tower::{Service, ServiceExt};

use crate::harness::{
    Authority, Client, ask, create, named, out_of_time, presenting, reason, until, verdict,
};
use crate::scrape::{Scrape, http};

async fn one_call_of_each_kind(authority: &Authority, root: &mut Client) {
    let (token, secret) = create(root, named("t")).await;
    let token_id = token.token_id;
    assert_eq!(verdict(root, &secret).await, Verdict::Valid);
    assert_eq!(verdict(root, "rubbish").await, Verdict::Malformed);
    let get = || GetRequest {
        token_id: token_id.clone(),
    };
    root.get(get()).await.unwrap();
    root.list(ListRequest::default()).await.unwrap();
    root.who_am_i(WhoAmIRequest {}).await.unwrap();
    let revoke = || RevokeRequest {
        target: Some(Target::TokenId(token_id.clone())),
        reason: String::new(),
    };
    root.revoke(revoke()).await.unwrap();
    // Repeating it revokes nothing more.
    root.revoke(revoke()).await.unwrap();
    assert_eq!(verdict(root, &secret).await, Verdict::Revoked);
    let delete = DeleteRequest {
        token_id: token_id.clone(),
    };
    root.delete(delete).await.unwrap();
    root.get(get()).await.unwrap_err();
    let (_, secret) = create(root, named("surrendered")).await;
    let surrender = RevokeRequest {
        target: Some(Target::Secret(secret)),
        reason: String::new(),
    };
    let mut stranger = authority.client(None);
    stranger.revoke(surrender).await.unwrap();
    stranger.list(ListRequest::default()).await.unwrap_err();
}

pub(crate) async fn every_kind_of_call_is_counted(authority: Authority) {
    let mut root = authority.root().await;
    one_call_of_each_kind(&authority, &mut root).await;
    let metrics = Scrape::of(&authority);
    for (method, code, count) in [
        ("Create", "OK", 2.0),
        ("Validate", "OK", 3.0),
        ("Get", "OK", 1.0),
        ("Get", "NOT_FOUND", 1.0),
        ("List", "OK", 1.0),
        ("List", "UNAUTHENTICATED", 1.0),
        ("Revoke", "OK", 3.0),
        ("Delete", "OK", 1.0),
        ("WhoAmI", "OK", 1.0),
    ] {
        assert_eq!(metrics.calls(method, code), count, "{method} {code}");
    }
    assert!(metrics.calls("other", "OK") >= 1.0, "health");
    for (series, value) in [
        ("verdicts_total{verdict=\"valid\"}", 1.0),
        ("verdicts_total{verdict=\"malformed\"}", 1.0),
        ("verdicts_total{verdict=\"revoked\"}", 1.0),
        ("tokens_created_total", 2.0),
        ("tokens_revoked_total", 2.0),
        ("tokens_deleted_total", 1.0),
        ("store_duration_seconds_count{operation=\"create\"}", 2.0),
        ("store_duration_seconds_count{operation=\"delete\"}", 1.0),
        ("store_duration_seconds_count{operation=\"list\"}", 1.0),
        ("calls_in_hand", 0.0),
        ("audit_pending", 0.0),
        ("ready{use=\"validate\"}", 1.0),
        ("ready{use=\"manage\"}", 1.0),
    ] {
        assert_eq!(metrics.value(series), value, "{series}");
    }
    for operation in ["find", "change", "probe_read", "probe_write"] {
        let series = format!("store_duration_seconds_count{{operation=\"{operation}\"}}");
        assert!(metrics.value(&series) >= 1.0, "{series}");
    }
    let (kind, durability) = match authority.redis {
        Some(_) => ("redis", "1s"),
        None => ("sqlite", "embedded"),
    };
    let store = format!("store_info{{kind=\"{kind}\",durability=\"{durability}\"}}");
    assert_eq!(metrics.value(&store), 1.0);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("build_info{{version=\"{version}\"}}");
    assert_eq!(metrics.value(&build), 1.0);
}

pub(crate) async fn all_that_is_judged_is_taken_down_but_for_dry_runs(authority: Authority) {
    const EACH: u32 = 20;
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("used")).await;
    let mut questions = Vec::new();
    for (secret, dry_run) in [
        (&secret, false),
        (&"rubbish".to_owned(), false),
        (&secret, true),
    ] {
        for _ in 0..EACH {
            let question = ValidateRequest {
                secret: secret.clone(),
                dry_run,
                ..ValidateRequest::default()
            };
            root.validate(question.clone()).await.unwrap();
            questions.push(question);
        }
    }
    let batch = BatchValidateRequest {
        requests: questions,
    };
    root.batch_validate(batch).await.unwrap();
    let taken_down = f64::from(2 * 2 * EACH);
    let counted = || Scrape::of(&authority).value("usage_recorded_total");
    until(|| (counted() >= taken_down).then_some(())).await;
    let metrics = Scrape::of(&authority);
    assert_eq!(metrics.value("usage_recorded_total"), taken_down);
    assert_eq!(metrics.value("usage_lost_total"), 0.0);
}

pub(crate) async fn strangers_make_no_series(authority: Authority) {
    let mut root = authority.root().await;
    one_call_of_each_kind(&authority, &mut root).await;
    let mut channel = authority.channel();
    let mut call = async |method: &str, path: String| {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", authority.address))
            .header(CONTENT_TYPE, "application/grpc")
            .body(tonic::body::Body::empty())
            .unwrap();
        channel.ready().await.unwrap().call(request).await.unwrap()
    };
    call("POST", "/first.of/all".to_owned()).await;
    let names = |metrics: &Scrape| -> BTreeSet<String> {
        let stable = metrics
            .names()
            // Of the store's watch, the sweeper, the teller and usage, which may come at any time.
            .filter(|name| {
                let own = ["probe_", "\"sweep\"", "\"tell\"", "\"add_usage\""];
                !own.iter().any(|own| name.contains(own))
            });
        stable.map(str::to_owned).collect()
    };
    let before = names(&Scrape::of(&authority));
    for n in 0..1000 {
        let path = match n % 3 {
            0 => format!("/tokenauthority.v1.TokenService/Method{n}"),
            1 => format!("/stranger{n}.Service/Create"),
            _ => format!("/{n}"),
        };
        call("POST", path.clone()).await;
        call("GET", path).await;
    }
    for n in 0..20 {
        let request = ValidateRequest {
            namespace: format!("n{n}"),
            owner: format!("o{n}"),
            path: format!("/{n}"),
            request_id: format!("r{n}"),
            ..presenting("rubbish")
        };
        ask(&mut root, request).await;
    }
    let metrics = Scrape::of(&authority);
    assert_eq!(names(&metrics), before);
    assert_eq!(metrics.calls("other", "UNIMPLEMENTED"), 1001.0);
}

pub(crate) async fn plain_http_is_answered_beside_grpc(authority: Authority) {
    authority.serving(true).await;
    let plain = http(&authority.address, "GET", "/metrics", "");
    assert_eq!(plain.status, 200);
    assert_eq!(
        plain.content_type,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let accept = "accept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1\r\n";
    let open = http(&authority.address, "GET", "/metrics", accept);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.content_type, content_type);
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    let head = http(&authority.address, "HEAD", "/metrics", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("POST", "/tokenauthority.v1.TokenService/Validate", 404),
        ("POST", "/metrics", 405),
    ] {
        let headers = "content-type: application/grpc\r\ncontent-length: 0\r\n";
        let answer = http(&authority.address, method, path, headers);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_ne!(answer.content_type, "application/grpc");
    }
    // And over HTTP/2, on the very connection that gRPC uses.
    let request = http::Request::get(format!("http://{}/metrics", authority.address));
    let request = request.body(tonic::body::Body::empty()).unwrap();
    let mut channel = authority.channel();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    let found = (answer.status(), answer.version());
    assert_eq!(found, (http::StatusCode::OK, http::Version::HTTP_2));
    assert!(!answer.body().is_end_stream());
    create(&mut authority.root().await, named("gRPC goes on")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_read_while_the_server_drains() {
    let mut authority = Authority::on_sqlite().with(&["--set", "server.drain_delay=60s"]);
    authority.stop("TERM");
    authority.start();
    authority.serving(true).await;
    authority.signal("TERM");
    authority.serving(false).await;
    let metrics = Scrape::of(&authority);
    assert_eq!(metrics.value("ready{use=\"validate\"}"), 0.0);
    authority.stop("TERM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_their_own_listener_are_read_to_the_end() {
    let mut authority = Authority::before_redis_start()
        .with(&["--set", "server.metrics_listen=127.0.0.1:0"])
        .with(&["--set", "server.drain_deadline=60s"]);
    authority.start();
    let mut root = authority.root().await;
    create(&mut root, named("t")).await;
    let place = until(|| {
        let stdout = authority.stdout();
        let line = stdout.lines().next()?.strip_prefix("metrics on ")?;
        Some(line.to_owned())
    })
    .await;
    assert_eq!(http(&authority.address, "GET", "/metrics", "").status, 404);
    assert_eq!(http(&place, "GET", "/", "").status, 404);
    authority.redis().run("CLIENT PAUSE 60000 ALL").await;
    let held = tokio::spawn(async move { root.create(named("held")).await });
    until(|| (Scrape::at(&place).value("calls_in_hand") == 1.0).then_some(())).await;
    authority.signal("TERM");
    // The gate is closed now, and the call still in hand.
    until(|| {
        let metrics = Scrape::at(&place);
        let waiting = metrics.value("calls_in_hand") == 1.0;
        (metrics.value("ready{use=\"manage\"}") == 0.0 && waiting).then_some(())
    })
    .await;
    authority.stop("TERM");
    held.await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_may_be_off() {
    let mut authority = Authority::on_sqlite().with(&["--set", "server.metrics_listen=off"]);
    authority.stop("TERM");
    authority.start();
    create(&mut authority.root().await, named("t")).await;
    assert_eq!(http(&authority.address, "GET", "/metrics", "").status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_refused_or_out_of_time_are_counted_and_metrics_read_meanwhile() {
    let mut authority =
        Authority::before_redis_start().with(&["--set", "limits.calls_in_flight=2"]);
    authority.start();
    let mut root = authority.root().await;
    create(&mut root, named("t")).await;
    authority.redis().run("CLIENT PAUSE 60000 ALL").await;
    let call = async |root: &mut Client, n: usize| {
        let mut request = tonic::Request::new(named(&n.to_string()));
        let metadata = request.metadata_mut();
        metadata.insert("grpc-timeout", "100m".parse().unwrap());
        root.create(request).await.unwrap_err()
    };
    for n in 0..2 {
        assert!(out_of_time(&call(&mut root, n).await));
    }
    let refused = call(&mut root, 2).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "OVERLOADED");
    let metrics = Scrape::of(&authority);
    assert_eq!(metrics.value("calls_in_hand"), 2.0);
    assert_eq!(metrics.calls("Create", "RESOURCE_EXHAUSTED"), 1.0);
    let ended = metrics.calls("Create", "DEADLINE_EXCEEDED") + metrics.calls("Create", "CANCELLED");
    assert_eq!(ended, 2.0, "by the server's clock or by the client's");
    // What the store could not do is told by its reason.
    let abandoned = "store_errors_total{operation=\"probe_read\",kind=\"abandoned\"}";
    until(|| (Scrape::of(&authority).value(abandoned) >= 1.0).then_some(())).await;
}
