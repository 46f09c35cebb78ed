//! Names that people and programs give: namespaces, pools, owners, labels, texts.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::flaw::{Flaw, quoted};

/// A tenant's name: 1 to 63 of `a-z`, `0-9`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        if text == "-" {
            return Err(Flaw::new(
                r#""-" stands for all namespaces and is not accepted here"#,
            ));
        }
        lower_dashed(text).map(|text| Self(text.into()))
    }

    /// The namespace of root callers that name none.
    pub fn fallback() -> Self {
        Self("default".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Compares as its text does.
impl Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pool's name within a namespace: 1 to 63 of `a-z`, `0-9`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName(String);

impl PoolName {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        lower_dashed(text).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose a token is: 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

impl Owner {
    pub const BYTES_MAX: usize = 128;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        printable_bytes(text, Self::BYTES_MAX).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Free text about a token of at most `CHARS_MAX` characters, possibly empty, with line breaks and
/// tabs if it may have `LINES`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text<const CHARS_MAX: usize, const LINES: bool = false>(String);

/// A token's short name.
pub type TokenName = Text<128>;
/// A token's longer text.
pub type Description = Text<1024, true>;
/// Why a token was revoked.
pub type Reason = Text<256>;

impl<const CHARS_MAX: usize, const LINES: bool> Text<CHARS_MAX, LINES> {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let chars = text.chars().count();
        if chars > CHARS_MAX {
            return Err(Flaw::new(format!(
                "has {chars} characters; at most {CHARS_MAX} are allowed"
            )));
        }
        let allowed = |c: char| !c.is_control() || (LINES && matches!(c, '\n' | '\t'));
        match text.chars().find(|c| !allowed(*c)) {
            Some(control) => Err(Flaw::new(format!(
                "contains the control character {control:?}"
            ))),
            None => Ok(Self(text.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Key-value pairs of a token: at most 32; keys of 1 to 63 of `a-z A-Z 0-9 . _ / -`, values of at
/// most 256 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    pub const COUNT_MAX: usize = 32;
    const KEY_BYTES_MAX: usize = 63;

    /// Parses all pairs and answers every flaw, each with the quoted key it belongs to; that is
    /// empty for a flaw of the whole.
    pub fn parse<'a>(
        pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<(String, Flaw)>> {
        let count = pairs.len();
        if count > Self::COUNT_MAX {
            let flaw = format!(
                "has {count} entries; at most {} are allowed",
                Self::COUNT_MAX
            );
            return Err(vec![(String::new(), Flaw::new(flaw))]);
        }
        let mut labels = BTreeMap::new();
        let mut flaws = Vec::new();
        for (key, value) in pairs {
            if let Err(flaw) = Self::check(key, value) {
                flaws.push((quoted(key), flaw));
            }
            labels.insert(key.to_owned(), value.to_owned());
        }
        if flaws.is_empty() {
            Ok(Self(labels))
        } else {
            Err(flaws)
        }
    }

    fn check(key: &str, value: &str) -> Result<(), Flaw> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
        if key.is_empty() || key.len() > Self::KEY_BYTES_MAX || !key.bytes().all(known) {
            return Err(Flaw::new(format!(
                "the key {} must be 1 to {} of a-z, A-Z, 0-9, '.', '_', '/', '-'",
                quoted(key),
                Self::KEY_BYTES_MAX
            )));
        }
        Text::<256>::parse(value).map(drop)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// Whether these labels hold every pair of `wanted`.
    pub fn contain(&self, wanted: &Labels) -> bool {
        wanted
            .iter()
            .all(|(key, value)| self.0.get(key).is_some_and(|have| have == value))
    }
}

/// A caller's name for a request, for idempotency or tracing: 1 to 128 bytes without control
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        printable_bytes(text, 128).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn lower_dashed(text: &str) -> Result<String, Flaw> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(known) {
        return Err(Flaw::new(format!(
            "must be 1 to 63 of a-z, 0-9, '-'; got {}",
            quoted(text)
        )));
    }
    Ok(text.to_owned())
}

fn printable_bytes(text: &str, bytes_max: usize) -> Result<String, Flaw> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(Flaw::new(format!(
            "has {} bytes; 1 to {bytes_max} are allowed",
            text.len()
        )));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(control) => Err(Flaw::new(format!(
            "contains the control character {control:?}"
        ))),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_could_break_a_key_is_refused() {
        for bad in [
            "",
            "-",
            "Upper",
            "a b",
            "a{b}",
            "a:b",
            "ä",
            "a\0",
            &"n".repeat(64),
        ] {
            assert!(Namespace::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Namespace::parse(&"n".repeat(63)).is_ok());
    }

    #[test]
    fn all_bad_labels_are_named() {
        let flaws = Labels::parse([("ok", "1"), ("b ad", "2"), ("", "3")].into_iter()).unwrap_err();
        assert_eq!(flaws.len(), 2);
    }

    #[test]
    fn labels_match_when_all_wanted_pairs_are_there() {
        let have = Labels::parse([("a", "1"), ("b", "2")].into_iter()).unwrap();
        let wanted = |pairs: &[(&str, &str)]| Labels::parse(pairs.iter().copied()).unwrap();
        assert!(have.contain(&wanted(&[])));
        assert!(have.contain(&wanted(&[("b", "2")])));
        assert!(!have.contain(&wanted(&[("a", "1"), ("b", "3")])));
    }

    #[test]
    fn only_descriptions_may_have_lines() {
        assert!(Description::parse("two\nlines").is_ok());
        assert!(TokenName::parse("two\nlines").is_err());
    }
}
