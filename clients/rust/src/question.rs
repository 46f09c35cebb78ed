//! From an incoming call to the question that is asked about it; nothing here speaks to anybody.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use http::{Extensions, HeaderMap};
use sha2::{Digest, Sha256};
use tonic::{Status, transport::server::TcpConnectInfo};

use crate::{pb::ValidateRequest, policy::Policy, refusal};

const SECRET_BYTES_MAX: usize = 512;
const USER_AGENT_BYTES_MAX: usize = 512;

/// Names a question in the cache.
pub(crate) type Key = [u8; 32];

/// The question about a call of a full method, or why none need be asked.
pub(crate) fn about(
    method: &str,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
    policy: &Policy,
) -> Result<ValidateRequest, Status> {
    let Some(required_scopes) = (policy.scopes)(method) else {
        return Err(refusal::scope_denied());
    };
    let secrets = secrets(headers);
    let [secret] = secrets.iter().collect::<Vec<_>>()[..] else {
        return Err(refusal::no_credential());
    };
    if secret.len() > SECRET_BYTES_MAX {
        return Err(refusal::malformed());
    }
    let agent = headers
        .get(http::header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    Ok(ValidateRequest {
        secret: (*secret).to_owned(),
        namespace: policy.namespace.clone(),
        required_scopes,
        method: "POST".to_owned(),
        path: method.to_owned(),
        client_ip: peer.map_or_else(String::new, |peer| peer.ip().to_canonical().to_string()),
        // Headers that are text are ASCII.
        user_agent: agent.map_or_else(String::new, |agent| {
            agent[..agent.len().min(USER_AGENT_BYTES_MAX)].to_owned()
        }),
        ..ValidateRequest::default()
    })
}

/// SHA-256 of the secret and of everything that is judged, each part with its length before it.
pub(crate) fn key_of(question: &ValidateRequest) -> Key {
    let parts = [
        &question.secret,
        &question.namespace,
        &question.owner,
        &question.method,
        &question.path,
        &question.client_ip,
    ];
    let mut digest = Sha256::new();
    for part in parts.into_iter().chain(&question.required_scopes) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// The peer's address; tokens bound to networks do not pass where there is none, as on a Unix socket.
pub(crate) fn peer_of(extensions: &Extensions) -> Option<SocketAddr> {
    let tcp = extensions.get::<TcpConnectInfo>();
    #[cfg(feature = "tls")]
    let tcp = tcp.or_else(|| {
        let tls = extensions.get::<tonic::transport::server::TlsConnectInfo<TcpConnectInfo>>();
        tls.map(tonic::transport::server::TlsConnectInfo::get_ref)
    });
    tcp.and_then(TcpConnectInfo::remote_addr)
}

/// How long the judged call may still take, as its client said (`grpc-timeout`).
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = said.split_at_checked(said.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn secrets(headers: &HeaderMap) -> BTreeSet<&str> {
    let keys = headers.get_all("x-api-key").into_iter();
    let keys = keys.filter_map(|value| value.to_str().ok()).map(str::trim);
    let bearers = headers.get_all(http::header::AUTHORIZATION).into_iter();
    let bearers = bearers
        .filter_map(|value| value.to_str().ok())
        .filter_map(|value| {
            let (scheme, secret) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        });
    keys.chain(bearers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_judged_makes_another_key() {
        let asked = || ValidateRequest {
            secret: "s".into(),
            namespace: "n".into(),
            ..ValidateRequest::default()
        };
        let scoped = |scopes: &[&str]| ValidateRequest {
            required_scopes: scopes.iter().map(ToString::to_string).collect(),
            ..asked()
        };
        let other = || "other".to_owned();
        let questions = [
            asked(),
            ValidateRequest {
                secret: other(),
                ..asked()
            },
            ValidateRequest {
                secret: String::new(),
                namespace: "sn".into(),
                ..asked()
            },
            ValidateRequest {
                owner: other(),
                ..asked()
            },
            ValidateRequest {
                method: other(),
                ..asked()
            },
            ValidateRequest {
                path: other(),
                ..asked()
            },
            ValidateRequest {
                client_ip: other(),
                ..asked()
            },
            scoped(&["x"]),
            scoped(&["x", "y"]),
            scoped(&["xy"]),
        ];
        let keys: BTreeSet<_> = questions.iter().map(key_of).collect();
        assert_eq!(keys.len(), questions.len());
    }

    #[test]
    fn a_timeout_is_read_in_each_unit_and_nonsense_is_none() {
        for (said, read) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("20S", Some(Duration::from_secs(20))),
            ("250m", Some(Duration::from_millis(250))),
            ("9n", Some(Duration::from_nanos(9))),
            ("S", None),
            ("", None),
            ("1x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", said.parse().expect("a header"));
            assert_eq!(timeout_of(&headers), read, "{said}");
        }
    }
}
