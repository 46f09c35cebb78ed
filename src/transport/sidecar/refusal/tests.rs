//! The table of refusals, held to what the API's comments promise.

use std::collections::BTreeSet;

use prost_reflect::DescriptorPool;

use super::*;
use crate::authority::failures::AddressKind;
use crate::domain::caller::{Namespaces, Permission};
use crate::domain::flaw::Violations;
use crate::domain::scope::RequiredScope;
use crate::domain::verdict::{Consistency, Request};
use crate::transport::grpc::pb;

fn manner() -> Manner {
    Manner {
        realm: "a \"shop\"".to_owned(),
        reset: Reset::Seconds,
    }
}

fn question(scopes: &[&str]) -> Question {
    let scopes = scopes
        .iter()
        .map(|scope| RequiredScope::parse(scope).unwrap());
    Question {
        namespaces: Namespaces::Own,
        request: Request {
            required_scopes: scopes.collect(),
            ..Request::default()
        },
        cost: 1,
        dry_run: false,
        consistency: Consistency::Cached,
        user_agent: String::new(),
    }
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

fn refused(verdict: Verdict) -> Refusal {
    Refusal::of(
        &judged(verdict),
        &question(&["orders:read", "orders:write"]),
    )
    .unwrap()
}

/// The comment of each verdict in the API, by its name there.
fn promised(verdict: Verdict) -> String {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
    let verdicts = pool.get_enum_by_name("tokenauthority.v1.Verdict").unwrap();
    let own = verdicts.get_value(i32::from(verdict.number())).unwrap();
    let file = verdicts.parent_file();
    let info = file
        .file_descriptor_proto()
        .source_code_info
        .clone()
        .unwrap();
    let mut locations = info.location.into_iter();
    let location = locations
        .find(|location| location.path == own.path())
        .unwrap();
    location
        .leading_comments()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_verdict_means_what_the_api_promises() {
    for verdict in Verdict::ALL {
        let (status, code) = meaning(verdict);
        let code = match code {
            Code::Ok => "OK",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            other => panic!("{other:?}"),
        };
        let meaning = format!("HTTP {}, gRPC {code}.", status.as_u16());
        let promised = promised(verdict);
        assert!(promised.ends_with(&meaning), "{verdict:?}: {promised}");
    }
}

#[test]
fn only_what_is_valid_is_no_refusal() {
    for verdict in Verdict::ALL {
        let refusal = Refusal::of(&judged(verdict), &question(&[]));
        assert_eq!(refusal.is_none(), verdict == Verdict::Valid, "{verdict:?}");
        assert!(refusal.is_none_or(|refusal| refusal.status.is_client_error()));
    }
}

#[test]
fn an_unknown_token_is_not_told_from_one_that_was() {
    let answers = [
        Verdict::Malformed,
        Verdict::NotFound,
        Verdict::Revoked,
        Verdict::Disabled,
        Verdict::Expired,
        Verdict::Superseded,
        Verdict::LeaseEnded,
    ]
    .map(|verdict| {
        let refusal = refused(verdict);
        (
            refusal.status,
            i32::from(refusal.code),
            refusal.headers(&manner()),
            refusal.body(),
        )
    });
    assert_eq!(
        BTreeSet::from(answers.map(|answer| format!("{answer:?}"))).len(),
        1
    );
}

#[test]
fn challenges_are_those_of_rfc_6750() {
    let challenge = |refusal: Refusal| {
        let headers = refusal.headers(&manner()).into_iter();
        let mut found = headers.filter(|(name, _)| *name == "www-authenticate");
        found.next().map(|(_, value)| value)
    };
    let realm = r#"Bearer realm="a \"shop\"""#;
    let told = |rest: &str| Some(format!("{realm}{rest}"));
    assert_eq!(challenge(Refusal::without_credential()), told(""));
    assert_eq!(
        challenge(refused(Verdict::Revoked)),
        told(r#", error="invalid_token""#)
    );
    assert_eq!(
        challenge(Refusal::two_credentials()),
        told(r#", error="invalid_request""#)
    );
    assert_eq!(
        challenge(refused(Verdict::ScopeDenied)),
        told(r#", error="insufficient_scope", scope="orders:read orders:write""#)
    );
    for other in [Verdict::EndpointDenied, Verdict::RateLimited] {
        assert_eq!(challenge(refused(other)), None);
    }
    assert_eq!(challenge(Refusal::stranger()), None);
}

#[test]
fn bodies_are_small_json_for_programs_and_people() {
    assert_eq!(
        refused(Verdict::Revoked).body(),
        r#"{"error":"invalid_token","message":"the credential is not in force"}"#
    );
    let scope: serde_json::Value =
        serde_json::from_str(&refused(Verdict::ScopeDenied).body()).unwrap();
    assert_eq!(scope["scope"], "orders:read orders:write");
    let odd = Refusal::invalid("a \"quote\"\n");
    let read: serde_json::Value = serde_json::from_str(&odd.body()).unwrap();
    assert_eq!(read["message"], "a \"quote\"\n");
}

#[test]
fn who_asks_too_much_is_refused_and_an_outage_stays_one() {
    let retry_after = Duration::from_millis(1500);
    let shed = Refusal::instead_of(Error::FailuresLimited {
        retry_after,
        per_minute: 1,
        from: AddressKind::None,
    });
    let shed = shed.unwrap();
    assert_eq!(shed.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        shed.headers(&manner())
            .contains(&("retry-after", "2".to_owned()))
    );
    for (error, status) in [
        (Error::Unauthenticated("".into()), StatusCode::FORBIDDEN),
        (
            Error::PermissionMissing {
                permission: Permission::Validate,
                namespace: None,
            },
            StatusCode::FORBIDDEN,
        ),
        (
            Error::Invalid(Violations::one("path", Flaw::new("is odd"))),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        assert_eq!(Refusal::instead_of(error).unwrap().status, status);
    }
    for outage in [
        Error::StoreUnavailable(String::new()),
        Error::Internal(String::new()),
        Error::AuditUnavailable,
        Error::Contended,
        Error::Leaving { alone: false },
    ] {
        assert_eq!(Refusal::instead_of(outage.clone()).unwrap_err(), outage);
    }
}
