//! ListPools: every token of a pool counted once, page by page, as far as the caller may read.

use token_authority::transport::grpc::pb::{CreateRequest, ListPoolsRequest, PoolStanding};
use tonic::Code;

use crate::harness::{Authority, Client, create, fields, set, told, update};
use crate::leasing::{acquire, any, caller, fill, pooled, pools, standing};

async fn page(client: &mut Client, size: u32, token: &str) -> (Vec<PoolStanding>, String) {
    let request = ListPoolsRequest {
        namespace: "-".to_owned(),
        page_size: size,
        page_token: token.to_owned(),
    };
    let answer = client.list_pools(request).await.expect("a page");
    let answer = answer.into_inner();
    (answer.pools, answer.next_page_token)
}

fn names(pools: &[PoolStanding]) -> Vec<String> {
    let name = |pool: &PoolStanding| format!("{}/{}", pool.namespace, pool.pool);
    pools.iter().map(name).collect()
}

pub(crate) async fn every_token_of_a_pool_is_counted_once(authority: Authority) {
    let mut root = authority.root().await;
    assert_eq!(pools(&mut root).await, []);
    let mut tokens = fill(&mut root, 5).await;
    assert_eq!(standing(&mut root).await, [5, 0, 0, 0]);
    acquire(&mut root, any()).await;
    acquire(&mut root, any()).await;
    assert_eq!(standing(&mut root).await, [3, 2, 0, 0]);
    for (token, _) in &mut tokens {
        token.disabled = true;
        update(&mut root, token, &["disabled"]).await;
    }
    assert_eq!(standing(&mut root).await, [0, 0, 5, 0]);
}

pub(crate) async fn pools_are_listed_in_pages_as_far_as_the_caller_may_read(authority: Authority) {
    let mut root = authority.root().await;
    let mut expected = Vec::new();
    for namespace in ["a", "b"] {
        for pool in ["one", "three", "two"] {
            let request = CreateRequest {
                namespace: namespace.to_owned(),
                pool: pool.to_owned(),
                ..pooled()
            };
            create(&mut root, request).await;
            expected.push(format!("{namespace}/{pool}"));
        }
    }
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let (pools, next) = page(&mut root, 2, &token).await;
        assert!(pools.len() <= 2);
        found.extend(names(&pools));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(found, expected);
    let mut reader = caller(&authority, "b", &["authority:read"]).await;
    assert_eq!(names(&pools(&mut reader).await), expected[3..]);
    let all = ListPoolsRequest {
        namespace: "-".to_owned(),
        ..ListPoolsRequest::default()
    };
    let error = reader.list_pools(all).await.unwrap_err();
    let denied = (Code::PermissionDenied, "PERMISSION_MISSING".to_owned());
    assert_eq!(told(&error), denied);
    // A page goes on where it was answered only.
    let elsewhere = ListPoolsRequest {
        page_token: token,
        ..ListPoolsRequest::default()
    };
    let error = reader.list_pools(elsewhere).await.unwrap_err();
    assert_eq!(fields(&error), set(&["page_token"]));
}
