//! Forms that are posted: `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use tonic::body::Body;
use zeroize::Zeroizing;

/// How much of a form is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Longest form, in bytes.
    pub(super) bytes: usize,
    /// Most fields.
    pub(super) fields: usize,
}

/// For forms that hold a secret and little else.
const SMALL: Bounds = Bounds {
    bytes: 8 << 10,
    fields: 16,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// What was posted. It holds a secret: it is never shown, and wiped when it is dropped.
pub(super) struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

/// Why a form was not read; for whoever sent it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) String);

impl Form {
    /// Reads the body of a request, a small one.
    pub(super) async fn of(headers: &HeaderMap, body: Body) -> Result<Self, Unreadable> {
        Self::within(SMALL, headers, body).await
    }

    /// The same within other bounds.
    pub(super) async fn within(
        bounds: Bounds,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, Unreadable> {
        if !is_form(headers) {
            return Err(Unreadable(format!("content-type must be {FORM}")));
        }
        let body = axum::body::Body::new(body);
        let bytes = axum::body::to_bytes(body, bounds.bytes)
            .await
            .map_err(|_| {
                Unreadable(format!(
                    "the body did not come whole, or is longer than {} bytes",
                    bounds.bytes
                ))
            })?;
        Self::parse(&bytes, bounds)
    }

    /// Reads what is written as a form is, such as the query of a page.
    pub(super) fn parse(bytes: &[u8], bounds: Bounds) -> Result<Self, Unreadable> {
        let mut fields = Vec::new();
        for field in bytes.split(|byte| *byte == b'&') {
            if field.is_empty() {
                continue;
            }
            if fields.len() == bounds.fields {
                return Err(Unreadable(format!(
                    "more than {} fields are given",
                    bounds.fields
                )));
            }
            let end = field.iter().position(|byte| *byte == b'=');
            let (name, value) = field.split_at(end.unwrap_or(field.len()));
            let value = value.get(1..).unwrap_or_default();
            let decoded = decoded(name).zip(decoded(value));
            let why = || Unreadable("a field is not percent-encoded UTF-8".to_owned());
            fields.push(decoded.ok_or_else(why)?);
        }
        Ok(Self(fields))
    }

    /// The value of a field; empty ones count as absent, and none may be there twice (RFC 6749,
    /// section 3.2).
    pub(super) fn field(&self, name: &str) -> Result<Option<&str>, Unreadable> {
        let mut values = self.0.iter().filter(|(own, _)| own.as_str() == name);
        let value = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            Some(_) => Err(Unreadable(format!("{name} is given more than once"))),
            None => Ok(value.filter(|value| !value.is_empty())),
        }
    }

    /// All values of a field that may be there several times, but for empty ones.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(own, _)| own.as_str() == name);
        let values = values.map(|(_, value)| value.as_str());
        values.filter(|value| !value.is_empty())
    }

    /// The first value of a field; empty where there is none.
    pub(super) fn text<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// The same of one that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Unreadable> {
        let missing = || Unreadable(format!("{name} must be given"));
        self.field(name)?.ok_or_else(missing)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = given.and_then(|given| given.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
}

fn decoded(text: &[u8]) -> Option<Zeroizing<String>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    let text = std::str::from_utf8(&decoded).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(text: &str) -> Result<Form, Unreadable> {
        Form::parse(text.as_bytes(), SMALL)
    }

    #[test]
    fn fields_are_decoded() {
        let form = form("token=ta_a%2Bb+c&&token_type_hint=access_token&empty=&alone")
            .ok()
            .unwrap();
        assert_eq!(form.needed("token"), Ok("ta_a+b c"));
        assert_eq!(form.field("token_type_hint"), Ok(Some("access_token")));
        for absent in ["empty", "alone", "other"] {
            assert_eq!(form.field(absent), Ok(None), "{absent}");
        }
        assert!(
            form.needed("other")
                .unwrap_err()
                .0
                .contains("other must be given")
        );
    }

    #[test]
    fn a_field_twice_or_an_encoding_that_is_none_is_refused() {
        let twice = form("token=a&t%6Fken=a").ok().unwrap();
        assert!(
            twice
                .field("token")
                .unwrap_err()
                .0
                .contains("more than once")
        );
        for wrong in ["token=%", "token=%4", "token=%zz", "token=%ff", "%ff=a"] {
            assert!(form(wrong).is_err(), "{wrong}");
        }
        assert!(form(&"a=b&".repeat(SMALL.fields)).is_ok());
        assert!(form(&"a=b&".repeat(SMALL.fields + 1)).is_err());
    }

    #[test]
    fn an_error_never_shows_what_was_given() {
        let error = form("token=canary%ff").err().unwrap();
        assert!(!error.0.contains("canary"));
    }

    #[tokio::test]
    async fn only_forms_of_some_size_are_read() {
        let posted = async |kind: &str, bytes: usize| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            let body = Body::new(axum::body::Body::from("x".repeat(bytes)));
            Form::of(&headers, body).await
        };
        assert!(
            posted(
                "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
                SMALL.bytes
            )
            .await
            .is_ok()
        );
        assert!(posted(FORM, SMALL.bytes + 1).await.is_err());
        assert!(posted("application/json", 1).await.is_err());
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(text in ".{0,200}") {
            if let Ok(form) = form(&text) {
                let _ = form.field("token");
            }
        }

        #[test]
        fn what_is_encoded_is_read_back(value in "\\PC{1,40}") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let form = form(&format!("token={encoded}")).ok().unwrap();
            prop_assert_eq!(form.needed("token"), Ok(value.as_str()));
        }
    }
}
