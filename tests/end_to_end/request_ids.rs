//! Request ids: one name for a call, in its answer, its error, its log lines and its audit line.

use std::collections::BTreeSet;

use token_authority::transport::grpc::pb::{
    CreateRequest, GetRequest, ListRequest, ValidateRequest,
};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

use crate::harness::{Authority, Client, create, named, presenting, reason};

const HEADER: &str = "x-request-id";

fn with_id<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    let id = id.parse().expect("visible ASCII");
    request.metadata_mut().insert(HEADER, id);
    request
}

fn of_answer<T>(answer: &Response<T>) -> Option<&str> {
    answer.metadata().get(HEADER)?.to_str().ok()
}

/// The id of an error, which stands in its metadata and in its details.
fn of_error(status: &Status) -> String {
    let id = status.metadata().get(HEADER).expect("an id").to_str();
    let id = id.expect("visible ASCII").to_owned();
    let info = status.get_details_request_info().expect("details");
    assert_eq!(info.request_id, id, "{status:?}");
    id
}

pub(crate) async fn a_callers_id_is_in_answers_errors_and_log_lines(mut authority: Authority) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "log.format=json"]);
    authority.start();
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;

    let answer = root.create(with_id(named("u"), "create-1")).await.unwrap();
    assert_eq!(of_answer(&answer), Some("create-1"));
    let question = ValidateRequest {
        request_id: "of-the-judged-call".to_owned(),
        ..presenting(&secret)
    };
    let answer = root
        .validate(with_id(question, "validate-1"))
        .await
        .unwrap();
    assert_eq!(of_answer(&answer), Some("validate-1"));

    let absent = GetRequest {
        token_id: "0".repeat(22),
    };
    let error = root.get(with_id(absent, "get-1")).await.unwrap_err();
    assert_eq!(of_error(&error), "get-1");
    assert_eq!(reason(&error), "TOKEN_NOT_FOUND");
    let nameless = named("");
    let bad = CreateRequest {
        scopes: vec!["a b".to_owned(); 100],
        ..nameless
    };
    let error = root
        .create(with_id(bad, &"i-".repeat(64)))
        .await
        .unwrap_err();
    assert_eq!(of_error(&error), "i-".repeat(64), "there is room for both");
    let mut stranger = authority.client(None);
    let list = with_id(ListRequest::default(), "list-1");
    let error = stranger.list(list).await.unwrap_err();
    assert_eq!(of_error(&error), "list-1");
    let health = tonic_health::pb::HealthCheckRequest {
        service: "unknown".to_owned(),
    };
    let mut other = tonic_health::pb::health_client::HealthClient::new(authority.channel());
    let error = other.check(with_id(health, "health-1")).await.unwrap_err();
    assert_eq!(
        of_error(&error),
        "health-1",
        "services that are not ours, too"
    );

    authority.stop("TERM");
    let log = authority.log();
    let lines = || log.lines().filter(|line| line.starts_with('{'));
    for (line_of, id) in [
        ("\"target\":\"audit\"", "create-1"),
        ("\"target\":\"audit\"", "get-1"),
        ("\"target\":\"audit\"", "list-1"),
        ("\"validated\"", "validate-1"),
    ] {
        let named = format!("\"request_id\":\"{id}\"");
        let found = lines().any(|line| line.contains(line_of) && line.contains(&named));
        assert!(found, "{line_of} {id} in\n{log}");
    }
    let judged = "\"subject_request_id\":\"of-the-judged-call\"";
    assert!(lines().any(|line| line.contains(judged)), "{log}");
    // The change ran in a task of its own, and what the store logged there has the name, too.
    let lines: Vec<_> = lines().filter(|line| line.contains("create-1")).collect();
    assert!(!lines.is_empty(), "{log}");
}

pub(crate) async fn a_call_without_an_id_gets_one_that_nothing_else_has(mut authority: Authority) {
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let mut root = authority.root().await;
        let answer = root.create(named("t")).await.unwrap();
        assert_eq!(of_answer(&answer), None, "nobody asked");
        for _ in 0..20 {
            let bad = GetRequest::default();
            let id = of_error(&root.get(bad).await.unwrap_err());
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
            assert!(ids.insert(id));
        }
        authority.stop("TERM");
        let log = authority.log();
        assert!(ids.iter().all(|id| log.contains(id)), "{log}");
        authority.start();
    }
}

async fn replaced(root: &mut Client, id: &str) -> String {
    let request = with_id(ListRequest::default(), id);
    let answer = root.list(request).await.unwrap();
    of_answer(&answer).expect("it was asked for").to_owned()
}

pub(crate) async fn what_can_be_no_id_is_replaced(authority: Authority) {
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, named("t")).await;
    let too_long = "i-".repeat(65);
    for bad in [" ", "two words", &too_long, &secret] {
        let id = replaced(&mut root, bad).await;
        assert_eq!(id.len(), 20, "{bad}: {id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
    }
    for sound in ["a", "{:/?#[]@!$&'()*+,;=}~", &"i-".repeat(64)] {
        assert_eq!(replaced(&mut root, sound).await, sound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_a_validate_names_its_call_at_the_default_filter() {
    let mut authority = Authority::on_sqlite().with(&["--set", "log.filter=info"]);
    let (_, secret) = create(&mut authority.root().await, named("t")).await;
    authority.stop("TERM");
    let database = authority.folder.path().join("token-authority.db");
    let database = rusqlite::Connection::open(database).unwrap();
    database
        .execute("UPDATE tokens SET record = x'ff'", [])
        .unwrap();
    drop(database);
    authority.start();
    let mut root = authority.root().await;
    let error = root
        .validate(with_id(presenting(&secret), "broken-1"))
        .await;
    let error = error.unwrap_err();
    assert_eq!(reason(&error), "INTERNAL");
    assert_eq!(of_error(&error), "broken-1");
    authority.stop("TERM");
    let log = authority.log();
    let named = |line: &&str| line.contains("ERROR") && line.contains("request_id=broken-1");
    assert_eq!(log.lines().filter(named).count(), 1, "{log}");
}
