//! A caller that is a token with rate limits of its own spends them with its calls.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, ListRequest, Quota, RateLimit, ResetLimitsRequest, RevokeRequest,
    ValidateRequest, Verdict, WhoAmIRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{
    Authority, PATIENCE, ask, create, get, named, presenting, span, told, verdict,
};
use crate::rpcs;

/// A caller that may do everything, so often in so long.
fn caller(requests: u64, period: Duration) -> CreateRequest {
    CreateRequest {
        scopes: vec!["authority:admin".to_owned()],
        rate_limits: vec![RateLimit {
            requests,
            period: Some(span(period)),
            ..RateLimit::default()
        }],
        quota: Some(Quota {
            limit: 5,
            ..Quota::default()
        }),
        ..named("caller")
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// Asserts that a call was refused for the caller's own limits, and answers when to try again.
fn limited(error: &Status) -> Duration {
    let expected = (Code::ResourceExhausted, "CALLER_LIMITED".to_owned());
    assert_eq!(told(error), expected, "{error:?}");
    let info = error.get_details_retry_info().expect("when to try again");
    info.retry_delay.expect("a span")
}

pub(crate) async fn a_caller_beyond_its_limit_is_refused_by_every_method(authority: Authority) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, caller(3, DAY)).await;
    let (_, subject) = create(&mut root, named("subject")).await;
    let mut client = authority.client(Some(&secret));
    let own = client.who_am_i(WhoAmIRequest {}).await.unwrap();
    let own = own.into_inner();
    let told = own.token.expect("the caller's own token");
    assert_eq!(told.token_id, token.token_id);
    assert_eq!(own.rate_limits[0].remaining, 2, "this call counts");
    assert_eq!(own.quota_remaining, Some(5), "calls are not its use");
    let judged = client.validate(presenting(&subject)).await.unwrap();
    assert!(judged.into_inner().valid);
    // A call that is refused for another reason counts, too.
    let foreign = ListRequest {
        namespace: "foreign".to_owned(),
        ..ListRequest::default()
    };
    let error = client.list(foreign).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    for rpc in rpcs::all() {
        let answer = rpc.call(&authority, &secret, &rpc.plain()).await;
        let error = answer.unwrap_or_else(|| panic!("{} answers", rpc.name()));
        let retry = limited(&error);
        assert!(retry > Duration::ZERO && retry <= DAY / 3, "{retry:?}");
    }
    let got = get(&mut root, &token.token_id).await;
    assert_eq!(got.quota_remaining, Some(5), "its quota is untouched");
    assert_eq!(got.rate_limits[0].remaining, 0);
    // It is judged by the same limits as a subject, and its secret still gives it up.
    assert_eq!(verdict(&mut root, &secret).await, Verdict::RateLimited);
    let request = ResetLimitsRequest {
        token_id: token.token_id.clone(),
    };
    root.reset_limits(request).await.unwrap();
    for _ in 0..3 {
        client.list(ListRequest::default()).await.expect("anew");
    }
    limited(&client.list(ListRequest::default()).await.unwrap_err());
    let target = Some(Target::Secret(secret.clone()));
    let reason = String::new();
    client
        .revoke(RevokeRequest { target, reason })
        .await
        .unwrap();
    let error = client.list(ListRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "it is revoked now");
}

pub(crate) async fn what_a_caller_is_used_for_and_what_it_calls_share_its_limit(
    authority: Authority,
) {
    let mut root = authority.root().await;
    let (token, secret) = create(&mut root, caller(4, DAY)).await;
    let mut client = authority.client(Some(&secret));
    let both = client.validate(ValidateRequest {
        namespace: "default".to_owned(),
        cost: Some(2),
        ..presenting(&secret)
    });
    let both = both.await.unwrap().into_inner();
    assert_eq!(both.rate_limits[0].remaining, 1, "one call, and two uses");
    assert_eq!(both.quota_remaining, Some(3));
    let one = ask(&mut root, presenting(&secret)).await;
    assert_eq!(
        (one.verdict(), one.quota_remaining),
        (Verdict::Valid, Some(2))
    );
    limited(&client.who_am_i(WhoAmIRequest {}).await.unwrap_err());
    let got = get(&mut root, &token.token_id).await;
    assert_eq!(got.quota_remaining, Some(2));
}

pub(crate) async fn a_limited_caller_is_let_in_again_when_it_was_told(authority: Authority) {
    let each = Duration::from_millis(400);
    let mut root = authority.root().await;
    let (_, secret) = create(&mut root, caller(2, each * 2)).await;
    let mut client = authority.client(Some(&secret));
    let begun = Instant::now();
    let (mut passed, mut refused) = (0, 0);
    while refused < 3 || passed < 5 {
        match client.list(ListRequest::default()).await {
            Ok(_) => passed += 1,
            Err(error) => {
                let retry = limited(&error);
                assert!(retry <= each, "{retry:?}");
                tokio::time::sleep(retry).await;
                refused += 1;
            }
        }
        let most = 2 + begun.elapsed().as_micros() / each.as_micros();
        assert!(passed <= most, "{passed} of {most}");
        assert!(begun.elapsed() < PATIENCE, "{passed} and {refused}");
    }
}

pub(crate) async fn a_caller_that_is_not_in_force_spends_nothing(authority: Authority) {
    let mut root = authority.root().await;
    let elsewhere = CreateRequest {
        allowed_cidrs: vec!["192.0.2.0/24".to_owned()],
        ..caller(1, DAY)
    };
    let (token, secret) = create(&mut root, elsewhere).await;
    let mut client = authority.client(Some(&secret));
    for _ in 0..3 {
        let error = client.list(ListRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
    }
    let got = get(&mut root, &token.token_id).await;
    assert_eq!(got.rate_limits[0].remaining, 1);
}
