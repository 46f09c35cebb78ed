//! The one credential among the headers of a held request.

use http::{HeaderMap, HeaderName, header};

/// Headers, whatever form they came in.
pub(in crate::transport) trait Fields {
    /// The values of a header in their order. One value may be several that were joined by commas.
    fn values<'a>(&'a self, name: &HeaderName) -> Box<dyn Iterator<Item = &'a [u8]> + 'a>;
}

impl Fields for HeaderMap {
    fn values<'a>(&'a self, name: &HeaderName) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(self.get_all(name).iter().map(|value| value.as_bytes()))
    }
}

/// What of a held request may be a secret of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Credential<'a> {
    None,
    /// As it came; empty where it cannot be text. Both are judged, and found to be none of ours.
    One(&'a str),
    /// Two different ones, or one beside another scheme's. Whoever takes one of them does not
    /// know which the upstream takes.
    Conflict,
}

/// Never what it is.
impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::One(_) => "One(redacted)",
            Self::Conflict => "Conflict",
        })
    }
}

/// The credential in `authorization: Bearer <secret>` (RFC 6750, section 2.1; the scheme in any case)
/// and in the `named` headers, where the whole value is the secret. The same one more than once is
/// one.
///
/// Values that were joined by commas are taken apart, as no secret has a comma. An `authorization`
/// of other schemes alone is none of ours.
pub(in crate::transport) fn credential<'a>(
    headers: &'a dyn Fields,
    named: &[HeaderName],
) -> Credential<'a> {
    let authorization: Vec<&[u8]> = pieces(headers, &header::AUTHORIZATION).collect();
    let has_bearer = authorization.iter().any(|piece| bearer(piece).is_some());
    let mut found = Credential::None;
    for piece in authorization.into_iter().filter(|_| has_bearer) {
        found = match bearer(piece) {
            Some(secret) => found.and(secret),
            None => Credential::Conflict,
        };
    }
    let named = named.iter().filter(|name| **name != header::AUTHORIZATION);
    for secret in named.flat_map(|name| pieces(headers, name)) {
        found = found.and(secret);
    }
    found
}

impl<'a> Credential<'a> {
    fn and(self, secret: &'a [u8]) -> Self {
        let secret = std::str::from_utf8(secret).unwrap_or_default();
        match self {
            Self::None => Self::One(secret),
            Self::One(first) if first == secret => self,
            Self::One(_) | Self::Conflict => Self::Conflict,
        }
    }
}

/// What stands between commas, without the space around it; nothing of empty ones.
fn pieces<'a>(headers: &'a dyn Fields, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.values(name);
    values
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|piece| !piece.is_empty())
}

/// What follows the scheme, if that is Bearer.
fn bearer(piece: &[u8]) -> Option<&[u8]> {
    let end = piece.iter().position(u8::is_ascii_whitespace);
    let (scheme, rest) = piece.split_at(end.unwrap_or(piece.len()));
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::from_bytes(value).unwrap())
        });
        pairs.collect()
    }

    fn appended(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn found(pairs: &[(&str, &str)]) -> Result<Option<String>, ()> {
        let keys = ["x-api-key", "x-token"].map(HeaderName::from_static);
        match credential(&appended(pairs), &keys) {
            Credential::None => Ok(None),
            Credential::One(secret) => Ok(Some(secret.to_owned())),
            Credential::Conflict => Err(()),
        }
    }

    fn one(secret: &str) -> Result<Option<String>, ()> {
        Ok(Some(secret.to_owned()))
    }

    #[test]
    fn either_header_carries_it_and_the_scheme_may_be_written_in_any_case() {
        assert_eq!(found(&[]), Ok(None));
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
            assert_eq!(
                found(&[("authorization", &format!("{scheme} s"))]),
                one("s")
            );
        }
        assert_eq!(found(&[("authorization", "Bearer   s ")]), one("s"));
        assert_eq!(found(&[("authorization", "Bearer\ts")]), one("s"));
        assert_eq!(found(&[("x-api-key", "s")]), one("s"));
        assert_eq!(found(&[("x-token", " s")]), one("s"));
        assert_eq!(found(&[("x-other", "s")]), Ok(None));
    }

    #[test]
    fn the_same_twice_is_one_and_two_different_ones_conflict() {
        assert_eq!(
            found(&[("x-api-key", "s"), ("authorization", "Bearer s")]),
            one("s")
        );
        assert_eq!(found(&[("authorization", "Bearer s,bearer s")]), one("s"));
        assert_eq!(found(&[("x-api-key", "s,"), ("x-api-key", "s")]), one("s"));
        for two in [
            &[("x-api-key", "a"), ("authorization", "Bearer b")][..],
            &[("x-api-key", "a"), ("x-token", "b")],
            &[("x-api-key", "a"), ("x-api-key", "b")],
            &[("x-api-key", "a,b")],
            &[("authorization", "Bearer a,Bearer b")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("authorization", "Bearer a, b")],
            &[("authorization", "Bearer a,Bearer")],
            &[("authorization", "Bearer"), ("x-api-key", "a")],
        ] {
            assert_eq!(found(two), Err(()), "{two:?}");
        }
    }

    #[test]
    fn another_scheme_is_none_of_ours_unless_it_comes_beside_a_bearer() {
        assert_eq!(found(&[("authorization", "Basic czpz")]), Ok(None));
        assert_eq!(
            found(&[("authorization", "Basic czpz"), ("x-api-key", "s")]),
            one("s")
        );
        assert_eq!(found(&[("authorization", "s")]), Ok(None));
        assert_eq!(found(&[("authorization", "Basic czpz, Bearer s")]), Err(()));
        assert_eq!(
            found(&[
                ("authorization", "Bearer s"),
                ("authorization", "Basic czpz")
            ]),
            Err(())
        );
    }

    #[test]
    fn what_is_no_text_is_a_credential_all_the_same() {
        assert_eq!(found(&[("authorization", "Bearer")]), one(""));
        let keys = [HeaderName::from_static("x-api-key")];
        let odd = headers(&[("x-api-key", b"\xff\xfe")]);
        assert_eq!(credential(&odd, &keys), Credential::One(""));
    }

    #[test]
    fn authorization_named_among_the_headers_stays_what_it_is() {
        let bearer = appended(&[("authorization", "Bearer s")]);
        let named = [header::AUTHORIZATION];
        assert_eq!(credential(&bearer, &named), Credential::One("s"));
    }

    proptest! {
        /// However a proxy hands on several headers of one name, joined or each by itself.
        #[test]
        fn joined_values_are_read_as_those_that_come_apart(
            values in proptest::collection::vec("(Bearer|bearer|Basic|) ?[a-c]{0,2}", 0..4),
            keys in proptest::collection::vec("[a-c]{0,2}", 0..3),
        ) {
            let own = |name: &'static str, values: &[String]| -> Vec<(&'static str, String)> {
                values.iter().map(|value| (name, value.clone())).collect()
            };
            let apart = [own("authorization", &values), own("x-api-key", &keys)].concat();
            let joined = [("authorization", values.join(",")), ("x-api-key", keys.join(","))];
            let read = |pairs: &[(&str, String)]| {
                let pairs: Vec<(&str, &str)> =
                    pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
                found(&pairs)
            };
            prop_assert_eq!(read(&apart), read(&joined));
        }

        #[test]
        fn rubbish_never_panics(values in proptest::collection::vec("[ -~]{0,40}", 0..4)) {
            let pairs: Vec<(&str, &str)> =
                values.iter().map(|value| ("authorization", value.as_str())).collect();
            let _ = found(&pairs);
        }
    }
}
