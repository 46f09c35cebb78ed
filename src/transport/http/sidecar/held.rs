//! The request that a proxy holds, as it tells of it in headers.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};

use crate::domain::flaw::Flaw;
use crate::transport::sidecar::forwarded;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How a family of proxies names what it tells.
struct Family {
    method: HeaderName,
    uri: HeaderName,
    host: HeaderName,
}

/// Caddy and Traefik.
const FORWARDED: Family = Family {
    method: HeaderName::from_static("x-forwarded-method"),
    uri: HeaderName::from_static("x-forwarded-uri"),
    host: HeaderName::from_static("x-forwarded-host"),
};

/// nginx, by convention.
const ORIGINAL: Family = Family {
    method: HeaderName::from_static("x-original-method"),
    uri: HeaderName::from_static("x-original-uri"),
    host: HeaderName::from_static("x-original-host"),
};

/// A request, before it is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held<'a> {
    pub(super) method: &'a str,
    /// As it came: percent-encoded, perhaps with a query.
    pub(super) target: &'a str,
    /// Empty where the proxy does not tell.
    pub(super) host: &'a str,
    /// `None` where the proxy does not tell.
    pub(super) client: Option<IpAddr>,
}

/// Reads what the proxy tells.
///
/// Proxies hand on the headers of their clients, too. So which family counts must not be the client's
/// choice: a target in both is an error, and the method and the host are taken from the family of the
/// target alone. Nothing may be told twice.
pub(super) fn read(headers: &HeaderMap, hops: usize) -> Result<Held<'_>, Flaw> {
    let (family, target) = match (one(headers, &FORWARDED.uri)?, one(headers, &ORIGINAL.uri)?) {
        (Some(target), None) => (&FORWARDED, target),
        (None, Some(target)) => (&ORIGINAL, target),
        (Some(_), Some(_)) => {
            let why = "x-forwarded-uri and x-original-uri are both given; the proxy must set one, and \
                       clear the other";
            return Err(Flaw::new(why));
        }
        (None, None) => {
            let why = "x-forwarded-uri or x-original-uri must be given; the proxy does not tell what \
                       is asked for";
            return Err(Flaw::new(why));
        }
    };
    let method = one(headers, &family.method)?;
    let method = method.ok_or_else(|| {
        Flaw::new(format!(
            "{} must be given beside {}",
            family.method, family.uri
        ))
    })?;
    Ok(Held {
        method,
        target,
        host: one(headers, &family.host)?.unwrap_or_default(),
        client: client(headers, hops)?,
    })
}

fn client(headers: &HeaderMap, hops: usize) -> Result<Option<IpAddr>, Flaw> {
    let values = headers.get_all(FORWARDED_FOR).iter();
    let values = values.map(|value| value.to_str().map_err(|_| unreadable(&FORWARDED_FOR)));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    match values.is_empty() {
        true => Ok(None),
        false => forwarded::client(None, &values, hops),
    }
}

/// The only value of a header, if it is there.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Flaw> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Flaw::new(format!("{name} is given more than once")));
    }
    value.to_str().map(Some).map_err(|_| unreadable(name))
}

fn unreadable(name: &HeaderName) -> Flaw {
    Flaw::new(format!("{name} must be visible ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn both_families_are_read() {
        for family in ["forwarded", "original"] {
            let names = ["method", "uri", "host"].map(|part| format!("x-{family}-{part}"));
            let mut told = HeaderMap::new();
            for (name, value) in names.iter().zip(["GET", "/a?b=c", "shop.example.org"]) {
                let name: HeaderName = name.parse().unwrap();
                told.insert(name, HeaderValue::from_static(value));
            }
            told.insert(
                FORWARDED_FOR,
                HeaderValue::from_static("6.6.6.6, 192.0.2.7"),
            );
            let held = Held {
                method: "GET",
                target: "/a?b=c",
                host: "shop.example.org",
                client: "192.0.2.7".parse().ok(),
            };
            assert_eq!(read(&told, 1), Ok(held));
        }
    }

    #[test]
    fn a_client_cannot_choose_which_family_counts() {
        let own = [
            ("x-original-method", "DELETE"),
            ("x-original-uri", "/admin"),
        ];
        let sent = [("x-forwarded-method", "GET"), ("x-forwarded-host", "other")];
        let held = headers(&[own, sent].concat());
        let held = read(&held, 1).unwrap();
        assert_eq!(
            (held.method, held.target, held.host),
            ("DELETE", "/admin", "")
        );
        let both = headers(&[&own[..], &[("x-forwarded-uri", "/admin")]].concat());
        assert!(read(&both, 1).is_err());
    }

    #[test]
    fn what_is_missing_or_told_twice_is_refused() {
        for (told, why) in [
            (&[][..], "must be given"),
            (
                &[("x-original-uri", "/")],
                "x-original-method must be given",
            ),
            (
                &[("x-original-uri", "/"), ("x-forwarded-method", "GET")],
                "x-original-method must",
            ),
            (
                &[
                    ("x-original-uri", "/"),
                    ("x-original-method", "GET"),
                    ("x-original-method", "GET"),
                ],
                "more than once",
            ),
            (
                &[("x-original-uri", "/"), ("x-original-uri", "/")],
                "more than once",
            ),
            (
                &[
                    ("x-original-uri", "/"),
                    ("x-original-method", "GET"),
                    ("x-forwarded-for", "me"),
                ],
                "must be an address",
            ),
        ] {
            let flaw = read(&headers(told), 1).unwrap_err().to_string();
            assert!(flaw.contains(why), "{told:?}: {flaw}");
        }
        let mut odd = headers(&[("x-original-method", "GET")]);
        odd.insert("x-original-uri", HeaderValue::from_bytes(b"/\xff").unwrap());
        assert!(read(&odd, 1).is_err());
    }

    #[test]
    fn without_x_forwarded_for_the_client_has_no_address() {
        let told = headers(&[("x-original-uri", "/"), ("x-original-method", "GET")]);
        assert_eq!(read(&told, 1).unwrap().client, None);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(
            pairs in proptest::collection::vec((0usize..7, "[ -~]{0,30}"), 0..8),
        ) {
            const NAMES: [&str; 7] = [
                "x-original-uri", "x-original-method", "x-original-host", "x-forwarded-uri",
                "x-forwarded-method", "x-forwarded-host", "x-forwarded-for",
            ];
            let pairs: Vec<(&'static str, &str)> =
                pairs.iter().map(|(at, value)| (NAMES[*at], value.as_str())).collect();
            let _ = read(&headers(&pairs), 2);
        }
    }
}
