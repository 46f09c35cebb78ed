//! Token introspection (RFC 7662): is this token in force, and whose is it?

use axum::http::StatusCode;
use serde_json::{Value, json};
use tonic::body::Body;

use crate::authority::access::Right;
use crate::authority::act::{Act, Validate};
use crate::authority::error::Error;
use crate::authority::validate::{Question, Subject, Validation};
use crate::domain::caller::{Namespaces, Reach};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Consistency, Request, Verdict};
use crate::transport::sidecar::identity::Identity;

use super::answer::Answer;
use super::credential::{self, Malformed};
use super::{Asked, Desk, outage};
use crate::transport::http::form::{Form, Unreadable};

impl Desk {
    /// Judges and counts as Validate does, of a request without method, path and address: a token that
    /// is restricted to some of those is not active here.
    pub(super) async fn introspect(&self, asked: Asked, body: Body) -> Answer {
        let secret = credential::of_client(&asked.head.headers);
        let shown = match &secret {
            Ok(secret) => Ok(secret.as_ref().map(|secret| secret.as_str())),
            Err(Malformed) => Err(Malformed),
        };
        let authority = &self.setup.authority;
        let session = match self.session(Validate::RPC, &asked, shown).await {
            Ok(session) => session,
            Err(error) => return self.refusal(error),
        };
        let right = match authority.permit::<Validate>(&session) {
            Ok(right) => right,
            Err(error) => return self.refusal(error),
        };
        let form = match Form::of(&asked.head.headers, body).await {
            Ok(form) => form,
            Err(Unreadable(why)) => return invalid(&why),
        };
        let (token, namespaces) = match (form.needed("token"), namespaces(&form, &right)) {
            (Ok(token), Ok(namespaces)) => (token, namespaces),
            (Err(Unreadable(why)), _) | (_, Err(Unreadable(why))) => return invalid(&why),
        };
        let validation = authority
            .validate(&right, token, &question(namespaces))
            .await;
        match right.conclude(validation) {
            Ok(validation) => Answer::of_json(StatusCode::OK, &told(&validation)),
            Err(error) => self.refusal(error),
        }
    }

    /// What is said to somebody who may not ask, or not now.
    fn refusal(&self, error: Error) -> Answer {
        let realm = &self.setup.terms.manner.realm;
        let why = error.to_string();
        match error {
            Error::Unauthenticated(_) => {
                let why = "show a credential that may validate, as Bearer, Basic or a certificate";
                let refused = Answer::error(StatusCode::UNAUTHORIZED, "invalid_client", why);
                let challenge = format!("Bearer realm=\"{realm}\", Basic realm=\"{realm}\"");
                refused.with("www-authenticate", challenge)
            }
            Error::PermissionMissing { .. } => {
                let refused = Answer::error(StatusCode::FORBIDDEN, "insufficient_scope", &why);
                let challenge = format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\"");
                refused.with("www-authenticate", challenge)
            }
            Error::CallerLimited { retry_after, .. }
            | Error::FailuresLimited { retry_after, .. } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Answer::error(status, "temporarily_unavailable", &why).after(retry_after)
            }
            other => outage(&other),
        }
    }
}

/// A form that breaks a rule (RFC 6749, section 5.2).
pub(super) fn invalid(why: &str) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, "invalid_request", why)
}

/// Where the token may live: what the field `namespace` says, else wherever the caller may validate,
/// if that is one namespace or all, else the caller's own.
fn namespaces(form: &Form, right: &Right<Validate>) -> Result<Namespaces, Unreadable> {
    if let Some(named) = form.field("namespace")? {
        let parsed = Namespaces::parse(named);
        return parsed.map_err(|flaw| Unreadable(format!("namespace: {flaw}")));
    }
    Ok(match right.reach() {
        Reach::All => Namespaces::All,
        Reach::Only(only) if only.len() == 1 => only
            .first()
            .cloned()
            .map_or(Namespaces::Own, Namespaces::Named),
        Reach::Only(_) => Namespaces::Own,
    })
}

fn question(namespaces: Namespaces) -> Question {
    Question {
        namespaces,
        request: Request::default(),
        cost: 1,
        dry_run: false,
        consistency: Consistency::Cached,
        user_agent: String::new(),
    }
}

/// The members of RFC 7662, section 2.2, and `namespace`; of a token that is not valid, nothing but
/// that.
fn told(validation: &Validation) -> Value {
    let subject = validation.subject.as_ref();
    let Some(subject) = subject.filter(|_| validation.verdict == Verdict::Valid) else {
        return json!({ "active": false });
    };
    let Identity {
        token_id,
        namespace,
        owner,
        scopes,
        ..
    } = Identity::of(validation);
    let token = subject.about.token();
    let mut told = json!({
        "active": true,
        "scope": scopes.join(" "),
        "jti": token_id,
        "iat": seconds(token.create_time),
        "token_type": "Bearer",
        "namespace": namespace,
    });
    if !owner.is_empty() {
        told["sub"] = owner.into();
    }
    if let Some(end) = end(subject) {
        told["exp"] = seconds(end).into();
    }
    told
}

/// When the presented secret ends, if ever.
fn end(subject: &Subject) -> Option<Timestamp> {
    let of_token = subject.about.token().expire_time;
    of_token.into_iter().chain(subject.credential.until()).min()
}

/// Whole seconds since 1970, never too late.
fn seconds(at: Timestamp) -> u64 {
    at.micros() / 1_000_000
}
