//! Failure budgets: a client that presents one wrong secret after the other is shed, and nobody else
//! notices.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use token_authority::domain::secret::{Brand, Secret};
use token_authority::domain::token::TokenId;
use token_authority::entropy;
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    Consistency, CreateRequest, ListRequest, RevokeRequest, Token, ValidateRequest,
    ValidateResponse, Verdict,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{
    Authority, Client, PATIENCE, client_over, create, named, presenting, rotation, span, told,
};
use crate::leasing::{acquire, any, fill, release};
use crate::questions::{Answer, Questions, ask_all, whole};
use crate::scrape::Scrape;

/// Failures that a client has in a minute; one comes back in more than a test takes.
const FAILURES: u32 = 3;

const FLOODED: &str = "192.0.2.1";

/// The same authority, with another budget.
async fn allowing(mut authority: Authority, per_minute: u32) -> Authority {
    authority.stop("TERM");
    let setting = format!("limits.failures_per_minute={per_minute}");
    let mut authority = authority.with(&["--set", &setting]);
    authority.start();
    authority.serving(true).await;
    authority
}

/// A well-formed secret that nobody was given: of this token, or of none.
pub(crate) fn wrong_secret(of: Option<&Token>) -> String {
    let id = match of {
        Some(token) => TokenId::parse(&token.token_id).unwrap(),
        None => entropy::token_id().unwrap(),
    };
    let random = entropy::secret_digits().unwrap();
    let secret = Secret::assemble(&Brand::parse("ta").unwrap(), &id, &random);
    secret.expose().to_owned()
}

/// What a caller asks about a secret that a client at `client_ip` presents.
fn from(client_ip: &str, secret: &str) -> ValidateRequest {
    ValidateRequest {
        client_ip: client_ip.to_owned(),
        ..presenting(secret)
    }
}

async fn judged(client: &mut Client, request: ValidateRequest) -> Result<ValidateResponse, Status> {
    Ok(client.validate(request).await?.into_inner())
}

async fn verdict(client: &mut Client, request: ValidateRequest) -> Verdict {
    judged(client, request).await.expect("a verdict").verdict()
}

/// Asserts that this was refused for failures, and answers when to try again.
fn shed(refused: &Status) -> Duration {
    let expected = (Code::ResourceExhausted, "FAILURES_LIMITED".to_owned());
    assert_eq!(told(refused), expected, "{refused:?}");
    let retry = refused
        .get_details_retry_info()
        .expect("when to try again")
        .retry_delay
        .expect("a span");
    assert!(retry > Duration::ZERO, "{refused:?}");
    retry
}

/// Uses up the budget of a client that `client` asks about, with wrong secrets of that token and of
/// none; answers how the next one is refused.
async fn flood(client: &mut Client, client_ip: &str, victim: &Token) -> Status {
    for number in 0..FAILURES {
        let of = (number % 2 == 0).then_some(victim);
        let wrong = from(client_ip, &wrong_secret(of));
        assert_eq!(verdict(client, wrong).await, Verdict::NotFound);
    }
    let wrong = from(client_ip, &wrong_secret(Some(victim)));
    judged(client, wrong).await.expect_err("it is shed")
}

async fn gateway(authority: &Authority, name: &str) -> Client {
    let request = CreateRequest {
        scopes: vec!["authority:validate".to_owned()],
        ..named(name)
    };
    let (_, secret) = create(&mut authority.root().await, request).await;
    authority.client(Some(&secret))
}

pub(crate) async fn questions_of_batches_and_streams_are_failures_as_any_other(
    authority: Authority,
) {
    let authority = allowing(authority, FAILURES).await;
    let mut root = authority.root().await;
    let mut gateway = gateway(&authority, "gateway").await;
    let mut stream = Questions::open(&mut gateway).await.unwrap();
    for (batch, client_ip) in [(true, FLOODED), (false, "192.0.2.2")] {
        let (_, unread) = create(&mut root, named("unread")).await;
        let mut asked: Vec<_> = (0..FAILURES)
            .map(|_| from(client_ip, &wrong_secret(None)))
            .collect();
        let failed = many(&mut gateway, &mut stream, batch, asked.clone()).await;
        let failed = failed.into_iter().map(Result::unwrap);
        assert!(
            failed
                .into_iter()
                .all(|answer| answer.verdict() == Verdict::NotFound)
        );
        asked.truncate(1);
        asked.extend([from(client_ip, "x"), from("192.0.2.3", &unread)]);
        let answers = many(&mut gateway, &mut stream, batch, asked).await;
        shed(&whole(answers[0].as_ref().expect_err("it is shed")));
        let others = answers[1..]
            .iter()
            .map(|answer| answer.as_ref().unwrap().verdict());
        assert!(others.eq([Verdict::Malformed, Verdict::Valid]));
    }
}

/// Asks in one call, or one question after the other on a stream.
async fn many(
    client: &mut Client,
    stream: &mut Questions,
    batch: bool,
    asked: Vec<ValidateRequest>,
) -> Vec<Answer> {
    if batch {
        return ask_all(client, asked).await.unwrap();
    }
    let mut answers = Vec::new();
    for question in asked {
        answers.push(stream.ask(question).await);
    }
    answers
}

pub(crate) async fn a_client_that_keeps_failing_is_shed_and_nobody_else_notices(
    authority: Authority,
) {
    let authority = allowing(authority, FAILURES).await;
    let mut root = authority.root().await;
    let mut gateway = gateway(&authority, "gateway").await;
    let other = self::gateway(&authority, "other").await;
    let (victim, secret) = create(&mut root, named("victim")).await;
    let (_, unread) = create(&mut root, named("unread")).await;
    let refused = flood(&mut gateway, FLOODED, &victim).await;
    assert!(shed(&refused) <= Duration::from_secs(60) / FAILURES);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["limit"], FAILURES.to_string());
    for part in ["IPv4", "3 in a minute", "limits.failures_per_minute"] {
        assert!(refused.message().contains(part), "{refused:?}");
    }
    // Who guesses at this very token elsewhere, or by another caller, is another client.
    let wrong = wrong_secret(Some(&victim));
    for (mut caller, client_ip) in [
        (gateway.clone(), "192.0.2.2"),
        (gateway.clone(), ""),
        (other, FLOODED),
    ] {
        let right = from(client_ip, &secret);
        assert_eq!(verdict(&mut caller, right).await, Verdict::Valid);
        let wrong = from(client_ip, &wrong);
        assert_eq!(verdict(&mut caller, wrong).await, Verdict::NotFound);
    }
    // What is known goes on for that client, too, and what is seen to be rubbish.
    let known = from(FLOODED, &secret);
    let patience = Instant::now() + PATIENCE;
    loop {
        match judged(&mut gateway, known.clone()).await {
            Ok(answer) => break assert_eq!(answer.verdict(), Verdict::Valid),
            // Only if memory was not good for answers just now.
            Err(refused) => drop(shed(&refused)),
        }
        assert!(Instant::now() < patience, "{}", authority.log());
    }
    let rubbish = from(FLOODED, "rubbish");
    assert_eq!(verdict(&mut gateway, rubbish).await, Verdict::Malformed);
    for needing_the_store in [
        from(FLOODED, &unread),
        from(FLOODED, &wrong),
        ValidateRequest {
            consistency: Consistency::Strong.into(),
            ..known
        },
    ] {
        shed(&judged(&mut gateway, needing_the_store).await.unwrap_err());
    }
    let metrics = Scrape::of(&authority);
    assert!(metrics.value("failures_shed_total") >= 4.0);
    let verdicts = metrics.value("verdicts_total{verdict=\"not_found\"}");
    assert_eq!(verdicts, f64::from(FAILURES) + 3.0, "no budget judges");
}

pub(crate) async fn who_was_shed_is_let_in_again_when_it_was_told(authority: Authority) {
    let authority = allowing(authority, 60).await;
    let mut root = authority.root().await;
    let begun = Instant::now();
    let (mut failed, mut refused) = (0, 0);
    while refused < 3 {
        match judged(&mut root, from("2001:db8::1", &wrong_secret(None))).await {
            Ok(answer) => {
                assert_eq!(answer.verdict(), Verdict::NotFound);
                failed += 1;
            }
            Err(status) => {
                let retry = shed(&status);
                assert!(status.message().contains("IPv6 /64"), "{status:?}");
                assert!(retry <= Duration::from_secs(1), "{retry:?}");
                tokio::time::sleep(retry).await;
                refused += 1;
            }
        }
        let most = 60 + begun.elapsed().as_secs() + 1;
        assert!(failed <= most, "{failed} of {most}");
        assert!(begun.elapsed() < PATIENCE * 3);
    }
    assert!(failed >= 62, "{failed}: each wait was worth it");
    let neighbour = from("2001:db8::2", &wrong_secret(None));
    let elsewhere = from("2001:db8:0:1::1", &wrong_secret(None));
    while judged(&mut root, neighbour.clone()).await.is_ok() {}
    assert_eq!(verdict(&mut root, elsewhere).await, Verdict::NotFound);
}

pub(crate) async fn strangers_with_wrong_credentials_are_shed_at_their_address(
    authority: Authority,
) {
    let authority = allowing(authority, FAILURES).await;
    let mut root = authority.root().await;
    let request = CreateRequest {
        scopes: vec!["authority:read".to_owned()],
        ..named("caller")
    };
    let (token, secret) = create(&mut root, request).await;
    let calls_as = async |secret: &str, at: [u8; 4]| {
        let local = Some(IpAddr::V4(Ipv4Addr::from(at)));
        let channel = authority.endpoint().local_address(local).connect_lazy();
        let mut client = client_over(channel, Some(secret));
        client.list(ListRequest::default()).await.map(drop)
    };
    let (flooded, elsewhere) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    for _ in 0..FAILURES {
        let wrong = wrong_secret(Some(&token));
        let error = calls_as(&wrong, flooded).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
    }
    let wrong = wrong_secret(Some(&token));
    shed(&calls_as(&wrong, flooded).await.unwrap_err());
    let log = authority.log();
    assert!(log.contains("failures_limited"), "it is in the audit log");
    assert!(!log.contains(&wrong), "the secret is not");
    calls_as(&secret, elsewhere).await.unwrap();
    let error = calls_as(&wrong, elsewhere).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    // Root is known by heart, and what is asked of a caller is another budget.
    calls_as(crate::harness::ROOT_TOKEN, flooded).await.unwrap();
    let wrong = from("127.0.0.2", &wrong_secret(None));
    assert_eq!(verdict(&mut root, wrong).await, Verdict::NotFound);
}

pub(crate) async fn secrets_that_are_over_are_failures_and_ended_tokens_are_none(
    authority: Authority,
) {
    let authority = allowing(authority, 1).await;
    let mut root = authority.root().await;
    let mortal = CreateRequest {
        expiration: Some(Expiration::Ttl(span(Duration::from_secs(1)))),
        ..named("mortal")
    };
    let (_, expired) = create(&mut root, mortal).await;
    let (rotated, superseded) = create(&mut root, named("rotated")).await;
    let cut = rotation(&rotated.token_id, Duration::ZERO);
    root.rotate(cut).await.unwrap();
    fill(&mut root, 1).await;
    let held = acquire(&mut root, any()).await;
    release(&mut root, held.release()).await.unwrap();
    let (revoked, ended) = create(&mut root, named("revoked")).await;
    let target = Some(Target::TokenId(revoked.token_id));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (last, secret, expected) in [
        (1, &expired, Verdict::Expired),
        (2, &superseded, Verdict::Superseded),
        (3, &held.secret, Verdict::LeaseEnded),
        (4, &wrong_secret(None), Verdict::NotFound),
    ] {
        let client_ip = format!("198.51.100.{last}");
        let asked = from(&client_ip, secret);
        assert_eq!(verdict(&mut root, asked.clone()).await, expected);
        shed(&judged(&mut root, asked).await.unwrap_err());
    }
    for _ in 0..5 {
        let asked = ValidateRequest {
            consistency: Consistency::Strong.into(),
            ..from("198.51.100.5", &ended)
        };
        assert_eq!(verdict(&mut root, asked).await, Verdict::Revoked);
    }
}

pub(crate) async fn without_a_budget_every_secret_is_judged(authority: Authority) {
    let authority = allowing(authority, 0).await;
    let mut root = authority.root().await;
    for _ in 0..50 {
        let wrong = from(FLOODED, &wrong_secret(None));
        assert_eq!(verdict(&mut root, wrong).await, Verdict::NotFound);
    }
}
