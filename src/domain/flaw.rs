//! What is wrong with one given value, in words that name the limit and the value.

use std::fmt;

/// Why a value was not accepted.
///
/// The text names the limit and the offending value, so that a person can mend it. It never
/// quotes a secret. Which field the value came from is known to whoever parsed the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw(String);

/// Longest part of an offending value that an error repeats, in characters.
const QUOTE_CHARS_MAX: usize = 64;

/// A run of this many letters and digits may be a secret that stands in the wrong field.
const SECRET_RUN_CHARS: usize = 32;

impl Flaw {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Flaw {}

/// All that is wrong with a request, each flaw with the field it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<(String, Flaw)>);

impl Violations {
    /// One violation.
    pub fn one(field: impl Into<String>, flaw: Flaw) -> Self {
        Self(vec![(field.into(), flaw)])
    }

    pub fn add(&mut self, field: impl Into<String>, flaw: Flaw) {
        self.0.push((field.into(), flaw));
    }

    /// Takes a parsed value, or notes what is wrong with it and answers `None`.
    pub fn take<T>(&mut self, field: impl Into<String>, parsed: Result<T, Flaw>) -> Option<T> {
        parsed.map_err(|flaw| self.add(field, flaw)).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Flaw)> {
        self.0.iter().map(|(field, flaw)| (field.as_str(), flaw))
    }
}

/// Quotes an offending value: escaped, cut when long, and withheld when it may be a secret that
/// was put into the wrong field.
pub fn quoted(value: &str) -> String {
    let longest_run = value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if longest_run >= SECRET_RUN_CHARS {
        return format!(
            "a value of {} bytes, withheld in case it is a secret",
            value.len()
        );
    }
    match value.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((cut, _)) => format!("{:?} (cut)", &value[..cut]),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_may_be_a_secret_is_not_repeated() {
        let run = "a".repeat(SECRET_RUN_CHARS);
        assert!(!quoted(&format!("ta_{run}")).contains(&run));
    }

    #[test]
    fn long_values_are_cut_and_control_characters_escaped() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert!(quoted(&"é ".repeat(100)).len() < 140);
    }
}
