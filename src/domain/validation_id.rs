//! Names of judgements: unique, and where a token was judged, with the token and the verdict in them, so
//! that whoever is told how a request ended knows whose it was.

use super::alphabet;
use super::flaw::{Flaw, quoted};
use super::token_id::TokenId;
use super::verdict::Verdict;

/// Base62 digits of what makes the name unique.
pub const NUMBER_DIGITS: usize = 20;
/// Digits of the name of a judgement of a token: the token's id, the verdict, and the number.
const WHOLE_DIGITS: usize = TokenId::DIGITS + 1 + NUMBER_DIGITS;

/// The name of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationId {
    judged: Option<(TokenId, Verdict)>,
    number: [u8; NUMBER_DIGITS],
}

impl ValidationId {
    /// The name of a judgement by that number, of a token or of none.
    pub fn new(judged: Option<(TokenId, Verdict)>, number: [u8; NUMBER_DIGITS]) -> Self {
        let judged = judged.filter(|(_, verdict)| is_of_a_token(*verdict));
        Self { judged, number }
    }

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let refuse = |why: &str| Err(Flaw::new(format!("{why}; got {}", quoted(text))));
        let (judged, number) = match text.len() {
            NUMBER_DIGITS => ("", text),
            WHOLE_DIGITS if text.is_ascii() => text.split_at(WHOLE_DIGITS - NUMBER_DIGITS),
            _ => return refuse("must be 20 or 43 base62 characters"),
        };
        let Some(number) = alphabet::digits(number) else {
            return refuse("must be 20 or 43 base62 characters");
        };
        if judged.is_empty() {
            return Ok(Self::new(None, number));
        }
        let (id, digit) = judged.split_at(TokenId::DIGITS);
        let verdict = alphabet::decode(digit)
            .and_then(|number| Verdict::of_number(u8::try_from(number).ok()?))
            .filter(|verdict| is_of_a_token(*verdict));
        match verdict {
            Some(verdict) => Ok(Self::new(Some((TokenId::parse(id)?, verdict)), number)),
            None => refuse("names no verdict on a token in its 23rd character"),
        }
    }

    /// The token that was judged, if one was, and how.
    pub fn judged(&self) -> Option<(TokenId, Verdict)> {
        self.judged
    }
}

impl ValidationId {
    /// The name in writing, made at once: each judgement has one.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(WHOLE_DIGITS);
        if let Some((id, verdict)) = self.judged {
            let digit = alphabet::digits_of::<1>(verdict.number().into());
            text.push_str(id.as_str());
            text.push_str(alphabet::text(&digit));
        }
        text.push_str(alphabet::text(&self.number));
        text
    }
}

/// Whether a token has to be known for the verdict.
fn is_of_a_token(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Malformed | Verdict::NotFound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NUMBER: [u8; NUMBER_DIGITS] = *b"0123456789abcdefghij";

    fn token() -> TokenId {
        TokenId::parse("7fUe0Vn3cK2rQhJx5mTzWa").unwrap()
    }

    #[test]
    fn a_name_says_which_token_was_judged_and_how() {
        for verdict in Verdict::ALL {
            let name = ValidationId::new(Some((token(), verdict)), NUMBER);
            let read = ValidationId::parse(&name.text()).unwrap();
            assert_eq!(read, name);
            let known = !matches!(verdict, Verdict::Malformed | Verdict::NotFound);
            assert_eq!(read.judged(), known.then_some((token(), verdict)));
            assert_eq!(name.text().len(), if known { 43 } else { 20 });
        }
        let none = ValidationId::new(None, NUMBER);
        assert_eq!(none.text(), "0123456789abcdefghij");
        assert_eq!(ValidationId::parse("0123456789abcdefghij").unwrap(), none);
    }

    #[test]
    fn what_is_no_name_says_why() {
        let whole = ValidationId::new(Some((token(), Verdict::Valid)), NUMBER).text();
        let with_verdict = |digit: char| {
            let mut text: Vec<char> = whole.chars().collect();
            text[22] = digit;
            text.into_iter().collect::<String>()
        };
        for (bad, why) in [
            (String::new(), "20 or 43"),
            ("0123456789abcdefghi".to_owned(), "20 or 43"),
            ("0123456789abcdefghi-".to_owned(), "20 or 43"),
            ("\u{e9}123456789abcdefghi".to_owned(), "20 or 43"),
            (whole.replacen('7', "-", 1), "22 base62"),
            (with_verdict('0'), "23rd"),
            (with_verdict('2'), "23rd"),
            (with_verdict('3'), "23rd"),
            (with_verdict('F'), "23rd"),
            (with_verdict('-'), "23rd"),
        ] {
            let flaw = ValidationId::parse(&bad).unwrap_err().to_string();
            assert!(flaw.contains(why), "{bad}: {flaw}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_is_written_or_refused(text: String) {
            if let Ok(read) = ValidationId::parse(&text) {
                prop_assert_eq!(read.text(), text);
            }
        }
    }
}
