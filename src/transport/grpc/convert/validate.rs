//! Validate on the wire.

use zeroize::Zeroizing;

use crate::authority::error::Error;
use crate::authority::validate::Validation;
use crate::domain::address::client_address;
use crate::domain::caller::Namespaces;
use crate::domain::endpoint::{PATH_BYTES_MAX, parse_method};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::name::RequestId;
use crate::domain::scope::{RequiredScope, Scope};
use crate::domain::verdict::{Request, Verdict};
use crate::transport::grpc::pb;

use super::inspect::presented;
use super::token::public_facts;
use super::{given, items, namespaces, owner, sound};

const USER_AGENT_BYTES_MAX: usize = 512;

/// A ValidateRequest, taken apart.
pub(in crate::transport::grpc) struct Question {
    pub(in crate::transport::grpc) secret: Zeroizing<String>,
    pub(in crate::transport::grpc) namespaces: Namespaces,
    pub(in crate::transport::grpc) request: Request,
    pub(in crate::transport::grpc) trace: Trace,
}

/// What is traced and not judged.
#[derive(Debug)]
pub(in crate::transport::grpc) struct Trace {
    pub(in crate::transport::grpc) request_id: Option<String>,
    pub(in crate::transport::grpc) user_agent: String,
}

pub(in crate::transport::grpc) fn question(
    request: pb::ValidateRequest,
) -> Result<Question, Error> {
    let pb::ValidateRequest {
        secret,
        namespace,
        owner: asked_owner,
        required_scopes,
        method,
        path,
        client_ip,
        user_agent,
        request_id,
    } = request;
    let secret = Zeroizing::new(secret);
    let mut flaws = Violations::default();
    let v = &mut flaws;
    v.take("secret", presented(&secret));
    let namespaces = namespaces(v, &namespace);
    let owner = owner(v, &asked_owner);
    let required_scopes = items(
        v,
        "required_scopes",
        &required_scopes,
        Scope::COUNT_MAX,
        RequiredScope::parse,
    );
    let method = given(v, "method", &method, parse_method);
    v.take(
        "path",
        at_most(path.split('?').next().unwrap_or_default(), PATH_BYTES_MAX),
    );
    let client_ip = given(v, "client_ip", &client_ip, client_address);
    v.take("user_agent", at_most(&user_agent, USER_AGENT_BYTES_MAX));
    let request_id = given(v, "request_id", &request_id, RequestId::parse);
    let parsed = namespaces.map(|namespaces| Question {
        secret,
        namespaces,
        request: Request {
            owner,
            required_scopes,
            method,
            path: (!path.is_empty()).then_some(path),
            client_ip,
        },
        trace: Trace {
            request_id: request_id.map(|id| id.as_str().to_owned()),
            user_agent,
        },
    });
    sound(parsed, flaws)
}

fn at_most(text: &str, bytes_max: usize) -> Result<(), Flaw> {
    if text.len() > bytes_max {
        return Err(Flaw::new(format!(
            "has {} bytes; at most {bytes_max} are allowed",
            text.len()
        )));
    }
    Ok(())
}

pub(in crate::transport::grpc) fn validation(validation: Validation) -> pb::ValidateResponse {
    let Validation { verdict, token, id } = validation;
    let credential = if token.is_some() {
        pb::Credential::Current
    } else {
        pb::Credential::Unspecified
    };
    pb::ValidateResponse {
        valid: verdict == Verdict::Valid,
        verdict: wire_verdict(verdict).into(),
        credential: credential.into(),
        secret_version: token.as_ref().map_or(0, |token| token.secret.version),
        revision: token.as_ref().map_or(0, |token| token.revision),
        token: token.map(|token| public_facts(&token)),
        validation_id: id,
    }
}

fn wire_verdict(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Valid => pb::Verdict::Valid,
        Verdict::Malformed => pb::Verdict::Malformed,
        Verdict::NotFound => pb::Verdict::NotFound,
        Verdict::Revoked => pb::Verdict::Revoked,
        Verdict::Disabled => pb::Verdict::Disabled,
        Verdict::Expired => pb::Verdict::Expired,
        Verdict::OwnerMismatch => pb::Verdict::OwnerMismatch,
        Verdict::ScopeDenied => pb::Verdict::ScopeDenied,
        Verdict::EndpointDenied => pb::Verdict::EndpointDenied,
        Verdict::AddressDenied => pb::Verdict::AddressDenied,
    }
}
