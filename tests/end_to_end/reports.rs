//! Report: what services tell of how requests ended, and what becomes of the stream it comes over.

use std::time::Duration;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, ReportRequest, ReportResponse, RevokeRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status};

use crate::harness::{
    Authority, Client, PATIENCE, ask, create, fields, named, presenting, set, span, told,
};
use crate::leasing::caller;
use crate::usage::{totals, usage_once};

type Ending = tokio::task::JoinHandle<Result<Response<ReportResponse>, Status>>;

fn served(validation_id: &str, status_code: u32, millis: u64) -> ReportRequest {
    ReportRequest {
        validation_id: validation_id.to_owned(),
        status_code,
        latency: Some(span(Duration::from_millis(millis))),
        request_bytes: 100,
        response_bytes: 2000,
        ..ReportRequest::default()
    }
}

fn unjudged(token_id: &str) -> ReportRequest {
    ReportRequest {
        token_id: token_id.to_owned(),
        unjudged: true,
        status_code: 200,
        ..ReportRequest::default()
    }
}

async fn report(client: &mut Client, all: Vec<ReportRequest>) -> Result<(u64, u64), Status> {
    let answer = client.report(tokio_stream::iter(all)).await?.into_inner();
    Ok((answer.accepted, answer.unknown))
}

/// A stream of reports that is open, and its end.
fn open(client: &Client) -> (mpsc::Sender<ReportRequest>, Ending) {
    let (reports, receiver) = mpsc::channel(16);
    let mut client = client.clone();
    let ending = async move { client.report(ReceiverStream::new(receiver)).await };
    (reports, tokio::spawn(ending))
}

async fn end(ending: Ending) -> Result<ReportResponse, Status> {
    let ended = tokio::time::timeout(PATIENCE, ending).await;
    let ended = ended.expect("an end in time").expect("no panic");
    ended.map(Response::into_inner)
}

/// How many messages a stream says it took before its error.
fn taken(error: &Status) -> &str {
    let taken = error.metadata().get("reports-taken");
    taken.expect("a count").to_str().expect("a number")
}

pub(crate) async fn reports_complete_what_was_judged(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, named("used")).await;
    let mut judged = Vec::new();
    for _ in 0..4 {
        let answer = ask(&mut root, presenting(&secret)).await;
        assert!(answer.validation_id.starts_with(&token.token_id));
        judged.push(answer.validation_id);
    }
    let nothing = ask(&mut root, presenting("rubbish")).await;
    let absent = "zzzzzzzzzzzzzzzzzzzzzz";
    let mut service = caller(&authority, "", &["authority:report"]).await;
    let told = report(
        &mut service,
        vec![
            served(&judged[0], 200, 10),
            served(&judged[1], 404, 20),
            ReportRequest {
                grpc_status: Some(0),
                ..served(&judged[2], 0, 30)
            },
            unjudged(&token.token_id),
            served(&nothing.validation_id, 401, 1),
            unjudged(absent),
            served(&format!("{absent}{}", &judged[0][22..]), 200, 1),
        ],
    );
    assert_eq!(told.await.unwrap(), (4, 3));
    let told = usage_once(&mut root, &token, |totals| totals.completed == 4).await;
    let sum = totals(&told);
    assert_eq!((sum.requests, sum.successful, sum.failed), (4, 4, 1));
    assert_eq!((sum.request_bytes, sum.response_bytes), (300, 6000));
    assert_eq!(sum.average_latency, Some(span(Duration::from_millis(20))));
    let near = |told: &Option<prost_types::Duration>, millis: u64| {
        let told = Duration::try_from(told.unwrap()).unwrap();
        let error = told.abs_diff(Duration::from_millis(millis));
        assert!(error <= Duration::from_millis(millis) / 31, "{told:?}");
    };
    near(&sum.p50_latency, 20);
    near(&sum.p99_latency, 30);
    let classes: Vec<_> = sum
        .status_classes
        .iter()
        .map(|one| (one.class, one.requests))
        .collect();
    assert_eq!(classes, [(2, 2), (4, 1)]);
    let of = |id: &String| {
        told.recent
            .iter()
            .find(|one| one.validation_id == *id)
            .unwrap()
    };
    assert_eq!(of(&judged[1]).status_code, Some(404));
    assert_eq!(
        of(&judged[1]).latency,
        Some(span(Duration::from_millis(20)))
    );
    assert_eq!(of(&judged[2]).status_code, None);
    assert_eq!(of(&judged[3]).latency, None);
    assert_eq!(told.recent.len(), 4, "what nobody judged is none of them");
}

pub(crate) async fn a_wrong_report_ends_the_stream_and_what_came_before_counts(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("used")).await;
    let one = unjudged(&token.token_id);
    let wrong = ReportRequest {
        status_code: 99,
        latency: Some(span(Duration::from_secs(86_401))),
        ..one.clone()
    };
    let all = vec![one.clone(), one.clone(), wrong, one];
    let error = report(&mut root, all).await.unwrap_err();
    let named = ["reports[2].status_code", "reports[2].latency"];
    assert_eq!(fields(&error), set(&named));
    assert_eq!(taken(&error), "2");
    let told = usage_once(&mut root, &token, |totals| totals.completed >= 2).await;
    assert_eq!(totals(&told).completed, 2);
}

pub(crate) async fn a_report_about_a_foreign_token_is_one_about_none(authority: Authority) {
    let mut root = authority.root().await;
    let foreign = CreateRequest {
        namespace: "bank".to_owned(),
        ..named("foreign")
    };
    let (token, secret) = create(&mut root, foreign).await;
    let mut service = caller(&authority, "shop", &["authority:report"]).await;
    let presented = token_authority::transport::grpc::pb::ValidateRequest {
        namespace: "bank".to_owned(),
        ..presenting(&secret)
    };
    // So that it is remembered, too.
    let judged = ask(&mut root, presented).await.validation_id;
    let all = vec![unjudged(&token.token_id), served(&judged, 200, 1)];
    assert_eq!(report(&mut service, all).await.unwrap(), (0, 2));
    let told = usage_once(&mut root, &token, |totals| totals.requests == 1).await;
    assert_eq!(totals(&told).completed, 0);
}

pub(crate) async fn a_stream_of_reports_ends_with_the_right_of_its_caller(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("used")).await;
    let request = CreateRequest {
        scopes: vec!["authority:report".to_owned()],
        ..named("service")
    };
    let (own, secret) = create(&mut root, request).await;
    let (reports, ending) = open(&authority.client(Some(&secret)));
    reports.send(unjudged(&token.token_id)).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    let target = Some(Target::TokenId(own.token_id));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    let error = end(ending).await.unwrap_err();
    let unknown = (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned());
    assert_eq!((told(&error), taken(&error)), (unknown, "1"));
}

pub(crate) async fn reports_count_against_the_limit_of_their_caller(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("used")).await;
    let request = CreateRequest {
        scopes: vec!["authority:report".to_owned()],
        rate_limits: vec![token_authority::transport::grpc::pb::RateLimit {
            requests: 3,
            period: Some(span(Duration::from_secs(3600))),
            ..Default::default()
        }],
        ..named("service")
    };
    let (_, secret) = create(&mut root, request).await;
    let mut service = authority.client(Some(&secret));
    let all = vec![unjudged(&token.token_id); 5];
    let error = report(&mut service, all).await.unwrap_err();
    let limited = (Code::ResourceExhausted, "CALLER_LIMITED".to_owned());
    // One of them opened the stream.
    assert_eq!((told(&error), taken(&error)), (limited, "2"));
}

pub(crate) async fn a_quiet_stream_of_reports_outlasts_the_deadline_of_calls(
    mut authority: Authority,
) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "limits.call_deadline=500ms"]);
    authority.start();
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("used")).await;
    let (reports, ending) = open(&root);
    reports.send(unjudged(&token.token_id)).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    // Longer than any other call may take, and be overdue.
    tokio::time::sleep(Duration::from_secs(2)).await;
    reports.send(unjudged(&token.token_id)).await.unwrap();
    drop(reports);
    let told = end(ending).await.unwrap();
    assert_eq!((told.accepted, told.unknown), (2, 0));
}

pub(crate) async fn a_stream_of_reports_ends_when_the_server_leaves(mut authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("used")).await;
    let (reports, ending) = open(&root);
    reports.send(unjudged(&token.token_id)).await.unwrap();
    usage_once(&mut root, &token, |totals| totals.completed == 1).await;
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(9), "{took:?}");
    let error = end(ending).await.unwrap_err();
    let draining = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!((told(&error), taken(&error)), (draining, "1"));
    drop(reports);
}
