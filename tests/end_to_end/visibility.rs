//! A change is seen at once: by List and Validate, by other servers, and by whoever comes too late.

use std::time::Duration;

use token_authority::transport::grpc::pb::{
    CreateRequest, ListRequest, Quota, RateLimit, Token, UpdateRequest, ValidateRequest, Verdict,
};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{
    Authority, ask, change, create, get, named, presenting, span, told, update, verdict,
};

pub(crate) async fn of_many_changes_that_ask_for_one_revision_one_is_carried_out(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("first")).await;
    let mut callers = JoinSet::new();
    for number in 0..24 {
        let mut client = authority.root().await;
        let token = Token {
            name: format!("by {number}"),
            ..token.clone()
        };
        callers.spawn(async move {
            let request = UpdateRequest {
                revision: Some(token.revision),
                ..change(&token, &["name"])
            };
            client.update(request).await
        });
    }
    let answers = callers.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 23));
    let winner = won.into_iter().next().unwrap().unwrap().into_inner().token;
    let winner = winner.unwrap();
    for error in lost.into_iter().map(Result::unwrap_err) {
        assert_eq!(told(&error), (Code::Aborted, "REVISION_MOVED".to_owned()));
        let info = error.get_details_error_info().unwrap();
        assert_eq!(info.metadata["asked"], token.revision.to_string());
        assert_eq!(info.metadata["current"], winner.revision.to_string());
    }
    let got = get(&mut root, &token.token_id).await.token;
    assert_eq!(got.as_ref(), Some(&winner));
    for revision in [0, winner.revision - 1, winner.revision + 1, u64::MAX] {
        let request = UpdateRequest {
            revision: Some(revision),
            ..change(&winner, &["name"])
        };
        let error = root.update(request).await.unwrap_err();
        assert_eq!(told(&error), (Code::Aborted, "REVISION_MOVED".to_owned()));
    }
}

pub(crate) async fn a_new_owner_is_listed_and_judged_at_once(authority: Authority) {
    let mut root = authority.root().await;
    let owned = |owner: &str| CreateRequest {
        owner: owner.to_owned(),
        ..named("t")
    };
    let (token, secret) = create(&mut root, owned("ann")).await;
    let (other, _) = create(&mut root, owned("bob")).await;
    let listed = async |owner: &str| {
        let request = ListRequest {
            owner: owner.to_owned(),
            ..ListRequest::default()
        };
        let tokens = authority.root().await.list(request).await.unwrap();
        let tokens = tokens.into_inner().tokens.into_iter();
        tokens.map(|token| token.token_id).collect::<Vec<_>>()
    };
    let (one, two) = (token.token_id.clone(), other.token_id.clone());
    for (owner, of_ann, of_bob) in [
        ("bob", vec![], vec![two.clone(), one.clone()]),
        ("", vec![], vec![two.clone()]),
        ("ann", vec![one.clone()], vec![two.clone()]),
    ] {
        let given = Token {
            owner: owner.to_owned(),
            ..token.clone()
        };
        assert_eq!(update(&mut root, &given, &["owner"]).await.owner, owner);
        assert_eq!(listed("ann").await, of_ann, "given to {owner:?}");
        assert_eq!(listed("bob").await, of_bob, "given to {owner:?}");
        let request = ValidateRequest {
            owner: "ann".to_owned(),
            ..presenting(&secret)
        };
        let expected = match owner {
            "ann" => Verdict::Valid,
            _ => Verdict::OwnerMismatch,
        };
        assert_eq!(ask(&mut root, request).await.verdict(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_at_once_by_another_server_over_the_same_redis() {
    let authority = Authority::on_redis();
    let other = Authority::beside(&authority);
    let (mut root, mut there) = (authority.root().await, other.root().await);
    let limited = CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 1_000_000,
            period: Some(span(Duration::from_secs(60))),
            ..RateLimit::default()
        }],
        quota: Some(Quota {
            limit: 1_000_000,
            ..Quota::default()
        }),
        ..named("limited")
    };
    for request in [named("plain"), limited] {
        let (token, secret) = create(&mut root, request).await;
        assert_eq!(verdict(&mut there, &secret).await, Verdict::Valid);
        for round in 0..40 {
            let switched = Token {
                disabled: round % 2 == 0,
                ..token.clone()
            };
            let changed = update(&mut root, &switched, &["disabled"]).await;
            let expected = match switched.disabled {
                true => Verdict::Disabled,
                false => Verdict::Valid,
            };
            let answer = ask(&mut there, presenting(&secret)).await;
            assert_eq!(answer.verdict(), expected, "{} {round}", token.name);
            assert_eq!(answer.revision, changed.revision);
        }
    }
}
