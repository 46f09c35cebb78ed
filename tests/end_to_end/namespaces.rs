//! Namespaces: which there are, and for whom.

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    CreateRequest, DeleteRequest, ListNamespacesRequest, ListNamespacesResponse, RevokeRequest,
};
use tonic::{Code, Status};

use crate::harness::{Authority, Client, create, named, reason};

pub(crate) fn within(namespace: &str) -> CreateRequest {
    CreateRequest {
        namespace: namespace.to_owned(),
        ..named("t")
    }
}

/// A caller whose token lives in `namespace` and carries `scopes`.
pub(crate) async fn caller(authority: &Authority, namespace: &str, scopes: &[&str]) -> Client {
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
pub(crate) async fn counted(client: &mut Client, size: u32) -> Vec<(String, u64)> {
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

pub(crate) fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
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
