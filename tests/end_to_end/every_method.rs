//! A call of every method that needs a permission.

use token_authority::transport::grpc::pb::revoke_request::Target;
use token_authority::transport::grpc::pb::{
    BatchCreateRequest, DeleteRequest, GetRequest, ListNamespacesRequest, ListPoolsRequest,
    ListRequest, OverviewRequest, ResetLimitsRequest, RevokeRequest, RotateRequest, Token,
    UpdateRequest, UsageRequest, WatchRequest,
};
use tonic::Status;

use crate::harness::{Client, named, presenting};
use crate::leasing::{any, forced, token_beat};

/// The error of every method that needs a permission, asked about the token `id`.
pub(crate) async fn errors(client: &mut Client, id: &str) -> Vec<(&'static str, Option<Status>)> {
    let token_id = id.to_owned();
    let target = Some(Target::TokenId(id.to_owned()));
    vec![
        ("Validate", client.validate(presenting("x")).await.err()),
        (
            "BatchValidate",
            crate::questions::ask_all(client, vec![presenting("x")])
                .await
                .err(),
        ),
        (
            "ValidateStream",
            client.validate_stream(tokio_stream::empty()).await.err(),
        ),
        ("Create", client.create(named("x")).await.err()),
        (
            "Get",
            client
                .get(GetRequest {
                    token_id: token_id.clone(),
                })
                .await
                .err(),
        ),
        ("List", client.list(ListRequest::default()).await.err()),
        (
            "ListNamespaces",
            client
                .list_namespaces(ListNamespacesRequest::default())
                .await
                .err(),
        ),
        (
            "Revoke",
            client
                .revoke(RevokeRequest {
                    target,
                    reason: String::new(),
                })
                .await
                .err(),
        ),
        (
            "Update",
            client
                .update(UpdateRequest {
                    token: Some(Token {
                        token_id: token_id.clone(),
                        ..Token::default()
                    }),
                    update_mask: Some(prost_types::FieldMask {
                        paths: vec!["name".to_owned()],
                    }),
                    revision: None,
                })
                .await
                .err(),
        ),
        (
            "Rotate",
            client
                .rotate(RotateRequest {
                    token_id: token_id.clone(),
                    ..RotateRequest::default()
                })
                .await
                .err(),
        ),
        (
            "ResetLimits",
            client
                .reset_limits(ResetLimitsRequest {
                    token_id: token_id.clone(),
                })
                .await
                .err(),
        ),
        (
            "BatchCreate",
            client
                .batch_create(BatchCreateRequest {
                    template: Some(named("x")),
                    count: 1,
                })
                .await
                .err(),
        ),
        ("Acquire", client.acquire(any()).await.err()),
        ("Release", client.release(forced(id)).await.err()),
        ("KeepAlive", client.keep_alive(token_beat(id)).await.err()),
        (
            "KeepAliveStream",
            client.keep_alive_stream(tokio_stream::empty()).await.err(),
        ),
        (
            "ListPools",
            client.list_pools(ListPoolsRequest::default()).await.err(),
        ),
        (
            "Watch",
            client
                .watch(WatchRequest {
                    token_id: token_id.clone(),
                    ..WatchRequest::default()
                })
                .await
                .err(),
        ),
        (
            "Usage",
            client
                .usage(UsageRequest {
                    token_id: token_id.clone(),
                    window: None,
                })
                .await
                .err(),
        ),
        (
            "Overview",
            client.overview(OverviewRequest::default()).await.err(),
        ),
        ("Report", client.report(tokio_stream::empty()).await.err()),
        (
            "Delete",
            client.delete(DeleteRequest { token_id }).await.err(),
        ),
    ]
}
