//! Rotate: a new secret, a grace for the old one, and what a token remembers of those before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, Credential, ListRequest, Quota, RateLimit, RevokeRequest, RotateRequest, State,
    Token, Verdict,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{
    Authority, Client, PATIENCE, ask, create, fields, get, named, presenting, rotation, set, span,
    told, update, verdict,
};

const HOUR: Duration = Duration::from_secs(3600);

/// The token with its new secret.
async fn rotated(client: &mut Client, request: RotateRequest) -> (Token, String) {
    let answer = client.rotate(request).await.expect("a new secret");
    let answer = answer.into_inner();
    (answer.token.expect("a token"), answer.secret)
}

fn refused_as(error: &Status, code: Code, reason: &str) {
    assert_eq!(told(error), (code, reason.to_owned()), "{error:?}");
}

fn requested(token_id: &str, request_id: &str) -> RotateRequest {
    RotateRequest {
        request_id: request_id.to_owned(),
        ..rotation(token_id, HOUR)
    }
}

/// Verdict, credential and version of a presented secret.
async fn judged(client: &mut Client, secret: &str) -> (Verdict, Credential, u32) {
    let answer = ask(client, presenting(secret)).await;
    (answer.verdict(), answer.credential(), answer.secret_version)
}

pub(crate) async fn a_replaced_secret_is_valid_for_its_grace_and_then_superseded(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (before, first) = create(&mut root, named("t")).await;
    let id = before.token_id.clone();
    let (after, second) = rotated(&mut root, rotation(&id, HOUR)).await;
    assert!(second.starts_with(&format!("ta_{id}")) && second != first);
    assert!(second.starts_with(&after.secret_hint));
    let expected = Token {
        secret_version: 2,
        secrets: after.secrets.clone(),
        update_time: after.update_time,
        revision: after.revision,
        ..before.clone()
    };
    assert_eq!(after, expected, "all else stays");
    assert!(after.revision > before.revision);
    let got = get(&mut root, &id).await.token;
    assert_eq!(got.as_ref(), Some(&after));
    let old = judged(&mut root, &first).await;
    assert_eq!(old, (Verdict::Valid, Credential::Previous, 1));
    let new = judged(&mut root, &second).await;
    assert_eq!(new, (Verdict::Valid, Credential::Current, 2));

    let [current, replaced] = after.secrets.as_slice() else {
        panic!("{:?}", after.secrets);
    };
    assert_eq!((current.version, replaced.version), (2, 1));
    assert_eq!(current.create_time, after.update_time);
    assert_eq!(current.expire_time, None);
    assert_eq!(replaced.create_time, before.create_time);
    let (began, ends) = (current.create_time.unwrap(), replaced.expire_time.unwrap());
    assert_eq!(ends.seconds - began.seconds, 3600);

    // Cut at once; the earlier grace stays as it was given.
    let (_, third) = rotated(&mut root, rotation(&id, Duration::ZERO)).await;
    let cut = judged(&mut root, &second).await;
    assert_eq!(cut, (Verdict::Superseded, Credential::Previous, 2));
    assert_eq!(verdict(&mut root, &first).await, Verdict::Valid);
    assert_eq!(verdict(&mut root, &third).await, Verdict::Valid);

    let grace = Duration::from_millis(300);
    let begun = Instant::now();
    rotated(&mut root, rotation(&id, grace)).await;
    while verdict(&mut root, &third).await == Verdict::Valid {
        assert!(begun.elapsed() < PATIENCE, "its grace never ends");
    }
    // An end is cut to the millisecond.
    assert!(begun.elapsed() >= grace - Duration::from_millis(1));
    let over = judged(&mut root, &third).await;
    assert_eq!(over, (Verdict::Superseded, Credential::Previous, 3));
}

pub(crate) async fn the_last_four_replaced_secrets_are_remembered(authority: Authority) {
    let mut root = authority.root().await;
    let (token, first) = create(&mut root, named("t")).await;
    let mut secrets = vec![first];
    for version in 2..=6 {
        let request = rotation(&token.token_id, Duration::ZERO);
        let (rotated, secret) = rotated(&mut root, request).await;
        assert_eq!(rotated.secret_version, version);
        secrets.push(secret);
    }
    let got = get(&mut root, &token.token_id).await.token.unwrap();
    let versions: Vec<u32> = got.secrets.iter().map(|secret| secret.version).collect();
    assert_eq!(versions, [6, 5, 4, 3, 2]);
    assert_eq!(got.secrets[0].expire_time, None);
    for pair in got.secrets.windows(2) {
        let time = |at: &Option<prost_types::Timestamp>| at.map(|at| (at.seconds, at.nanos));
        assert!(time(&pair[0].create_time) > time(&pair[1].create_time));
        assert!(pair[1].expire_time.is_some());
    }
    let gone = judged(&mut root, &secrets[0]).await;
    assert_eq!(gone, (Verdict::NotFound, Credential::Unspecified, 0));
    for (secret, version) in secrets[1..5].iter().zip(2..) {
        let known = judged(&mut root, secret).await;
        let expected = (Verdict::Superseded, Credential::Previous, version);
        assert_eq!(known, expected);
    }
    assert_eq!(verdict(&mut root, &secrets[5]).await, Verdict::Valid);
}

pub(crate) async fn no_secret_is_forgotten_in_its_grace(authority: Authority) {
    let mut root = authority.root().await;
    let (token, first) = create(&mut root, named("t")).await;
    let mut secrets = vec![first];
    for _ in 0..4 {
        let (_, secret) = rotated(&mut root, rotation(&token.token_id, HOUR)).await;
        secrets.push(secret);
    }
    let before = get(&mut root, &token.token_id).await;
    let oldest = before.token.as_ref().unwrap().secrets[4];
    for grace in [Duration::ZERO, HOUR] {
        let error = root.rotate(rotation(&token.token_id, grace)).await;
        let error = error.unwrap_err();
        refused_as(&error, Code::FailedPrecondition, "STILL_IN_GRACE");
        let info = error.get_details_error_info().unwrap();
        assert_eq!(info.metadata["token_id"], token.token_id);
        let until = info.metadata["until"].parse::<prost_types::Timestamp>();
        assert_eq!(until.ok(), oldest.expire_time);
        assert!(error.get_details_precondition_failure().is_some());
    }
    assert_eq!(get(&mut root, &token.token_id).await, before);
    for secret in &secrets {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Valid);
    }
}

pub(crate) async fn a_replayed_rotation_answers_one_more_secret_of_its_version(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, first) = create(&mut root, named("t")).await;
    let id = token.token_id.as_str();
    let mut secrets = Vec::new();
    for _ in 0..3 {
        let (token, secret) = rotated(&mut root, requested(id, "r-1")).await;
        assert_eq!((token.secret_version, token.secrets.len()), (2, 2));
        secrets.push(secret);
    }
    for secret in &secrets {
        let judged = judged(&mut root, secret).await;
        assert_eq!(judged, (Verdict::Valid, Credential::Current, 2));
    }
    let old = judged(&mut root, &first).await;
    assert_eq!(old, (Verdict::Valid, Credential::Previous, 1));
    let used = |error: Status| refused_as(&error, Code::AlreadyExists, "REQUEST_ID_USED");
    used(root.rotate(requested(id, "r-1")).await.unwrap_err());
    let (other, _) = create(&mut root, named("other")).await;
    let (other, _) = rotated(&mut root, requested(&other.token_id, "r-1")).await;
    assert_eq!(other.secret_version, 2, "another token, another request");

    let first = requested(id, "r-2");
    let (token, _) = rotated(&mut root, first.clone()).await;
    assert_eq!(token.secret_version, 3);
    for request in [
        RotateRequest {
            grace_period: None,
            ..first.clone()
        },
        RotateRequest {
            revision: Some(token.revision),
            ..first.clone()
        },
    ] {
        let error = root.rotate(request).await.unwrap_err();
        assert_eq!(fields(&error), set(&["request_id"]));
    }
    let scopes = vec!["authority:admin".to_owned()];
    let admin = CreateRequest {
        scopes,
        ..named("admin")
    };
    let (_, admin) = create(&mut root, admin).await;
    let mut admin = authority.client(Some(&admin));
    let (token, _) = rotated(&mut admin, first.clone()).await;
    assert_eq!(token.secret_version, 4, "another caller, another request");
    used(root.rotate(first).await.unwrap_err());
    let got = get(&mut root, id).await.token;
    assert_eq!(got, Some(token), "a refused replay changes nothing");

    // A replay is of the request as it was: also where that asked for a revision.
    let (token, _) = create(&mut root, named("t")).await;
    let exact = RotateRequest {
        revision: Some(token.revision),
        ..requested(&token.token_id, "r-1")
    };
    for _ in 0..3 {
        let (token, _) = rotated(&mut root, exact.clone()).await;
        assert_eq!(token.secret_version, 2);
    }
}

pub(crate) async fn of_one_rotation_sent_many_times_at_once_three_are_answered(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let mut callers = JoinSet::new();
    for _ in 0..12 {
        let (mut client, request) = (root.clone(), requested(&token.token_id, "once"));
        callers.spawn(async move { client.rotate(request).await });
    }
    let mut told = BTreeMap::<String, usize>::new();
    for answer in callers.join_all().await {
        let text = match answer {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert_eq!(answer.token.unwrap().secret_version, 2);
                let verdict = verdict(&mut root, &answer.secret).await;
                assert_eq!(verdict, Verdict::Valid);
                "answered".to_owned()
            }
            Err(error) => crate::harness::reason(&error),
        };
        *told.entry(text).or_default() += 1;
    }
    let expected = [("REQUEST_ID_USED", 9), ("answered", 3)];
    let expected = expected.map(|(text, count)| (text.to_owned(), count));
    assert_eq!(told, BTreeMap::from(expected));
}

pub(crate) async fn of_many_rotations_that_ask_for_one_revision_one_is_carried_out(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let mut callers = JoinSet::new();
    for _ in 0..12 {
        let mut client = authority.root().await;
        let request = RotateRequest {
            revision: Some(token.revision),
            ..rotation(&token.token_id, HOUR)
        };
        callers.spawn(async move { client.rotate(request).await });
    }
    let answers = callers.join_all().await;
    let lost: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert_eq!(lost.len(), 11);
    for error in &lost {
        refused_as(error, Code::Aborted, "REVISION_MOVED");
    }
    let got = get(&mut root, &token.token_id).await.token.unwrap();
    assert_eq!((got.secret_version, got.secrets.len()), (2, 2));
}

pub(crate) async fn a_token_that_is_over_is_not_rotated(authority: Authority) {
    let mut root = authority.root().await;
    let (revoked, _) = create(&mut root, named("t")).await;
    let replayed = requested(&revoked.token_id, "before");
    rotated(&mut root, replayed.clone()).await;
    let target = Some(Target::TokenId(revoked.token_id.clone()));
    let reason = String::new();
    root.revoke(RevokeRequest { target, reason }).await.unwrap();
    let short = CreateRequest {
        expiration: Some(Expiration::Ttl(span(Duration::from_millis(50)))),
        ..named("t")
    };
    let (expired, secret) = create(&mut root, short).await;
    let begun = Instant::now();
    while verdict(&mut root, &secret).await != Verdict::Expired {
        assert!(begun.elapsed() < PATIENCE, "it never ends");
    }
    for (token, state) in [(&revoked, "STATE_REVOKED"), (&expired, "STATE_EXPIRED")] {
        let error = root.rotate(rotation(&token.token_id, HOUR)).await;
        let error = error.unwrap_err();
        refused_as(&error, Code::FailedPrecondition, "TOKEN_OVER");
        let info = error.get_details_error_info().unwrap();
        assert_eq!(info.metadata["state"], state);
    }
    let error = root.rotate(replayed).await.unwrap_err();
    refused_as(&error, Code::AlreadyExists, "REQUEST_ID_USED");

    // A token that is switched off may get a new secret before it is switched on again.
    let disabled = CreateRequest {
        disabled: true,
        ..named("t")
    };
    let (off, _) = create(&mut root, disabled).await;
    let (off, secret) = rotated(&mut root, rotation(&off.token_id, HOUR)).await;
    assert_eq!(off.state(), State::Disabled);
    assert_eq!(verdict(&mut root, &secret).await, Verdict::Disabled);
}

pub(crate) async fn a_rotation_that_cannot_be_says_which_field(authority: Authority) {
    let mut root = authority.root().await;
    let (token, _) = create(&mut root, named("t")).await;
    let lasting = |seconds, nanos| RotateRequest {
        grace_period: Some(prost_types::Duration { seconds, nanos }),
        ..rotation(&token.token_id, HOUR)
    };
    let longest = 366 * 86_400;
    for (seconds, nanos) in [(-1, 0), (0, -1), (longest, 1), (i64::MAX, 0), (1, i32::MAX)] {
        let error = root.rotate(lasting(seconds, nanos)).await.unwrap_err();
        assert_eq!(fields(&error), set(&["grace_period"]));
    }
    let wrong = RotateRequest {
        token_id: "short".to_owned(),
        request_id: "r".repeat(129),
        ..lasting(-1, 0)
    };
    let error = root.rotate(wrong).await.unwrap_err();
    let all = ["token_id", "grace_period", "request_id"];
    assert_eq!(fields(&error), set(&all));
    let kept = get(&mut root, &token.token_id).await.token;
    assert_eq!(kept, Some(token.clone()), "nothing was changed");
    rotated(&mut root, lasting(longest, 0)).await;
}

pub(crate) async fn a_rotated_caller_is_known_for_its_grace_only(authority: Authority) {
    let mut root = authority.root().await;
    let request = CreateRequest {
        scopes: vec!["authority:read".to_owned()],
        ..named("caller")
    };
    let (token, first) = create(&mut root, request).await;
    let listing = async |secret: &str| {
        let mut client = authority.client(Some(secret));
        client.list(ListRequest::default()).await
    };
    let id = token.token_id.as_str();
    let (_, second) = rotated(&mut root, rotation(id, HOUR)).await;
    for secret in [&first, &second] {
        listing(secret).await.expect("both are in force");
    }
    let (_, third) = rotated(&mut root, rotation(id, Duration::ZERO)).await;
    let error = listing(&second).await.unwrap_err();
    refused_as(&error, Code::Unauthenticated, "CREDENTIAL_INVALID");
    for secret in [&first, &third] {
        listing(secret).await.expect("both are in force");
    }
    let begun = Instant::now();
    rotated(&mut root, rotation(id, Duration::from_millis(200))).await;
    let error = loop {
        match listing(&third).await {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < PATIENCE, "its grace never ends"),
        }
    };
    refused_as(&error, Code::Unauthenticated, "CREDENTIAL_INVALID");
}

pub(crate) async fn only_a_secret_in_force_gives_its_token_up(authority: Authority) {
    let mut root = authority.root().await;
    let (token, first) = create(&mut root, named("t")).await;
    let id = token.token_id.as_str();
    let (_, second) = rotated(&mut root, rotation(id, Duration::ZERO)).await;
    let (_, third) = rotated(&mut root, rotation(id, HOUR)).await;
    let mut nobody = authority.client(None);
    let mut surrender = async |secret: &str| {
        let target = Some(Target::Secret(secret.to_owned()));
        let reason = "found".to_owned();
        let answer = nobody.revoke(RevokeRequest { target, reason }).await;
        answer.expect("the same answer").into_inner()
    };
    let powerless = surrender(&first).await;
    assert_eq!(verdict(&mut root, &third).await, Verdict::Valid);
    let in_grace = surrender(&second).await;
    assert_eq!(in_grace, powerless, "nothing is told");
    for secret in [&first, &second, &third] {
        assert_eq!(verdict(&mut root, secret).await, Verdict::Revoked);
    }
}

pub(crate) async fn limits_are_of_the_token_whichever_secret_is_used(authority: Authority) {
    let mut root = authority.root().await;
    let limited = CreateRequest {
        rate_limits: vec![RateLimit {
            requests: 4,
            period: Some(span(Duration::from_secs(86_400))),
            ..RateLimit::default()
        }],
        quota: Some(Quota {
            limit: 9,
            ..Quota::default()
        }),
        ..named("t")
    };
    let (token, first) = create(&mut root, limited).await;
    assert_eq!(verdict(&mut root, &first).await, Verdict::Valid);
    let (token, second) = rotated(&mut root, rotation(&token.token_id, HOUR)).await;
    assert_eq!(token.quota.unwrap().remaining, 8);
    assert_eq!(verdict(&mut root, &first).await, Verdict::Valid);
    assert_eq!(verdict(&mut root, &second).await, Verdict::Valid);
    let renamed = Token {
        name: "renamed".to_owned(),
        ..token
    };
    update(&mut root, &renamed, &["name"]).await;
    let last = ask(&mut root, presenting(&second)).await;
    assert_eq!(
        (last.verdict(), last.quota_remaining),
        (Verdict::Valid, Some(5))
    );
    for secret in [&first, &second] {
        assert_eq!(verdict(&mut root, secret).await, Verdict::RateLimited);
    }
}
