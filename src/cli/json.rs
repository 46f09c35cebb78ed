//! Answers as canonical protobuf JSON.

use std::fmt;
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::transport::grpc::pb;

use super::failure::Failure;

/// A message that the API answers, by its name there.
pub(super) trait Answer: Message {
    const NAME: &'static str;
}

impl Answer for pb::CreateResponse {
    const NAME: &'static str = "CreateResponse";
}
impl Answer for pb::BatchCreateResponse {
    const NAME: &'static str = "BatchCreateResponse";
}
impl Answer for pb::AcquireResponse {
    const NAME: &'static str = "AcquireResponse";
}
impl Answer for pb::ReleaseResponse {
    const NAME: &'static str = "ReleaseResponse";
}
impl Answer for pb::KeepAliveResponse {
    const NAME: &'static str = "KeepAliveResponse";
}
impl Answer for pb::UsageResponse {
    const NAME: &'static str = "UsageResponse";
}
impl Answer for pb::OverviewResponse {
    const NAME: &'static str = "OverviewResponse";
}
impl Answer for pb::ListPoolsResponse {
    const NAME: &'static str = "ListPoolsResponse";
}
impl Answer for pb::GetResponse {
    const NAME: &'static str = "GetResponse";
}
impl Answer for pb::ListResponse {
    const NAME: &'static str = "ListResponse";
}
impl Answer for pb::ListNamespacesResponse {
    const NAME: &'static str = "ListNamespacesResponse";
}
impl Answer for pb::UpdateResponse {
    const NAME: &'static str = "UpdateResponse";
}
impl Answer for pb::RotateResponse {
    const NAME: &'static str = "RotateResponse";
}
impl Answer for pb::ResetLimitsResponse {
    const NAME: &'static str = "ResetLimitsResponse";
}
impl Answer for pb::RevokeResponse {
    const NAME: &'static str = "RevokeResponse";
}
impl Answer for pb::DeleteResponse {
    const NAME: &'static str = "DeleteResponse";
}
impl Answer for pb::ValidateResponse {
    const NAME: &'static str = "ValidateResponse";
}
impl Answer for pb::WatchResponse {
    const NAME: &'static str = "WatchResponse";
}
impl Answer for pb::WhoAmIResponse {
    const NAME: &'static str = "WhoAmIResponse";
}

/// The message as JSON: camel case, 64-bit numbers as strings, fields at their default left out.
pub(super) fn canonical<M: Answer>(message: &M) -> Result<String, Failure> {
    serde_json::to_string_pretty(&dynamic(message)?).map_err(|error| broken::<M>(&error))
}

/// The same in one line.
pub(super) fn line<M: Answer>(message: &M) -> Result<String, Failure> {
    serde_json::to_string(&dynamic(message)?).map_err(|error| broken::<M>(&error))
}

fn broken<M: Answer>(why: &dyn fmt::Display) -> Failure {
    Failure::Broken(format!("cannot write {} as JSON: {why}", M::NAME))
}

/// Read once: there may be many messages.
static API: LazyLock<Result<DescriptorPool, String>> = LazyLock::new(|| {
    DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).map_err(|error| error.to_string())
});

fn dynamic<M: Answer>(message: &M) -> Result<DynamicMessage, Failure> {
    let pool = API.as_ref().map_err(|why| broken::<M>(why))?;
    let descriptor = pool
        .get_message_by_name(&format!("tokenauthority.v1.{}", M::NAME))
        .ok_or_else(|| broken::<M>(&"unknown message"))?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|error| broken::<M>(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value<M: Answer>(message: &M) -> Value {
        serde_json::from_str(&canonical(message).unwrap()).unwrap()
    }

    #[test]
    fn json_is_canonical() {
        let token = pb::Token {
            token_id: "7f".to_owned(),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            expire_time: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 500_000_000,
            }),
            state: pb::State::Active.into(),
            revision: u64::MAX,
            secret_version: 1,
            ..pb::Token::default()
        };
        let listed = pb::ListResponse {
            tokens: vec![token],
            next_page_token: "more".to_owned(),
        };
        assert_eq!(
            value(&listed),
            json!({
                "tokens": [{
                    "tokenId": "7f",
                    "labels": {"team": "a"},
                    "expireTime": "1970-01-01T00:00:01.500Z",
                    "state": "STATE_ACTIVE",
                    "revision": "18446744073709551615",
                    "secretVersion": 1,
                }],
                "nextPageToken": "more",
            })
        );
    }

    #[test]
    fn every_answer_has_json() {
        assert_eq!(value(&pb::CreateResponse::default()), json!({}));
        assert_eq!(value(&pb::BatchCreateResponse::default()), json!({}));
        assert_eq!(value(&pb::AcquireResponse::default()), json!({}));
        assert_eq!(value(&pb::ReleaseResponse::default()), json!({}));
        assert_eq!(value(&pb::KeepAliveResponse::default()), json!({}));
        assert_eq!(value(&pb::ListPoolsResponse::default()), json!({}));
        assert_eq!(value(&pb::GetResponse::default()), json!({}));
        assert_eq!(value(&pb::ListResponse::default()), json!({}));
        assert_eq!(value(&pb::ListNamespacesResponse::default()), json!({}));
        assert_eq!(value(&pb::UpdateResponse::default()), json!({}));
        assert_eq!(value(&pb::RotateResponse::default()), json!({}));
        assert_eq!(value(&pb::ResetLimitsResponse::default()), json!({}));
        assert_eq!(value(&pb::RevokeResponse::default()), json!({}));
        assert_eq!(value(&pb::DeleteResponse::default()), json!({}));
        assert_eq!(value(&pb::ValidateResponse::default()), json!({}));
        assert_eq!(value(&pb::WatchResponse::default()), json!({}));
        assert_eq!(value(&pb::WhoAmIResponse::default()), json!({}));
    }
}
