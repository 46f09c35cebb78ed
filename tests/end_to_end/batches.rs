//! BatchCreate: all tokens or none, each as Create makes it.

use std::collections::BTreeSet;

use token_authority::transport::grpc::pb::{
    BatchCreateRequest, BatchCreateResponse, CreateRequest, ListRequest, Verdict,
};
use tonic::{Code, Status};

use crate::harness::{Authority, Client, fields, named, set, told, verdict};
use crate::leasing::{pooled, standing};

async fn batch(
    client: &mut Client,
    template: CreateRequest,
    count: u32,
) -> Result<BatchCreateResponse, Status> {
    let template = Some(template);
    let answer = client.batch_create(BatchCreateRequest { template, count });
    Ok(answer.await?.into_inner())
}

fn ids(created: &BatchCreateResponse) -> Vec<String> {
    let tokens = created.created.iter().map(|one| one.token.clone());
    tokens.map(|token| token.unwrap().token_id).collect()
}

async fn count(client: &mut Client) -> usize {
    let request = ListRequest {
        page_size: 1000,
        ..ListRequest::default()
    };
    client
        .list(request)
        .await
        .unwrap()
        .into_inner()
        .tokens
        .len()
}

pub(crate) async fn a_batch_fills_a_pool(authority: Authority) {
    let mut root = authority.root().await;
    let created = batch(&mut root, pooled(), 100).await.unwrap();
    let distinct: BTreeSet<String> = ids(&created).into_iter().collect();
    assert_eq!(distinct.len(), 100);
    assert_eq!(standing(&mut root).await, [100, 0, 0, 0]);
    for one in created.created.iter().step_by(30) {
        assert_eq!(verdict(&mut root, &one.secret).await, Verdict::Valid);
    }
}

pub(crate) async fn a_replayed_batch_answers_the_same_tokens(authority: Authority) {
    let mut root = authority.root().await;
    let template = CreateRequest {
        request_id: "fill".to_owned(),
        ..pooled()
    };
    let first = batch(&mut root, template.clone(), 10).await.unwrap();
    let again = batch(&mut root, template.clone(), 10).await.unwrap();
    assert_eq!(ids(&first), ids(&again));
    assert_ne!(first.created[0].secret, again.created[0].secret);
    for one in first.created.iter().chain(&again.created) {
        assert_eq!(verdict(&mut root, &one.secret).await, Verdict::Valid);
    }
    let other = CreateRequest {
        description: "another".to_owned(),
        ..template
    };
    let error = batch(&mut root, other, 10).await.unwrap_err();
    assert_eq!(fields(&error), set(&["template.request_id"]));
    assert_eq!(standing(&mut root).await, [10, 0, 0, 0], "none was removed");
}

pub(crate) async fn where_there_is_no_room_for_all_none_stays(mut authority: Authority) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "namespaces.default.max_tokens=50"]);
    authority.start();
    let mut root = authority.root().await;
    batch(&mut root, named("before"), 10).await.unwrap();
    let full = batch(&mut root, pooled(), 100).await.unwrap_err();
    assert_eq!(
        told(&full),
        (Code::ResourceExhausted, "NAMESPACE_FULL".to_owned())
    );
    assert_eq!(count(&mut root).await, 10);
    batch(&mut root, pooled(), 40).await.unwrap();
    assert_eq!(count(&mut root).await, 50);
}

pub(crate) async fn a_batch_that_cannot_be_says_which_field(authority: Authority) {
    let mut root = authority.root().await;
    for (number, field) in [(0, "count"), (1001, "count")] {
        let error = batch(&mut root, named("x"), number).await.unwrap_err();
        assert_eq!(fields(&error), set(&[field]));
    }
    let wrong = CreateRequest {
        namespace: "A".to_owned(),
        scopes: vec!["a b".to_owned()],
        ..named("x")
    };
    let error = batch(&mut root, wrong, 1001).await.unwrap_err();
    let all = ["template.namespace", "template.scopes[0]", "count"];
    assert_eq!(fields(&error), set(&all));
    let none = BatchCreateRequest {
        template: None,
        count: 1,
    };
    let error = root.batch_create(none).await.unwrap_err();
    assert_eq!(fields(&error), set(&["template"]));
    // One answer must carry them all.
    let large = CreateRequest {
        labels: (0..30).map(|n| (n.to_string(), "l".repeat(256))).collect(),
        ..named("x")
    };
    let error = batch(&mut root, large.clone(), 1000).await.unwrap_err();
    assert_eq!(fields(&error), set(&["count"]));
    let created = batch(&mut root, large, 300).await.unwrap();
    assert_eq!(created.created.len(), 300);
    let mut creator = crate::leasing::caller(&authority, "", &["authority:create"]).await;
    let beyond = CreateRequest {
        scopes: vec!["authority:manage".to_owned()],
        ..named("x")
    };
    let error = batch(&mut creator, beyond, 3).await.unwrap_err();
    let denied = (Code::PermissionDenied, "GRANT_EXCEEDS_CALLER".to_owned());
    assert_eq!(told(&error), denied);
}
