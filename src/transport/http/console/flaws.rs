//! What is wrong with which field of a form, in the names of the form.

use crate::domain::flaw::{Flaw, Violations};

/// Flaws by field.
#[derive(Clone, Debug, Default)]
pub(super) struct Flaws(Vec<(String, String)>);

impl Flaws {
    /// Those of a request. Its fields are named as those of the forms, but for their depth.
    pub(super) fn of(violations: &Violations) -> Self {
        let named = |(field, flaw): (&str, &Flaw)| (field.to_owned(), flaw.to_string());
        Self(violations.iter().map(named).collect())
    }

    pub(super) fn add(&mut self, field: &str, why: impl ToString) {
        self.0.push((field.to_owned(), why.to_string()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with the field of the form where it belongs.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|(field, why)| {
            let place = field.strip_prefix("token.").unwrap_or(field);
            (top(field), format!("{place} {why}"))
        })
    }

    /// What is wrong with one field of the form; empty where nothing is.
    pub(super) fn about(&self, name: &str) -> String {
        let own = self.all().filter(|(field, _)| *field == name);
        let texts: Vec<String> = own.map(|(_, text)| text).collect();
        texts.join("; ")
    }
}

/// The form's name of a request's field: `token.scopes[3]` stands in `scopes`, and both ways to say when
/// a token ends in `expires`.
fn top(field: &str) -> &str {
    let field = field.strip_prefix("token.").unwrap_or(field);
    let end = field.find(['[', '.']).unwrap_or(field.len());
    match &field[..end] {
        "ttl" | "expire_time" => "expires",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_stands_by_the_field_of_the_form() {
        let mut violations = Violations::default();
        for field in ["token.scopes[3]", "ttl", "quota.period"] {
            violations.add(field, Flaw::new("is wrong"));
        }
        let flaws = Flaws::of(&violations);
        assert_eq!(flaws.about("scopes"), "scopes[3] is wrong");
        assert_eq!(flaws.about("expires"), "ttl is wrong");
        assert_eq!(flaws.about("quota"), "quota.period is wrong");
        assert_eq!(flaws.about("name"), "");
    }
}
