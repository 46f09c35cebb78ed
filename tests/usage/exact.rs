//! Every request is counted once, and where it belongs.

use std::collections::BTreeMap;
use std::time::Duration;

use token_authority::transport::grpc::pb::validate_result::Result as Item;
use token_authority::transport::grpc::pb::{
    BatchValidateRequest, RateLimit, ReportRequest, RevokeRequest, ValidateRequest,
    ValidateResponse, Verdict, revoke_request,
};
use tokio::task::JoinSet;

use crate::harness::{Client, create, named, presenting, rotation};
use crate::sites::Site;
use crate::tally::{Tally, overlooked, told_once};

const TOKENS: usize = 100;
/// Requests of one round, over all clients.
const REQUESTS: usize = 20_000;
/// Questions that are asked together.
const TOGETHER: usize = 250;

/// A token with its secrets, as its callers know them.
#[derive(Clone)]
struct Known {
    id: String,
    secrets: Vec<String>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a test takes is asked for by a variable"
)]
fn rounds() -> usize {
    let asked = std::env::var("TOKEN_AUTHORITY_TEST_ROUNDS").ok();
    asked.map_or(1, |rounds| rounds.parse().unwrap())
}

/// Tokens of all kinds: some over their limits, some revoked, some with two secrets in force.
async fn tokens(root: &mut Client) -> Vec<Known> {
    let mut tokens = Vec::new();
    for number in 0..TOKENS {
        let mut request = named(&format!("t{number}"));
        if number % 10 == 1 {
            request.rate_limits = vec![RateLimit {
                requests: 7,
                period: Some(prost_types::Duration {
                    seconds: 366 * 24 * 3600,
                    nanos: 0,
                }),
                ..RateLimit::default()
            }];
        }
        if number % 10 == 2 {
            request.allowed_endpoints = vec!["/e0".to_owned(), "/e1".to_owned()];
        }
        let (token, secret) = create(root, request).await;
        let mut known = Known {
            id: token.token_id.clone(),
            secrets: vec![secret],
        };
        if number % 10 == 3 {
            let asked = rotation(&token.token_id, Duration::from_secs(3600));
            let rotated = root.rotate(asked).await.unwrap().into_inner();
            known.secrets.push(rotated.secret);
        }
        if number % 10 == 4 {
            let target = revoke_request::Target::TokenId(token.token_id.clone());
            let request = RevokeRequest {
                target: Some(target),
                ..RevokeRequest::default()
            };
            root.revoke(request).await.unwrap();
        }
        tokens.push(known);
    }
    tokens
}

/// The question of this number, and which token it is about.
fn question(tokens: &[Known], number: usize) -> (usize, ValidateRequest) {
    // Some come far more often than others.
    let about = (number * number / 7) % tokens.len() / (1 + number % 3);
    let secrets = &tokens[about].secrets;
    let request = ValidateRequest {
        method: "GET".to_owned(),
        path: format!("/e{}?page={number}", number % 5),
        client_ip: format!("192.0.2.{}", number % 9),
        cost: Some(1 + (number % 2) as u64),
        ..presenting(&secrets[number % secrets.len()])
    };
    (about, request)
}

/// Notes an answer, and says what is to be reported of it, if anything is.
fn note(
    tally: &mut Tally,
    asked: &ValidateRequest,
    answer: &ValidateResponse,
    number: usize,
) -> Option<ReportRequest> {
    let path = asked.path.split('?').next().unwrap_or_default();
    *tally.verdicts.entry(answer.verdict).or_default() += 1;
    *tally.endpoints.entry(path.to_owned()).or_default() += 1;
    *tally.versions.entry(answer.secret_version).or_default() += 1;
    if answer.verdict() != Verdict::Valid {
        return None;
    }
    tally.cost += asked.cost.unwrap_or(1);
    if number.is_multiple_of(2) {
        return None;
    }
    let status = if number.is_multiple_of(11) { 503 } else { 200 };
    let micros = 50 + (number * 7919 % 100_000) as u64;
    tally.ended += 1;
    *tally.classes.entry(status / 100).or_default() += 1;
    tally.latencies.push(micros);
    tally.response_bytes += number as u64;
    Some(ReportRequest {
        validation_id: answer.validation_id.clone(),
        endpoint: path.to_owned(),
        method: "GET".to_owned(),
        status_code: status,
        latency: Some(Duration::from_micros(micros).try_into().unwrap()),
        response_bytes: number as u64,
        ..ReportRequest::default()
    })
}

/// Asks all questions from `first` on, some one by one and most together, and reports their ends.
async fn ask(mut client: Client, tokens: Vec<Known>, first: usize) -> BTreeMap<usize, Tally> {
    let mut tallies = BTreeMap::<usize, Tally>::new();
    let mut reports = Vec::new();
    let (about, requests): (Vec<_>, Vec<_>) = (first..first + TOGETHER)
        .map(|number| question(&tokens, number))
        .unzip();
    let mut answers = Vec::new();
    if first.is_multiple_of(4 * TOGETHER) {
        for request in &requests {
            let answer = client.validate(request.clone()).await.unwrap();
            answers.push(answer.into_inner());
        }
    } else {
        let batch = BatchValidateRequest {
            requests: requests.clone(),
        };
        let answer = client.batch_validate(batch).await.unwrap().into_inner();
        answers.extend(answer.results.into_iter().map(|item| match item.result {
            Some(Item::Response(answer)) => answer,
            other => panic!("no answer: {other:?}"),
        }));
    }
    assert_eq!(answers.len(), TOGETHER);
    for (at, answer) in answers.iter().enumerate() {
        let tally = tallies.entry(about[at]).or_default();
        reports.extend(note(tally, &requests[at], answer, first + at));
    }
    let count = reports.len() as u64;
    let told = client.report(tokio_stream::iter(reports)).await.unwrap();
    assert_eq!(told.into_inner().accepted, count);
    tallies
}

async fn every_request_is_counted_once(site: &Site) {
    let mut root = site.root();
    let tokens = tokens(&mut root).await;
    let clients = site.clients();
    let mut tallies = BTreeMap::<usize, Tally>::new();
    for round in 0..rounds() {
        let mut asking = JoinSet::new();
        for first in (0..REQUESTS).step_by(TOGETHER) {
            let client = clients[first / TOGETHER % clients.len()].clone();
            asking.spawn(ask(client, tokens.clone(), round * REQUESTS + first));
        }
        for told in asking.join_all().await {
            for (about, tally) in told {
                tallies.entry(about).or_default().add(tally);
            }
        }
    }
    // Of no token.
    let malformed = presenting("ta_nothing");
    assert_eq!(
        root.validate(malformed)
            .await
            .unwrap()
            .into_inner()
            .verdict(),
        Verdict::Malformed
    );
    let mut all = Tally::default();
    *all.verdicts.entry(Verdict::Malformed.into()).or_default() += 1;
    for (about, tally) in tallies {
        let id = &tokens[about].id;
        let told = told_once(&mut root, id, (tally.requests(), tally.ended)).await;
        tally.is_told_by(&told.totals.unwrap(), id);
        let hourly = told.hourly.iter().map(|hour| hour.totals.as_ref().unwrap());
        assert_eq!(
            hourly.map(|hour| hour.requests).sum::<u64>(),
            tally.requests()
        );
        let endpoints = told.endpoints.iter();
        let endpoints =
            endpoints.map(|row| (row.endpoint.clone(), row.totals.as_ref().unwrap().requests));
        assert_eq!(
            endpoints.collect::<BTreeMap<_, _>>(),
            tally.endpoints,
            "{id}"
        );
        let versions = told.secret_versions.iter();
        let versions = versions.map(|row| (row.version, row.requests));
        assert_eq!(versions.collect::<BTreeMap<_, _>>(), tally.versions, "{id}");
        let clients = told.client_ips.iter().map(|row| row.requests);
        assert_eq!(clients.sum::<u64>(), tally.requests());
        all.add(tally);
    }
    let told = overlooked(&mut root, (all.requests(), all.ended)).await;
    all.is_told_by(&told, "the namespace");
    assert_eq!(site.sum("usage_lost_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_four_servers_every_request_is_counted_once() {
    every_request_is_counted_once(&Site::four().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_one_server_every_request_is_counted_once() {
    every_request_is_counted_once(&Site::one().await).await;
}
