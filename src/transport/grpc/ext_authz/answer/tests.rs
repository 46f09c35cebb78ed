//! No answer is one that a proxy would misread.

use std::time::Duration;

use prost::Message;
use tonic_types::StatusExt;

use super::*;
use crate::authority::error::Error;
use crate::authority::failures::AddressKind;
use crate::authority::validate::Question;
use crate::domain::caller::Namespaces;
use crate::domain::route::Routes;
use crate::domain::scope::RequiredScope;
use crate::domain::verdict::{Consistency, Request, Verdict};
use crate::transport::sidecar::limit_headers::Reset;

fn terms() -> Terms {
    let manner = Manner {
        realm: "r".to_owned(),
        reset: Reset::Seconds,
    };
    Terms::new(
        vec![http::HeaderName::from_static("x-api-key")],
        Routes::default(),
        manner,
    )
}

fn judged(verdict: Verdict) -> Validation {
    Validation {
        verdict,
        subject: None,
        cost: 1,
        cache_ttl: Duration::ZERO,
        degraded: false,
        id: "v".to_owned(),
    }
}

fn question() -> Question {
    Question {
        namespaces: Namespaces::Own,
        request: Request {
            required_scopes: vec![RequiredScope::parse("orders:read").unwrap()],
            ..Request::default()
        },
        cost: 1,
        dry_run: false,
        consistency: Consistency::Cached,
        user_agent: String::new(),
    }
}

/// Every refusal that there is.
fn refusals() -> Vec<Refusal> {
    let judged = Verdict::ALL.into_iter().filter_map(|verdict| {
        let validation = judged(verdict);
        Refusal::of(&validation, &question())
    });
    let limited = Error::FailuresLimited {
        retry_after: Duration::from_millis(1500),
        per_minute: 1,
        from: AddressKind::None,
    };
    judged
        .chain([
            Refusal::without_credential(),
            Refusal::two_credentials(),
            Refusal::invalid("path: é\n"),
            Refusal::too_large(1),
            Refusal::stranger(),
            Refusal::unreadable_demand(),
            Refusal::instead_of(limited).unwrap(),
        ])
        .collect()
}

fn value<'a>(headers: &'a [HeaderValueOption], name: &str) -> Option<&'a str> {
    let mut headers = headers.iter().flat_map(|option| &option.header);
    headers
        .find(|header| header.key == name)
        .map(|header| header.value.as_str())
}

fn denied(answer: CheckResponse) -> (i32, DeniedHttpResponse) {
    match answer.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => (answer.status.unwrap().code, denied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_lets_pass_is_never_made_by_leaving_something_out() {
    let allowed = allow(&judged(Verdict::Valid), &terms());
    assert_ne!(allowed, CheckResponse::default());
    assert_eq!(allowed.status.as_ref().map(|status| status.code), Some(0));
    assert!(matches!(
        allowed.http_response,
        Some(HttpResponse::OkResponse(_))
    ));
    for refusal in refusals() {
        for is_grpc in [false, true] {
            let answer = deny(&refusal, is_grpc, None, &terms().manner);
            let (code, denied) = denied(answer);
            assert!((1..=16).contains(&code), "{refusal:?}");
            let status = denied.status.unwrap().code;
            assert!((400..=599).contains(&status), "{refusal:?}");
            assert_eq!(status, i32::from(refusal.status.as_u16()));
        }
    }
}

#[test]
fn the_generated_default_is_named_nowhere_but_in_tests() {
    // Proxies let pass what an empty answer is made of; `answer` is the only place that makes one.
    for source in [
        include_str!("../answer.rs"),
        include_str!("../../ext_authz.rs"),
        include_str!("../held.rs"),
        include_str!("../context.rs"),
    ] {
        assert!(!source.contains("CheckResponse::default"));
        assert!(!source.contains("..Default::default"));
    }
    let made = include_str!("../answer.rs")
        .matches("CheckResponse {\n        status")
        .count();
    assert_eq!(made, 1);
    assert!(!include_str!("../../ext_authz.rs").contains("CheckResponse {\n        status"));
}

#[test]
fn an_allowed_request_loses_its_credential_and_all_identity_that_is_not_ours() {
    let allowed = allow(&judged(Verdict::Valid), &terms());
    let Some(HttpResponse::OkResponse(ok)) = allowed.http_response else {
        panic!("{allowed:?}");
    };
    assert_eq!(value(&ok.headers, "x-validation-id"), Some("v"));
    for name in [
        "authorization",
        "x-api-key",
        "x_api_key",
        "x-token-id",
        "x_token_id",
        "x-token_owner",
    ] {
        assert!(
            ok.headers_to_remove.iter().any(|gone| gone == name),
            "{name}"
        );
    }
    assert!(
        !ok.headers_to_remove
            .iter()
            .any(|gone| gone == "x-validation-id")
    );
    assert!(
        ok.headers
            .iter()
            .all(|option| { option.append_action() == HeaderAppendAction::OverwriteIfExistsOrAdd })
    );
}

#[test]
fn a_client_of_grpc_gets_a_status_with_details_in_headers_and_no_body() {
    for refusal in refusals() {
        let (_, denied) = denied(deny(&refusal, true, None, &terms().manner));
        assert_eq!(denied.body, "");
        assert_eq!(value(&denied.headers, "content-type"), None);
        let mut headers = HeaderMap::new();
        for option in &denied.headers {
            let header = option.header.as_ref().unwrap();
            let name = http::HeaderName::try_from(&header.key).unwrap();
            headers.insert(name, header.value.parse().unwrap());
        }
        assert!(
            !headers["grpc-status-details-bin"]
                .to_str()
                .unwrap()
                .contains('=')
        );
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), refusal.code);
        assert_eq!(status.message(), refusal.message);
        let wire = WireStatus::decode(status.details()).unwrap();
        assert_eq!(wire.code, i32::from(refusal.code));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, refusal.reason.as_str_name());
        assert_eq!(info.domain, "tokenauthority");
        let retry = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        assert_eq!(retry, refusal.retry_after);
    }
}

#[test]
fn every_other_client_gets_json() {
    for refusal in refusals() {
        let (_, denied) = denied(deny(&refusal, false, None, &terms().manner));
        assert_eq!(
            value(&denied.headers, "content-type"),
            Some("application/json")
        );
        assert_eq!(value(&denied.headers, "grpc-status"), None);
        let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
        assert!(body["error"].is_string() && body["message"].is_string());
    }
}

#[test]
fn what_a_refused_request_is_called_shows_to_the_proxy_only() {
    let revoked = judged(Verdict::Revoked);
    let refusal = Refusal::of(&revoked, &question()).unwrap();
    let answer = deny(&refusal, false, Some(&revoked), &terms().manner);
    let fields = &answer.dynamic_metadata.as_ref().unwrap().fields;
    assert_eq!(fields["verdict"], text("VERDICT_REVOKED"));
    assert_eq!(fields["validation_id"], text("v"));
    let (_, denied) = denied(answer);
    assert!(
        !format!("{denied:?}{}", denied.body)
            .to_lowercase()
            .contains("revoked")
    );
}
