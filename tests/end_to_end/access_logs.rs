//! Envoy's access log service: what proxies log of how requests ended, and what becomes of their streams.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::value::Kind;
use token_authority::transport::grpc::envoy::config::core::v3 as core;
use token_authority::transport::grpc::envoy::data::accesslog::v3 as data;
use token_authority::transport::grpc::envoy::service::accesslog::v3 as service;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{CreateRequest, RateLimit, RevokeRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use service::StreamAccessLogsMessage as Message;
use service::access_log_service_client::AccessLogServiceClient;
use service::stream_access_logs_message::{HttpAccessLogEntries, LogEntries, TcpAccessLogEntries};

use crate::harness::{
    Authority, Credential, PATIENCE, ROOT_TOKEN, ask, create, named, presenting, span, told, until,
};
use crate::scrape::Scrape;
use crate::usage::{totals, usage_once};

type Proxy = AccessLogServiceClient<InterceptedService<Channel, Credential>>;
type Ending = tokio::task::JoinHandle<Result<(), Status>>;

/// A proxy that shows this secret.
fn proxy(authority: &Authority, secret: &str) -> Proxy {
    let bearer = format!("Bearer {secret}").parse().unwrap();
    AccessLogServiceClient::with_interceptor(authority.channel(), Credential(Some(bearer)))
}

/// A proxy that may report in this namespace.
async fn reporter(authority: &Authority, namespace: &str) -> Proxy {
    let request = CreateRequest {
        namespace: namespace.to_owned(),
        scopes: vec!["authority:report".to_owned()],
        ..named("proxy")
    };
    let (_, secret) = create(&mut authority.root().await, request).await;
    proxy(authority, &secret)
}

fn of_http(log_entry: Vec<data::HttpAccessLogEntry>) -> Message {
    Message {
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry })),
    }
}

/// What Envoy notes of Check's answer.
fn noted(validation_id: &str) -> Option<core::Metadata> {
    let kind = Some(Kind::StringValue(validation_id.to_owned()));
    let value = prost_types::Value { kind };
    let check = prost_types::Struct {
        fields: BTreeMap::from([("validation_id".to_owned(), value)]),
    };
    let filter_metadata = BTreeMap::from([("envoy.filters.http.ext_authz".to_owned(), check)]);
    Some(core::Metadata { filter_metadata })
}

/// A request that ended with a status, after so many milliseconds.
fn entry(validation_id: &str, status: u32, millis: u64) -> data::HttpAccessLogEntry {
    data::HttpAccessLogEntry {
        common_properties: Some(data::AccessLogCommon {
            metadata: noted(validation_id),
            duration: Some(span(Duration::from_millis(millis))),
            upstream_cluster: "shop".to_owned(),
            ..data::AccessLogCommon::default()
        }),
        request: Some(data::HttpRequestProperties {
            request_method: core::RequestMethod::Get.into(),
            path: "/orders?page=2".to_owned(),
            request_body_bytes: 100,
            user_agent: "curl/8".to_owned(),
            ..data::HttpRequestProperties::default()
        }),
        response: Some(data::HttpResponseProperties {
            response_code: Some(status),
            response_body_bytes: 2000,
            ..data::HttpResponseProperties::default()
        }),
    }
}

/// A request whose name stands in its headers only.
fn by_header(validation_id: &str) -> data::HttpAccessLogEntry {
    let mut one = entry(validation_id, 200, 1);
    one.common_properties.as_mut().unwrap().metadata = None;
    let headers = &mut one.request.as_mut().unwrap().request_headers;
    headers.insert("x-validation-id".to_owned(), validation_id.to_owned());
    one
}

fn open(proxy: &Proxy) -> (mpsc::Sender<Message>, Ending) {
    let (messages, receiver) = mpsc::channel(16);
    let mut proxy = proxy.clone();
    let ending = async move {
        let answer = proxy.stream_access_logs(ReceiverStream::new(receiver));
        answer.await.map(|_| ())
    };
    (messages, tokio::spawn(ending))
}

async fn end(ending: Ending) -> Result<(), Status> {
    let ended = tokio::time::timeout(PATIENCE, ending).await;
    ended.expect("an end in time").expect("no panic")
}

/// How many entries came to that.
fn entries(authority: &Authority, outcome: &str) -> f64 {
    let series = format!("access_log_entries_total{{outcome=\"{outcome}\"}}");
    Scrape::of(authority).value(&series)
}

pub(crate) async fn access_logs_complete_what_was_judged(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("used")).await;
    let mut judged = Vec::new();
    for _ in 0..5 {
        let answer = ask(&mut root, presenting(&secret)).await;
        judged.push(answer.validation_id);
    }
    let nothing = ask(&mut root, presenting("rubbish")).await.validation_id;
    let absent = format!("zzzzzzzzzzzzzzzzzzzzzz{}", &judged[0][22..]);
    let mut grpc = entry(&judged[3], 200, 40);
    let trailers = &mut grpc.response.as_mut().unwrap().response_trailers;
    trailers.insert("grpc-status".to_owned(), "14".to_owned());
    let mut going_on = entry(&judged[0], 200, 10);
    let common = going_on.common_properties.as_mut().unwrap();
    common.intermediate_log_entry = true;
    let unnamed = data::HttpAccessLogEntry::default();
    let all = vec![
        going_on,
        entry(&judged[0], 200, 10),
        unnamed.clone(),
        entry(&judged[1], 404, 20),
        entry("not the name of anything", 200, 1),
        by_header(&judged[2]),
        entry(&absent, 200, 1),
        entry(&nothing, 401, 1),
    ];
    let tcp = TcpAccessLogEntries {
        log_entry: vec![data::TcpAccessLogEntry {}],
    };
    let messages = [
        Message { log_entries: None },
        of_http(all),
        Message {
            log_entries: Some(LogEntries::TcpLogs(tcp)),
        },
        of_http(vec![grpc]),
    ];
    let mut proxy = reporter(&authority, "").await;
    let answer = proxy.stream_access_logs(tokio_stream::iter(messages));
    answer.await.expect("no bad entry ends the stream");
    let told = usage_once(&mut root, &token, |totals| totals.completed == 4).await;
    let sum = totals(&told);
    // One was answered 404, one has a gRPC status that is no OK; one was never logged.
    assert_eq!((sum.requests, sum.successful, sum.failed), (5, 3, 2));
    assert_eq!((sum.request_bytes, sum.response_bytes), (400, 8000));
    let classes: Vec<_> = sum
        .status_classes
        .iter()
        .map(|one| (one.class, one.requests))
        .collect();
    assert_eq!(classes, [(2, 3), (4, 1)]);
    let second = told
        .recent
        .iter()
        .find(|one| one.validation_id == judged[1]);
    let second = second.expect("a recent request");
    assert_eq!(second.status_code, Some(404));
    assert_eq!(second.latency, Some(span(Duration::from_millis(20))));
    let counted = |outcome| entries(&authority, outcome);
    assert_eq!(counted("counted"), 4.0);
    assert_eq!(counted("partial"), 1.0);
    assert_eq!(counted("unnamed"), 3.0);
    assert_eq!(counted("unknown"), 2.0);
    assert_eq!(counted("lost"), 0.0);
    assert_eq!(Scrape::of(&authority).calls("StreamAccessLogs", "OK"), 1.0);
}

pub(crate) async fn a_header_that_a_client_forged_feeds_nobodys_usage(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("victim")).await;
    let judged = ask(&mut root, presenting(&secret)).await.validation_id;
    // Refused before it was sent on, so the header is as the client wrote it.
    let mut refused = by_header(&judged);
    refused.common_properties.as_mut().unwrap().upstream_cluster = String::new();
    // Check told something of it, and named no judgement.
    let mut nameless = by_header(&judged);
    let mut metadata = noted("x").unwrap();
    for check in metadata.filter_metadata.values_mut() {
        check.fields.clear();
    }
    nameless.common_properties.as_mut().unwrap().metadata = Some(metadata);
    let mut proxy = reporter(&authority, "").await;
    let forged = of_http(vec![refused, nameless]);
    let sound = of_http(vec![entry(&judged, 200, 1)]);
    let all = tokio_stream::iter([forged, sound]);
    proxy.stream_access_logs(all).await.unwrap();
    let told = usage_once(&mut root, &token, |totals| totals.completed >= 1).await;
    assert_eq!(totals(&told).completed, 1);
    assert_eq!(entries(&authority, "unnamed"), 2.0);
}

pub(crate) async fn access_logs_need_the_permission_to_report(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        scopes: vec!["authority:validate".to_owned()],
        ..named("proxy")
    };
    let (token, secret) = create(&mut root, request).await;
    let judged = ask(&mut root, presenting(&secret)).await.validation_id;
    let logged = || of_http(vec![entry(&judged, 200, 1)]);
    let once = |message| tokio_stream::iter([message]);
    for (secret, code, reason) in [
        (
            secret.as_str(),
            Code::PermissionDenied,
            "PERMISSION_MISSING",
        ),
        ("rubbish", Code::Unauthenticated, "CREDENTIAL_INVALID"),
    ] {
        let mut proxy = proxy(&authority, secret);
        let refused = proxy.stream_access_logs(once(logged())).await;
        assert_eq!(told(&refused.unwrap_err()), (code, reason.to_owned()));
    }
    // Of a token elsewhere it can tell as much as of none.
    let mut foreign = reporter(&authority, "bank").await;
    foreign.stream_access_logs(once(logged())).await.unwrap();
    assert_eq!(entries(&authority, "unknown"), 1.0);
    let told = usage_once(&mut root, &token, |totals| totals.requests >= 1).await;
    assert_eq!(totals(&told).completed, 0);
}

pub(crate) async fn a_stream_of_access_logs_ends_with_the_right_of_its_proxy(authority: Authority) {
    let mut root = authority.root().await;
    let (token, used) = create(&mut root, named("used")).await;
    let judged = ask(&mut root, presenting(&used)).await.validation_id;
    let request = CreateRequest {
        scopes: vec!["authority:report".to_owned()],
        ..named("proxy")
    };
    let (own, secret) = create(&mut root, request).await;
    let (messages, ending) = open(&proxy(&authority, &secret));
    let message = of_http(vec![entry(&judged, 200, 1)]);
    messages.send(message).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    let target = Some(Target::TokenId(own.token_id));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    let error = end(ending).await.unwrap_err();
    let unknown = (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned());
    assert_eq!(told(&error), unknown);
}

pub(crate) async fn a_proxy_over_its_limit_loses_entries_and_not_its_stream(authority: Authority) {
    let mut root = authority.root().await;
    let (token, used) = create(&mut root, named("used")).await;
    let judged = ask(&mut root, presenting(&used)).await.validation_id;
    let request = CreateRequest {
        scopes: vec!["authority:report".to_owned()],
        rate_limits: vec![RateLimit {
            requests: 2,
            period: Some(span(Duration::from_secs(3600))),
            ..RateLimit::default()
        }],
        ..named("proxy")
    };
    let (_, secret) = create(&mut root, request).await;
    let mut proxy = proxy(&authority, &secret);
    let message = of_http(vec![entry(&judged, 200, 1), entry(&judged, 200, 1)]);
    let all = tokio_stream::iter(vec![message; 3]);
    proxy.stream_access_logs(all).await.expect("it ends well");
    // One use opened the stream, one message of two entries took the other.
    let told = usage_once(&mut root, &token, |totals| totals.completed >= 2).await;
    assert_eq!(totals(&told).completed, 2);
    assert_eq!(entries(&authority, "lost"), 4.0);
}

pub(crate) async fn a_stream_of_access_logs_ends_well_when_the_server_leaves(
    mut authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, used) = create(&mut root, named("used")).await;
    let judged = ask(&mut root, presenting(&used)).await.validation_id;
    let (messages, ending) = open(&reporter(&authority, "").await);
    let message = of_http(vec![entry(&judged, 200, 1)]);
    messages.send(message).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(9), "{took:?}");
    end(ending).await.expect("it is no fault of the proxy");
    drop(messages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_an_outage_are_lost_and_the_stream_goes_on() {
    let mut authority = Authority::on_redis();
    let mut root = authority.root().await;
    let (token, used) = create(&mut root, named("used")).await;
    let judged = ask(&mut root, presenting(&used)).await.validation_id;
    // A caller by heart, who needs no store.
    let (messages, ending) = open(&proxy(&authority, ROOT_TOKEN));
    authority.redis.as_mut().unwrap().kill();
    authority.serving(false).await;
    let unheard_of = format!("zzzzzzzzzzzzzzzzzzzzzz{}", &judged[22..]);
    let message = of_http(vec![entry(&unheard_of, 200, 1)]);
    messages.send(message).await.unwrap();
    until(|| (entries(&authority, "lost") == 1.0).then_some(())).await;
    authority.redis.as_mut().unwrap().restart();
    authority.serving(true).await;
    let message = of_http(vec![entry(&judged, 200, 1)]);
    messages.send(message).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    drop(messages);
    end(ending).await.expect("the stream went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_a_credential_is_known_by_the_certificate_that_its_sidecar_saw() {
    let identity = "spiffe://cluster.local/ns/shop/sa/orders";
    let callers = format!(
        "access.certificate_callers=[{{ name = \"orders\", uri = \"{identity}\", permissions = [\"report\"] }}]"
    );
    let settings = ["--set", &callers, "--set"];
    let believed = "ext_authz.certificate_peers=[\"127.0.0.1\"]";
    let mut authority = Authority::before_sqlite_start()
        .with(&settings)
        .with(&[believed]);
    authority.start();
    let mut root = authority.root().await;
    let (token, used) = create(&mut root, named("used")).await;
    let judged = ask(&mut root, presenting(&used)).await.validation_id;
    let mut proxy = AccessLogServiceClient::new(authority.channel());
    for (seen, code) in [
        (
            format!("By=spiffe://x;Hash=00;Subject=\"\";URI={identity}"),
            Code::Ok,
        ),
        (
            "URI=spiffe://cluster.local/ns/shop/sa/others".to_owned(),
            Code::Unauthenticated,
        ),
        ("rubbish".to_owned(), Code::Unauthenticated),
    ] {
        let messages = tokio_stream::iter([of_http(vec![entry(&judged, 200, 1)])]);
        let mut request = tonic::Request::new(messages);
        let metadata = request.metadata_mut();
        metadata.insert("x-forwarded-client-cert", seen.parse().unwrap());
        let answer = proxy.stream_access_logs(request).await;
        assert_eq!(
            answer.map_or_else(|error| error.code(), |_| Code::Ok),
            code,
            "{seen}"
        );
    }
    let told = usage_once(&mut root, &token, |totals| totals.completed >= 1).await;
    assert_eq!(totals(&told).completed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_of_access_logs_outlasts_the_deadline_of_calls() {
    let quickly = ["--set", "limits.call_deadline=500ms"];
    let mut authority = Authority::before_sqlite_start().with(&quickly);
    authority.start();
    let mut root = authority.root().await;
    let (token, used) = create(&mut root, named("used")).await;
    let judged = ask(&mut root, presenting(&used)).await.validation_id;
    let (messages, ending) = open(&reporter(&authority, "").await);
    let message = || of_http(vec![entry(&judged, 200, 1)]);
    messages.send(message()).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    // Longer than any other call may take, and be overdue.
    tokio::time::sleep(Duration::from_secs(2)).await;
    messages.send(message()).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 2).await;
    drop(messages);
    end(ending).await.expect("it went on");
}
