//! Namespaces: which there are for whom, and the policies that the configuration gives them.

use std::time::Duration;

use token_authority::clock::{Clock, SystemClock};
use token_authority::transport::grpc::pb::create_request::Expiration;
use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, DeleteRequest, ListNamespacesRequest, ListNamespacesResponse,
    RevokeRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Authority, Client, create, named, reason};

fn within(namespace: &str) -> CreateRequest {
    CreateRequest {
        namespace: namespace.to_owned(),
        ..named("t")
    }
}

/// A caller whose token lives in `namespace` and carries `scopes`.
async fn caller(authority: &Authority, namespace: &str, scopes: &[&str]) -> Client {
    let request = CreateRequest {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..within(namespace)
    };
    let (_, secret) = create(&mut authority.root().await, request).await;
    authority.client(Some(&secret))
}

async fn page(
    client: &mut Client,
    page_size: u32,
    page_token: &str,
) -> Result<ListNamespacesResponse, Status> {
    let request = ListNamespacesRequest {
        page_size,
        page_token: page_token.to_owned(),
    };
    Ok(client.list_namespaces(request).await?.into_inner())
}

/// All namespaces and their counts, over pages of `size`.
async fn counted(client: &mut Client, size: u32) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let page = page(client, size, &token).await.expect("a page");
        let pairs = page.namespaces.into_iter();
        all.extend(pairs.map(|summary| (summary.namespace, summary.tokens)));
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    let pair = |(name, tokens): &(&str, u64)| ((*name).to_owned(), *tokens);
    expected.iter().map(pair).collect()
}

pub(crate) async fn namespaces_are_listed_with_what_they_hold(authority: Authority) {
    let mut root = authority.root().await;
    assert!(counted(&mut root, 0).await.is_empty());
    let mut ids = Vec::new();
    for namespace in ["shop", "", "shop", "billing", "shop"] {
        ids.push(create(&mut root, within(namespace)).await.0.token_id);
    }
    // An ended token counts as long as it is kept.
    root.revoke(RevokeRequest {
        target: Some(Target::TokenId(ids[0].clone())),
        reason: String::new(),
    })
    .await
    .unwrap();
    let expected = pairs(&[("billing", 1), ("default", 1), ("shop", 3)]);
    for size in [0, 1, 2, 3, 5000] {
        assert_eq!(counted(&mut root, size).await, expected, "pages of {size}");
    }
    for id in [&ids[0], &ids[3]] {
        let token_id = id.clone();
        root.delete(DeleteRequest { token_id }).await.unwrap();
    }
    let expected = pairs(&[("default", 1), ("shop", 2)]);
    assert_eq!(counted(&mut root, 0).await, expected);
    let printed = authority.cli(&["namespace", "list"]);
    let table = "NAMESPACE  TOKENS\ndefault    1\nshop       2\n";
    assert_eq!(String::from_utf8_lossy(&printed.stdout), table);
}

pub(crate) async fn namespaces_are_listed_as_far_as_the_caller_may_read(authority: Authority) {
    let mut root = authority.root().await;
    for namespace in ["a", "b", "c", "d"] {
        create(&mut root, within(namespace)).await;
    }
    let mut reader = caller(&authority, "b", &["authority:read"]).await;
    assert_eq!(counted(&mut reader, 0).await, pairs(&[("b", 2)]));
    let some = ["authority:read@d", "authority:manage@b", "authority:read@x"];
    let mut manager = caller(&authority, "a", &some).await;
    for size in [0, 1] {
        let expected = pairs(&[("b", 2), ("d", 1)]);
        assert_eq!(counted(&mut manager, size).await, expected);
    }
    let mut everywhere = caller(&authority, "c", &["authority:read@*"]).await;
    let expected = pairs(&[("a", 2), ("b", 2), ("c", 2), ("d", 1)]);
    assert_eq!(counted(&mut everywhere, 3).await, expected);
    let mut validator = caller(&authority, "a", &["authority:validate@*"]).await;
    let error = page(&mut validator, 0, "").await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::PermissionDenied, "PERMISSION_MISSING")
    );
}

pub(crate) async fn page_tokens_of_namespaces_serve_whom_they_were_given(authority: Authority) {
    let mut root = authority.root().await;
    for namespace in ["a", "b", "c"] {
        create(&mut root, within(namespace)).await;
    }
    let given = page(&mut root, 1, "").await.unwrap().next_page_token;
    assert!(page(&mut root, 1, &given).await.is_ok());
    let mut reader = caller(&authority, "a", &["authority:read", "authority:read@b"]).await;
    let forged = given.replace('a', "b");
    for (client, token) in [(&mut reader, &given), (&mut root, &forged)] {
        let error = page(client, 1, token).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{token}");
        let told = error.message().contains("page_token");
        assert!(told, "{}", error.message());
    }
}

/// The same authority, started anew with this configuration file.
async fn configured(mut authority: Authority, file: &str) -> Authority {
    authority.serving(true).await;
    authority.stop("TERM");
    let path = authority.folder.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    let mut authority = authority.with(&["--config", path.to_str().unwrap()]);
    authority.start();
    authority
}

fn living(namespace: &str, seconds: i64) -> CreateRequest {
    let ttl = prost_types::Duration { seconds, nanos: 0 };
    CreateRequest {
        expiration: Some(Expiration::Ttl(ttl)),
        ..within(namespace)
    }
}

fn ending(namespace: &str, after: Duration) -> CreateRequest {
    let end = SystemClock.now().saturating_add(after).micros();
    let end = prost_types::Timestamp {
        seconds: (end / 1_000_000).cast_signed(),
        nanos: 0,
    };
    CreateRequest {
        expiration: Some(Expiration::ExpireTime(end)),
        ..within(namespace)
    }
}

/// How many whole seconds a token lives, if not for ever.
fn life(token: &pb::Token) -> Option<i64> {
    let created = token.create_time.as_ref().expect("a time");
    let end = token.expire_time.as_ref()?;
    let nanos = (end.seconds - created.seconds) * 1_000_000_000;
    // The end is cut to the millisecond.
    Some((nanos + i64::from(end.nanos - created.nanos) + 1_000_000) / 1_000_000_000)
}

/// The one field that an answer finds fault with, and why.
fn violation(error: &Status) -> (String, String) {
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    let request = error.get_details_bad_request().expect("violations");
    let [one] = &request.field_violations[..] else {
        panic!("{request:?}");
    };
    (one.field.clone(), one.description.clone())
}

pub(crate) async fn a_policy_gives_tokens_their_end_and_bounds_it(authority: Authority) {
    let file = "[namespaces.shop]\ndefault_ttl = \"1h\"\nmax_ttl = \"1d\"\n\
                [namespaces.runs]\nmax_ttl = \"90s\"\n[namespaces.soft]\ndefault_ttl = \"1h\"\n";
    let authority = configured(authority, file).await;
    let mut root = authority.root().await;
    for (request, expected) in [
        (within("shop"), Some(3600)),
        (living("shop", 86400), Some(86400)),
        (within("runs"), Some(90)),
        (within("soft"), Some(3600)),
        (living("soft", 0), None),
        (living("soft", 400 * 86400), Some(400 * 86400)),
        (within("free"), None),
        (living("free", 0), None),
    ] {
        let (token, _) = create(&mut root, request.clone()).await;
        assert_eq!(life(&token), expected, "{request:?}");
    }
    let day = Duration::from_secs(24 * 3600);
    let minute = Duration::from_secs(60);
    create(&mut root, ending("shop", day - minute)).await;
    let longest = "86400 seconds, the longest lifetime in this namespace; got";
    for (request, field, told) in [
        (
            living("shop", 86401),
            "ttl",
            format!("{longest} 86401 seconds"),
        ),
        (
            living("shop", 0),
            "ttl",
            format!("{longest} 0, which means never"),
        ),
        (
            living("runs", 91),
            "ttl",
            "to 90 seconds, the longest".to_owned(),
        ),
        (
            ending("shop", day + minute),
            "expire_time",
            "must be at most 86400 seconds after the store's time".to_owned(),
        ),
    ] {
        let error = root.create(request.clone()).await.unwrap_err();
        let (named, why) = violation(&error);
        assert_eq!(named, field, "{request:?}");
        assert!(why.contains(&told), "{request:?}: {why}");
    }
    // What the policy made of a request does not make its replay another one.
    let asked = CreateRequest {
        request_id: "r".to_owned(),
        ..within("runs")
    };
    let (first, _) = create(&mut root, asked.clone()).await;
    let (second, _) = create(&mut root, asked.clone()).await;
    assert_eq!(first.token_id, second.token_id);
    let other = CreateRequest {
        request_id: "r".to_owned(),
        ..living("runs", 90)
    };
    let error = root.create(other).await.unwrap_err();
    assert_eq!(violation(&error).0, "request_id");
}

pub(crate) async fn a_full_namespace_takes_no_more_tokens(authority: Authority) {
    let authority = configured(authority, "[namespaces.shop]\nmax_tokens = 3\n").await;
    let mut root = authority.root().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut root = root.clone();
        tasks.spawn(async move { root.create(within("shop")).await });
    }
    let mut created = Vec::new();
    for answer in tasks.join_all().await {
        match answer {
            Ok(answer) => created.extend(answer.into_inner().token),
            Err(error) => {
                let what = (error.code(), reason(&error));
                assert_eq!(what, (Code::ResourceExhausted, "NAMESPACE_FULL".into()));
                let details = error.get_error_details();
                let metadata = &details.error_info().unwrap().metadata;
                assert_eq!(metadata["namespace"], "shop");
                assert_eq!(metadata["limit"], "3");
                assert!(details.retry_info().unwrap().retry_delay.is_some());
                let quota = &details.quota_failure().unwrap().violations[0];
                assert_eq!(quota.subject, "namespace:shop");
                let why = "the namespace \"shop\" holds 3 tokens, as many as it may";
                assert_eq!(error.message(), why);
            }
        }
    }
    assert_eq!(created.len(), 3);
    assert_eq!(counted(&mut root, 0).await, pairs(&[("shop", 3)]));
    create(&mut root, within("free")).await;

    let token_id = created[0].token_id.clone();
    root.delete(DeleteRequest { token_id }).await.unwrap();
    let last = CreateRequest {
        request_id: "last".to_owned(),
        ..within("shop")
    };
    let (token, _) = create(&mut root, last.clone()).await;
    let error = root.create(within("shop")).await.unwrap_err();
    assert_eq!(reason(&error), "NAMESPACE_FULL");
    let (again, _) = create(&mut root, last).await;
    assert_eq!(token.token_id, again.token_id, "a replay needs no room");
}

pub(crate) async fn a_policy_holds_for_whoever_creates_from_the_start_on(authority: Authority) {
    let mut root = authority.root().await;
    create(&mut root, within("shop")).await;
    create(&mut root, within("shop")).await;
    let file = "[namespaces.shop]\nmax_tokens = 2\nmax_ttl = \"1h\"\n";
    let authority = configured(authority, file).await;
    let mut root = authority.root().await;
    let mut manager = caller(&authority, "ops", &["authority:manage@shop"]).await;
    for client in [&mut root, &mut manager] {
        let error = client.create(within("shop")).await.unwrap_err();
        assert_eq!(reason(&error), "NAMESPACE_FULL");
        let error = client.create(living("shop", 0)).await.unwrap_err();
        assert_eq!(violation(&error).0, "ttl");
    }
    // Whoever may not create there learns nothing of the policy.
    let mut other = caller(&authority, "ops", &["authority:manage"]).await;
    let error = other.create(living("shop", 0)).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
}
