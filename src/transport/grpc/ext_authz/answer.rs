//! The two answers of Check, of which each says what it is: an empty one would let everything pass.

use http::HeaderMap;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::{Code, Status};
use tonic_types::pb::Status as WireStatus;

use crate::authority::validate::Validation;
use crate::transport::grpc::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::transport::grpc::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use crate::transport::grpc::envoy::service::auth::v3::check_response::HttpResponse;
use crate::transport::grpc::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use crate::transport::grpc::envoy::r#type::v3::HttpStatus;
use crate::transport::grpc::{convert, status};
use crate::transport::sidecar::identity::{self, Identity};
use crate::transport::sidecar::limit_headers::Standing;
use crate::transport::sidecar::refusal::{Manner, Refusal};
use crate::transport::sidecar::terms::Terms;

/// Lets the request go on: without its credential, and with whose it is.
pub(super) fn allow(validation: &Validation, terms: &Terms) -> CheckResponse {
    let identity = Identity::of(validation);
    let set = identity.headers();
    let unset = identity::unset(&set).map(str::to_owned);
    let removed = terms.removed.iter().cloned().chain(unset).collect();
    let standing = Standing::of(validation).map(|standing| standing.headers(terms.manner.reset));
    answer(
        Code::Ok,
        HttpResponse::OkResponse(OkHttpResponse {
            headers: set.into_iter().map(header).collect(),
            headers_to_remove: removed,
            response_headers_to_add: standing.into_iter().flatten().map(header).collect(),
        }),
        Some(metadata(validation, &identity)),
    )
}

/// Refuses the request; `judged` is what that is of, if anything was judged.
///
/// A client of gRPC finds its status in headers, which a body would take the place of.
pub(super) fn deny(
    refusal: &Refusal,
    is_grpc: bool,
    judged: Option<&Validation>,
    manner: &Manner,
) -> CheckResponse {
    let mut headers = refusal.headers(manner);
    let mut body = String::new();
    let mut status = HeaderMap::new();
    if is_grpc {
        if let Some(after) = refusal.retry_after {
            let pushback = i32::try_from(after.as_millis()).unwrap_or(i32::MAX);
            headers.push(("grpc-retry-pushback-ms", pushback.to_string()));
        }
        // What is in the status was made here, and is sound.
        let _ = told_in_grpc(refusal).add_header(&mut status);
    } else {
        headers.push(("content-type", "application/json".to_owned()));
        body = refusal.body();
    }
    let told = headers.into_iter().map(header);
    let status = status.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some(header((name.as_str(), value.to_owned())))
    });
    let code = match refusal.code {
        Code::Ok => Code::PermissionDenied,
        refused => refused,
    };
    answer(
        code,
        HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: refusal.status.as_u16().into(),
            }),
            headers: told.chain(status).collect(),
            body,
        }),
        judged.map(refused),
    )
}

fn answer(code: Code, response: HttpResponse, metadata: Option<Struct>) -> CheckResponse {
    CheckResponse {
        status: Some(WireStatus {
            code: code.into(),
            message: String::new(),
            details: Vec::new(),
        }),
        http_response: Some(response),
        dynamic_metadata: metadata,
    }
}

/// The refusal as its client would get it from a service that speaks gRPC itself.
fn told_in_grpc(refusal: &Refusal) -> Status {
    let scopes = refusal.missing_scopes.as_ref();
    let metadata: Vec<_> = scopes
        .map(|scopes| ("scope", scopes.clone()))
        .into_iter()
        .collect();
    status::refused(
        refusal.code,
        refusal.reason,
        &metadata,
        refusal.message.clone(),
        refusal.retry_after,
    )
}

/// One value for each name, in the place of whatever the client sent.
fn header((name, value): (&str, String)) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value,
            raw_value: Vec::new(),
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

/// What filters and access logs of the proxy may read of an allowed request.
fn metadata(validation: &Validation, identity: &Identity) -> Struct {
    let Identity {
        validation_id,
        token_id,
        namespace,
        owner,
        scopes,
        fence,
    } = identity;
    let scopes = scopes.iter().map(|scope| text(scope)).collect();
    let about = validation.subject.as_ref().map(|subject| &subject.about);
    let end = about.and_then(|about| about.token().expire_time);
    let mut fields = vec![
        ("validation_id", text(validation_id)),
        ("verdict", text(verdict(validation))),
        ("token_id", text(token_id)),
        ("namespace", text(namespace)),
        ("owner", text(owner)),
        (
            "scopes",
            value(Kind::ListValue(ListValue { values: scopes })),
        ),
        ("cache_ttl_s", number(validation.cache_ttl.as_secs())),
        ("degraded", value(Kind::BoolValue(validation.degraded))),
    ];
    fields.extend(fence.map(|fence| ("fence", number(fence))));
    fields.extend(end.map(|end| ("expires_at", number(end.micros() / 1_000_000))));
    made_of(fields)
}

/// The same of a refused one: nothing that could be taken for an allowed one's.
fn refused(validation: &Validation) -> Struct {
    let token = validation.subject.as_ref();
    let token = token.map(|subject| ("token_id", text(subject.about.id().as_str())));
    let judged = [
        ("validation_id", text(&validation.id)),
        ("verdict", text(verdict(validation))),
    ];
    made_of(judged.into_iter().chain(token))
}

fn verdict(validation: &Validation) -> &'static str {
    convert::wire_verdict(validation.verdict).as_str_name()
}

fn made_of(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Struct {
    let fields = fields.into_iter();
    Struct {
        fields: fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

/// Exact below 2^53.
fn number(number: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "JSON knows no other numbers")]
    value(Kind::NumberValue(number as f64))
}

#[cfg(test)]
mod tests;
