//! BatchValidate and ValidateStream: each question is judged, charged and answered for itself, as
//! Validate would.

use std::collections::BTreeMap;
use std::time::Duration;

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    BatchValidateRequest, Consistency, CreateRequest, Quota, RateLimit, RevokeRequest, Token,
    ValidateRequest, ValidateResponse, ValidateStreamRequest, Verdict,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::harness::{
    Authority, Client, create, fields, get, named, presenting, set, span, told, update,
};
use crate::questions::{Answer, Questions, ask_all, in_band, of_batch, whole};
use crate::scrape::Scrape;

const DAY: Duration = Duration::from_secs(86_400);

async fn revoke(root: &mut Client, token_id: &str) {
    let target = Some(Target::TokenId(token_id.to_owned()));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
}

/// A caller that may validate, so often a day.
fn gateway(uses: Option<u64>) -> CreateRequest {
    let limit = |requests| RateLimit {
        requests,
        period: Some(span(DAY)),
        ..RateLimit::default()
    };
    CreateRequest {
        scopes: vec!["authority:validate".to_owned()],
        rate_limits: uses.map(limit).into_iter().collect(),
        ..named("gateway")
    }
}

fn verdict(answer: &Answer) -> Verdict {
    answer.as_ref().expect("a verdict").verdict()
}

/// The answer without what differs from one judgement to the next.
fn comparable(answer: ValidateResponse) -> ValidateResponse {
    assert!(!answer.validation_id.is_empty());
    ValidateResponse {
        validation_id: String::new(),
        ..answer
    }
}

/// Questions of every kind, each with the verdict, or the fields that are wrong with it.
async fn of_every_kind(root: &mut Client) -> Vec<(ValidateRequest, Result<Verdict, &'static str>)> {
    let scoped = CreateRequest {
        scopes: vec!["orders:*".to_owned()],
        labels: [("env".to_owned(), "prod".to_owned())].into(),
        ..named("valid")
    };
    let (_, valid) = create(root, scoped).await;
    let (gone, revoked) = create(root, named("revoked")).await;
    revoke(root, &gone.token_id).await;
    let asking = |scope: &str| ValidateRequest {
        required_scopes: vec![scope.to_owned()],
        ..presenting(&valid)
    };
    let strong = ValidateRequest {
        consistency: Consistency::Strong.into(),
        ..presenting(&valid)
    };
    let placeless = ValidateRequest {
        client_ip: "nowhere".to_owned(),
        ..presenting(&valid)
    };
    vec![
        (asking("orders:read"), Ok(Verdict::Valid)),
        (asking("refunds:pay"), Ok(Verdict::ScopeDenied)),
        (presenting(&revoked), Ok(Verdict::Revoked)),
        (strong, Ok(Verdict::Valid)),
        (presenting(""), Ok(Verdict::Malformed)),
        (placeless, Err("client_ip")),
        (
            ValidateRequest {
                cost: Some(2_000_000_000),
                ..presenting(&valid)
            },
            Err("cost"),
        ),
    ]
}

/// A request of the name that all have which are compared.
fn as_many<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = "many".parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    request
}

/// Asserts that an answer is the one that Validate gives, error and details included.
async fn is_as_by_itself(root: &mut Client, question: ValidateRequest, answer: Answer) {
    match (root.validate(as_many(question)).await, answer) {
        (Ok(alone), Ok(answer)) => {
            assert_eq!(comparable(answer), comparable(alone.into_inner()));
        }
        (Err(alone), Err(answer)) => {
            assert_eq!(whole(&answer).details(), alone.details(), "{alone:?}");
            assert_eq!(answer.message, alone.message());
        }
        (alone, answer) => panic!("{alone:?} and {answer:?}"),
    }
}

fn is_expected(answer: &Answer, expected: Result<Verdict, &'static str>) {
    match (answer, expected) {
        (Ok(answer), Ok(verdict)) => assert_eq!(answer.verdict(), verdict),
        (Err(error), Err(field)) => assert_eq!(fields(&whole(error)), set(&[field])),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_batch_answers_each_question_in_its_place(authority: Authority) {
    let mut root = authority.root().await;
    let kinds = of_every_kind(&mut root).await;
    let asked: Vec<_> = kinds.iter().cycle().take(1000).collect();
    let requests = asked.iter().map(|(question, _)| question.clone()).collect();
    let batch = as_many(BatchValidateRequest { requests });
    let answers = of_batch(root.batch_validate(batch).await.unwrap().into_inner());
    assert_eq!(answers.len(), 1000);
    for (answer, (_, expected)) in answers.iter().zip(&asked) {
        is_expected(answer, *expected);
    }
    for ((question, _), answer) in kinds.into_iter().zip(answers) {
        is_as_by_itself(&mut root, question, answer).await;
    }
    let counted = Scrape::of(&authority);
    assert!(counted.value("verdicts_total{verdict=\"revoked\"}") >= 142.0);
    assert_eq!(counted.calls("BatchValidate", "OK"), 1.0);
}

pub(crate) async fn a_batch_of_no_question_or_too_many_is_refused(authority: Authority) {
    let mut root = authority.root().await;
    for count in [0, 1001] {
        let error = ask_all(&mut root, vec![presenting("x"); count]).await;
        assert_eq!(fields(&error.unwrap_err()), set(&["requests"]), "{count}");
    }
    let one = ask_all(&mut root, vec![presenting("x")]).await.unwrap();
    assert_eq!(verdict(&one[0]), Verdict::Malformed);
}

pub(crate) async fn many_tokens_that_nobody_remembers_are_judged_in_one_call(authority: Authority) {
    let mut root = authority.root().await;
    let mut secrets = Vec::new();
    for _ in 0..200 {
        secrets.push(create(&mut root, named("cold")).await.1);
    }
    let strong = secrets.iter().map(|secret| ValidateRequest {
        consistency: Consistency::Strong.into(),
        ..presenting(secret)
    });
    let answers = ask_all(&mut root, strong.collect()).await.unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| verdict(answer) == Verdict::Valid)
    );
}

pub(crate) async fn a_batch_takes_a_use_of_its_callers_limit_for_each_question(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, gateway(Some(7))).await;
    let (_, subject) = create(&mut root, named("subject")).await;
    let mut caller = authority.client(Some(&secret));
    let few = ask_all(&mut caller, vec![presenting(&subject); 2]).await;
    assert!(few.unwrap().iter().all(Result::is_ok));
    let left = get(&mut root, &token.token_id).await.rate_limits[0].remaining;
    assert_eq!(left, 5);
    let many = ask_all(&mut caller, vec![presenting(&subject); 9])
        .await
        .unwrap();
    let limited = (Code::ResourceExhausted, "CALLER_LIMITED".to_owned());
    for (at, answer) in many.iter().enumerate() {
        match answer {
            Ok(answer) if at < 5 => assert_eq!(answer.verdict(), Verdict::Valid),
            Err(error) if at >= 5 => {
                assert_eq!(in_band(error), limited);
                let retry = whole(error).get_details_retry_info().unwrap().retry_delay;
                let retry = retry.unwrap();
                assert!(retry > Duration::ZERO && retry <= DAY / 7, "{retry:?}");
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    let error = ask_all(&mut caller, vec![presenting(&subject)]).await;
    assert_eq!(told(&error.unwrap_err()), limited);
}

pub(crate) async fn each_question_of_a_batch_takes_its_cost_from_its_token(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        quota: Some(Quota {
            limit: 10,
            ..Quota::default()
        }),
        ..named("metered")
    };
    let (token, secret) = create(&mut root, request).await;
    let asking = |cost, dry_run| ValidateRequest {
        cost: Some(cost),
        dry_run,
        ..presenting(&secret)
    };
    let only_asking = vec![asking(10, true); 5];
    let answers = ask_all(&mut root, only_asking).await.unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| verdict(answer) == Verdict::Valid)
    );
    let answers = ask_all(&mut root, vec![asking(3, false); 5]).await.unwrap();
    let of = |wanted| {
        let same = answers.iter().filter(|answer| verdict(answer) == wanted);
        same.count()
    };
    assert_eq!((of(Verdict::Valid), of(Verdict::QuotaExhausted)), (3, 2));
    let left = get(&mut root, &token.token_id).await.quota_remaining;
    assert_eq!(left, Some(1));
}

pub(crate) async fn a_stream_answers_each_question_by_its_id(authority: Authority) {
    let mut root = authority.root().await;
    let kinds = of_every_kind(&mut root).await;
    let (questions, receiver) = mpsc::channel(16);
    let opening = as_many(ReceiverStream::new(receiver));
    let answers = root.validate_stream(opening).await.unwrap().into_inner();
    let mut stream = Questions { questions, answers };
    let count = 500;
    let sending = {
        let asked: Vec<_> = kinds.iter().cycle().take(count).cloned().collect();
        let questions = stream.questions.clone();
        tokio::spawn(async move {
            for (id, (question, _)) in (0..).zip(asked) {
                let request = Some(question);
                let question = ValidateStreamRequest { id, request };
                questions.send(question).await.unwrap();
            }
        })
    };
    let mut answers = BTreeMap::new();
    while answers.len() < count {
        let (id, answer) = stream.next().await.unwrap().expect("an answer");
        let before = answers.insert(id, answer);
        assert!(before.is_none(), "two answers to {id}");
    }
    sending.await.unwrap();
    for ((id, answer), (_, expected)) in answers.iter().zip(kinds.iter().cycle()) {
        assert!(*id < count as u64);
        is_expected(answer, *expected);
    }
    for ((question, _), answer) in kinds.into_iter().zip(answers.into_values()) {
        is_as_by_itself(&mut root, question, answer).await;
    }
    let nothing = ValidateStreamRequest {
        id: 8,
        request: None,
    };
    stream.questions.send(nothing).await.unwrap();
    let (id, answer) = stream.next().await.unwrap().unwrap();
    assert_eq!(
        (id, fields(&whole(&answer.unwrap_err()))),
        (8, set(&["request"]))
    );
    let Questions {
        questions,
        mut answers,
    } = stream;
    drop(questions);
    assert_eq!(answers.message().await.unwrap(), None, "it ends well");
}

pub(crate) async fn questions_of_a_stream_count_against_its_callers_limit(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, gateway(Some(4))).await;
    let (_, subject) = create(&mut root, named("subject")).await;
    let mut caller = authority.client(Some(&secret));
    let mut stream = Questions::open(&mut caller).await.unwrap();
    for _ in 0..3 {
        let answer = stream.ask(presenting(&subject)).await;
        assert_eq!(verdict(&answer), Verdict::Valid);
    }
    let limited = (Code::ResourceExhausted, "CALLER_LIMITED".to_owned());
    for _ in 0..2 {
        let refused = stream.ask(presenting(&subject)).await.unwrap_err();
        assert_eq!(in_band(&refused), limited);
    }
    let refused = Questions::open(&mut caller).await.err().expect("an error");
    assert_eq!(told(&refused), limited);
}

pub(crate) async fn a_question_about_a_foreign_namespace_is_denied_for_itself(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let foreign = CreateRequest {
        namespace: "foreign".to_owned(),
        ..named("hidden")
    };
    let (_, hidden) = create(&mut root, foreign).await;
    let (_, own) = create(&mut root, named("own")).await;
    let (_, secret) = create(&mut root, gateway(None)).await;
    let mut caller = authority.client(Some(&secret));
    let named_so = |namespace: &str| ValidateRequest {
        namespace: namespace.to_owned(),
        ..presenting(&hidden)
    };
    let asked = [
        named_so("foreign"),
        named_so("-"),
        named_so(""),
        presenting(&own),
    ];
    let mut stream = Questions::open(&mut caller).await.unwrap();
    let mut streamed = Vec::new();
    for question in asked.clone() {
        streamed.push(stream.ask(question).await);
    }
    let batch = ask_all(&mut caller, asked.to_vec()).await.unwrap();
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    for answers in [streamed, batch] {
        for answer in &answers[..2] {
            assert_eq!(in_band(answer.as_ref().unwrap_err()), denied);
        }
        assert_eq!(verdict(&answers[2]), Verdict::NotFound);
        assert_eq!(verdict(&answers[3]), Verdict::Valid);
    }
    let log = authority.log();
    for rpc in ["BatchValidate", "ValidateStream"] {
        let refused = log.lines().filter(|line| {
            line.contains("audit") && line.contains(rpc) && line.contains("permission_missing")
        });
        assert_eq!(refused.count(), 2, "{rpc}");
    }
}

pub(crate) async fn a_stream_of_questions_ends_with_the_right_of_its_caller(authority: Authority) {
    let mut root = authority.root().await;
    let (_, subject) = create(&mut root, named("subject")).await;
    let (token, secret) = create(&mut root, gateway(None)).await;
    let mut caller = authority.client(Some(&secret));
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    let unknown = (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned());
    let without = Token {
        scopes: vec!["authority:read".to_owned()],
        ..token.clone()
    };
    // Whether or not a question comes that asks who it is of.
    for quiet in [false, true] {
        let mut stream = Questions::open(&mut caller).await.unwrap();
        // The second is known again, if memory may be asked.
        for _ in 0..2 {
            assert_eq!(
                verdict(&stream.ask(presenting(&subject)).await),
                Verdict::Valid
            );
        }
        update(&mut root, &without, &["scopes"]).await;
        if !quiet {
            stream.send(1, presenting(&subject)).await;
        }
        assert_eq!(stream.end().await, denied);
        let refused = Questions::open(&mut caller).await.err().expect("an error");
        assert_eq!(told(&refused), denied);
        update(&mut root, &token, &["scopes"]).await;
    }
    let mut asking = Questions::open(&mut caller).await.unwrap();
    let quiet = Questions::open(&mut caller).await.unwrap();
    assert_eq!(
        verdict(&asking.ask(presenting(&subject)).await),
        Verdict::Valid
    );
    revoke(&mut root, &token.token_id).await;
    asking.send(1, presenting(&subject)).await;
    assert_eq!(asking.end().await, unknown);
    assert_eq!(quiet.end().await, unknown);
    let refused = Questions::open(&mut authority.client(None)).await.err();
    assert_eq!(told(&refused.expect("an error")), unknown);
}

pub(crate) async fn a_stream_of_questions_ends_when_the_server_leaves(mut authority: Authority) {
    let mut root = authority.root().await;
    let mut quiet = Questions::open(&mut root).await.unwrap();
    assert_eq!(
        verdict(&quiet.ask(presenting("x")).await),
        Verdict::Malformed
    );
    let busy = Questions::open(&mut root).await.unwrap();
    // Asks without end, and reads all answers.
    let Questions {
        questions,
        mut answers,
    } = busy;
    let asking = tokio::spawn(async move {
        let request = Some(presenting("x"));
        let question = ValidateStreamRequest { id: 1, request };
        while questions.send(question.clone()).await.is_ok() {}
    });
    let reading = tokio::spawn(async move {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                end => return end,
            }
        }
    });
    let ended = tokio::spawn(quiet.end());
    let (code, took) = authority.stop("TERM");
    assert_eq!(code, Some(0), "{}", authority.log());
    assert!(took < Duration::from_secs(8), "it waited: {took:?}");
    let draining = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(ended.await.unwrap(), draining);
    let end = reading.await.unwrap().expect_err("an error");
    // Who goes on sending may see the stream reset before it reads how it ended.
    if !end.details().is_empty() {
        assert_eq!(told(&end), draining);
    }
    asking.abort();
}

pub(crate) async fn questions_of_a_stream_outlast_an_outage_of_the_store(mut authority: Authority) {
    let mut root = authority.root().await;
    let strong = |secret: &str| ValidateRequest {
        consistency: Consistency::Strong.into(),
        ..presenting(secret)
    };
    if let Some(redis) = &authority.redis {
        // What was acknowledged is there again afterwards.
        redis.run("CONFIG SET appendfsync always").await;
    }
    let (_, secret) = create(&mut root, named("subject")).await;
    let mut stream = Questions::open(&mut root).await.unwrap();
    let aside = authority.folder.path().join("aside");
    match &mut authority.redis {
        Some(redis) => redis.kill(),
        None => std::fs::rename(authority.database(), &aside).unwrap(),
    }
    let outage = (Code::Unavailable, "STORE_UNAVAILABLE".to_owned());
    let error = stream.ask(strong(&secret)).await.unwrap_err();
    assert_eq!(in_band(&error), outage);
    let answers = ask_all(&mut root, vec![strong(&secret), presenting("x")]).await;
    let answers = answers.unwrap();
    assert_eq!(in_band(answers[0].as_ref().unwrap_err()), outage);
    assert_eq!(
        verdict(&answers[1]),
        Verdict::Malformed,
        "it needs no store"
    );
    // Else it may not have noticed when it is over.
    authority.serving(false).await;
    match &mut authority.redis {
        Some(redis) => redis.restart(),
        None => std::fs::rename(&aside, authority.database()).unwrap(),
    }
    authority.serving(true).await;
    assert_eq!(verdict(&stream.ask(strong(&secret)).await), Verdict::Valid);
}
