//! What proxies may ask that hold a request: Envoy's ext_authz, and forward-auth over HTTP.

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use serde::Deserialize;
use toml::Value;

use crate::domain::caller::Grants;
use crate::domain::flaw::quoted;
use crate::domain::peers::Peers;
use crate::domain::route::Routes;

use super::listen::{self, Listen, Protection};
use super::{ConfigError, routes, within};

#[cfg(test)]
mod tests;

const CREDENTIAL_HEADERS: &str = "ext_authz.credential_headers";
const FORWARD_LISTEN: &str = "forward_auth.listen";

/// Most headers that may carry a credential.
const CREDENTIAL_HEADERS_MAX: usize = 8;
/// Most proxies in a row.
const HOPS_MAX: i64 = 16;
const REALM_BYTES_MAX: usize = 128;

/// How a held request is judged, whichever proxy holds it; and what is Envoy's alone.
#[derive(Clone, Debug)]
pub struct ExtAuthzConfig {
    /// What may carry the credential of a held request beside `authorization`.
    pub credential_headers: Vec<HeaderName>,
    /// How many entries from the right of x-forwarded-for the client is; 0 for Envoy's own peer.
    pub trusted_hops: usize,
    /// Whose x-forwarded-client-cert says who calls.
    pub certificate_peers: Peers,
    pub reset: Reset,
    /// What `www-authenticate` names; without quotes and backslashes.
    pub realm: String,
    pub routes: Routes,
}

/// How `x-ratelimit-reset` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// As seconds from now.
    Seconds,
    /// As a time (RFC 3339).
    Rfc3339,
}

/// Forward-auth, introspection and revocation over HTTP.
#[derive(Clone, Debug)]
pub struct ForwardAuthConfig {
    /// None for nowhere.
    pub listen: Vec<Listen>,
    /// Who is believed what it says of the requests that it holds.
    pub trusted_peers: Peers,
    /// What trusted peers may do that show no credential of their own; `None` where they need one.
    pub permissions: Option<Grants>,
    /// How many entries from the right of x-forwarded-for the client is.
    pub trusted_hops: usize,
    /// What is answered where a limit is exceeded.
    pub limited: Limited,
}

/// The status of an answer where a limit is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    TooManyRequests,
    /// For nginx, which knows no other.
    Forbidden,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtAuthzTable {
    credential_headers: Vec<Value>,
    trusted_hops: i64,
    certificate_peers: Vec<Value>,
    reset: String,
    realm: String,
    // Read by hand: serde's errors would not say which entry.
    route: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardAuthTable {
    listen: String,
    trusted_peers: Vec<Value>,
    permissions: Vec<Value>,
    trusted_hops: i64,
    limited_status: i64,
}

impl ExtAuthzTable {
    pub(super) fn parse(self) -> Result<ExtAuthzConfig, ConfigError> {
        let Self {
            credential_headers,
            trusted_hops,
            certificate_peers,
            reset,
            realm,
            route,
        } = self;
        Ok(ExtAuthzConfig {
            credential_headers: self::credential_headers(&credential_headers)?,
            trusted_hops: within("ext_authz.trusted_hops", trusted_hops, 0, HOPS_MAX)?,
            certificate_peers: peers("ext_authz.certificate_peers", &certificate_peers)?,
            reset: self::reset(&reset)?,
            realm: self::realm(realm)?,
            routes: routes::parse(route)?,
        })
    }
}

impl ForwardAuthTable {
    /// `elsewhere` is where others listen.
    pub(super) fn parse(
        self,
        protection: Protection,
        elsewhere: &[Listen],
    ) -> Result<ForwardAuthConfig, ConfigError> {
        let Self {
            listen,
            trusted_peers,
            permissions,
            trusted_hops,
            limited_status,
        } = self;
        let listen = match listen.as_str() {
            "" => Vec::new(),
            listen => listen::places(FORWARD_LISTEN, listen, protection)?,
        };
        if let Some(taken) = listen
            .iter()
            .find_map(|place| listen::met(elsewhere, place))
        {
            let why = format!("{taken} is taken by another listener; name another place");
            return Err(ConfigError::key(FORWARD_LISTEN, why));
        }
        Ok(ForwardAuthConfig {
            listen,
            trusted_peers: peers("forward_auth.trusted_peers", &trusted_peers)?,
            permissions: self::permissions(&permissions)?,
            trusted_hops: within("forward_auth.trusted_hops", trusted_hops, 1, HOPS_MAX)?,
            limited: limited(limited_status)?,
        })
    }
}

fn credential_headers(values: &[Value]) -> Result<Vec<HeaderName>, ConfigError> {
    if values.len() > CREDENTIAL_HEADERS_MAX {
        let (most, got) = (CREDENTIAL_HEADERS_MAX, values.len());
        let why = format!("at most {most} are allowed; got {got}");
        return Err(ConfigError::key(CREDENTIAL_HEADERS, why));
    }
    let mut names: Vec<HeaderName> = Vec::new();
    for (place, text) in texts(CREDENTIAL_HEADERS, values)? {
        let refuse = |why: &str| {
            Err(ConfigError::key(
                &place,
                format!("{why}; got {}", quoted(text)),
            ))
        };
        let Ok(name) = text.parse::<HeaderName>() else {
            return refuse("must be the name of a header, such as \"x-api-key\"");
        };
        if [AUTHORIZATION, COOKIE, HOST].contains(&name) {
            return refuse(
                "may not be \"authorization\", which is always read, \"cookie\" or \"host\"",
            );
        }
        if names.contains(&name) {
            return refuse("is there twice");
        }
        names.push(name);
    }
    Ok(names)
}

fn peers(key: &str, values: &[Value]) -> Result<Peers, ConfigError> {
    let texts: Vec<&str> = texts(key, values)?
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    Peers::parse(&texts).map_err(|(at, flaw)| match at {
        Some(at) => ConfigError::key(&format!("{key}[{at}]"), flaw),
        None => ConfigError::key(key, flaw),
    })
}

fn permissions(values: &[Value]) -> Result<Option<Grants>, ConfigError> {
    let key = "forward_auth.permissions";
    let texts = texts(key, values)?
        .into_iter()
        .map(|(_, text)| text.to_owned());
    let texts: Vec<String> = texts.collect();
    if let Some(other) = texts
        .iter()
        .find(|text| text.split('@').next() != Some("validate"))
    {
        let why = "must be \"validate\", alone or with \"@<namespace>\" or \"@*\"; got";
        return Err(ConfigError::key(key, format!("{why} {}", quoted(other))));
    }
    let grants = Grants::of_configuration(&texts).map_err(|flaw| ConfigError::key(key, flaw))?;
    Ok((!texts.is_empty()).then_some(grants))
}

/// Each text of a list, and where it stands.
fn texts<'a>(key: &str, values: &'a [Value]) -> Result<Vec<(String, &'a str)>, ConfigError> {
    let text = |(at, value): (usize, &'a Value)| {
        let place = format!("{key}[{at}]");
        match value.as_str() {
            Some(text) => Ok((place, text)),
            None => Err(ConfigError::key(&place, "must be a string")),
        }
    };
    values.iter().enumerate().map(text).collect()
}

fn reset(text: &str) -> Result<Reset, ConfigError> {
    match text {
        "seconds" => Ok(Reset::Seconds),
        "rfc3339" => Ok(Reset::Rfc3339),
        other => {
            let why = format!("must be \"seconds\" or \"rfc3339\"; got {}", quoted(other));
            Err(ConfigError::key("ext_authz.reset", why))
        }
    }
}

fn realm(text: String) -> Result<String, ConfigError> {
    let sound = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if (1..=REALM_BYTES_MAX).contains(&text.len()) && text.bytes().all(sound) {
        return Ok(text);
    }
    let why = "must be 1 to 128 visible ASCII characters or spaces without '\"' and '\\'; got";
    Err(ConfigError::key(
        "ext_authz.realm",
        format!("{why} {}", quoted(&text)),
    ))
}

fn limited(status: i64) -> Result<Limited, ConfigError> {
    match status {
        429 => Ok(Limited::TooManyRequests),
        403 => Ok(Limited::Forbidden),
        other => {
            let why = format!("must be 429 or 403; got {other}");
            Err(ConfigError::key("forward_auth.limited_status", why))
        }
    }
}
