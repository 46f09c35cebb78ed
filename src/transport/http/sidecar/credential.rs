//! What callers show of themselves over HTTP: `authorization: Bearer` or `Basic`, or x-authority-token.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Where a proxy shows its own credential, as `authorization` is that of the request it holds.
pub(super) const AUTHORITY_TOKEN: HeaderName = HeaderName::from_static("x-authority-token");

/// What is shown is of no form that is known, or there are two.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Secret = Zeroizing<String>;

/// The secret of `authorization: Bearer <secret>` (RFC 6750), or the password of `Basic` (RFC 7617;
/// the user says nothing); the schemes in any case.
pub(super) fn of_client(headers: &HeaderMap) -> Result<Option<Secret>, Malformed> {
    let Some(value) = only(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    let (scheme, shown) = value.split_once(' ').ok_or(Malformed)?;
    let shown = shown.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return given(Zeroizing::new(shown.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return given(password(shown).ok_or(Malformed)?);
    }
    Err(Malformed)
}

/// The secret that a proxy shows of itself.
pub(super) fn of_proxy(headers: &HeaderMap) -> Result<Option<Secret>, Malformed> {
    let value = only(headers, &AUTHORITY_TOKEN)?;
    let secret = value.map(|value| given(Zeroizing::new(value.trim().to_owned())));
    Ok(secret.transpose()?.flatten())
}

fn given(secret: Secret) -> Result<Option<Secret>, Malformed> {
    match secret.is_empty() {
        true => Err(Malformed),
        false => Ok(Some(secret)),
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let value = values
        .next()
        .map(|value| value.to_str().map_err(|_| Malformed));
    match values.next() {
        Some(_) => Err(Malformed),
        None => value.transpose(),
    }
}

fn password(encoded: &str) -> Option<Secret> {
    let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn shown(values: &[&str]) -> Result<Option<String>, Malformed> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        of_client(&headers).map(|secret| secret.map(|secret| secret.to_string()))
    }

    #[test]
    fn bearer_and_basic_show_a_secret() {
        assert_eq!(shown(&[]), Ok(None));
        assert_eq!(shown(&["Bearer s"]), Ok(Some("s".into())));
        assert_eq!(shown(&["bEARER  s"]), Ok(Some("s".into())));
        assert_eq!(shown(&["Basic dXNlcjpz"]), Ok(Some("s".into())));
        assert_eq!(shown(&["basic OmE6Yg=="]), Ok(Some("a:b".into())));
        for wrong in [
            "s",
            "Bearer",
            "Bearer ",
            "Basic s",
            "Basic dXNlcg==",
            "Basic dXNlcjo=",
            "Digest s",
        ] {
            assert_eq!(shown(&[wrong]), Err(Malformed), "{wrong}");
        }
        assert_eq!(shown(&["Bearer s", "Bearer s"]), Err(Malformed));
    }

    #[test]
    fn a_proxy_shows_its_own() {
        let mut headers = HeaderMap::new();
        assert_eq!(of_proxy(&headers), Ok(None));
        headers.insert(AUTHORITY_TOKEN, HeaderValue::from_static(" s "));
        assert_eq!(of_proxy(&headers).unwrap().unwrap().as_str(), "s");
        headers.append(AUTHORITY_TOKEN, HeaderValue::from_static("t"));
        assert_eq!(of_proxy(&headers), Err(Malformed));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(value in "[ -~]{0,60}") {
            let _ = shown(&[&value]);
        }
    }
}
