//! Times, spans, numbers and words as pages show them.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use prost_types::Timestamp;

use crate::transport::grpc::pb;

/// An instant: the script shows it in the reader's zone, and the text in UTC where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct When(Option<i64>);

impl When {
    pub(super) fn of(at: Option<&Timestamp>) -> Self {
        Self(at.map(|at| at.seconds))
    }

    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.0 else {
            return f.write_str("–");
        };
        // Digits, and marks that mean nothing to a browser.
        let machine = Timestamp { seconds, nanos: 0 }.to_string();
        let (day, time) = machine.split_once('T').unwrap_or((&machine, ""));
        let time = time.trim_end_matches('Z');
        write!(f, "<time datetime=\"{machine}\">{day} {time} UTC</time>")
    }
}

impl HtmlSafe for When {}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// How long a request took.
pub(super) fn took(span: Option<&prost_types::Duration>) -> String {
    let Some(span) = span.and_then(|span| Duration::try_from(*span).ok()) else {
        return "–".to_owned();
    };
    match span.as_micros() {
        micros @ 0..1000 => format!("{micros} µs"),
        micros @ 1000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// A span in words, cut to the second.
pub(super) fn span(span: Option<&prost_types::Duration>) -> String {
    let span = span.and_then(|span| Duration::try_from(*span).ok());
    let Some(span) = span else {
        return "–".to_owned();
    };
    let whole = Duration::from_secs(span.as_secs());
    match span {
        Duration::ZERO => "0s".to_owned(),
        short if whole.is_zero() => humantime::format_duration(short).to_string(),
        _ => humantime::format_duration(whole).to_string(),
    }
}

pub(super) fn state(number: i32) -> &'static str {
    match pb::State::try_from(number) {
        Ok(pb::State::Active) => "active",
        Ok(pb::State::Disabled) => "disabled",
        Ok(pb::State::Revoked) => "revoked",
        Ok(pb::State::Expired) => "expired",
        Ok(pb::State::Unspecified) | Err(_) => "unknown",
    }
}

/// A verdict as it is named, in small letters.
pub(super) fn verdict(number: i32) -> String {
    let name = pb::Verdict::try_from(number).map_or("unknown", |verdict| verdict.as_str_name());
    let name = name.strip_prefix("VERDICT_").unwrap_or(name);
    name.to_ascii_lowercase().replace('_', " ")
}

pub(super) fn lease_end(number: i32) -> String {
    let name = pb::LeaseEnd::try_from(number).map_or("unknown", |end| end.as_str_name());
    let name = name.strip_prefix("LEASE_END_").unwrap_or(name);
    name.to_ascii_lowercase()
}

/// What may stand in a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_for_machines_and_people() {
        let at = Timestamp {
            seconds: 1_700_000_000,
            nanos: 5,
        };
        let shown = When::of(Some(&at)).to_string();
        let expected = "<time datetime=\"2023-11-14T22:13:20Z\">2023-11-14 22:13:20 UTC</time>";
        assert_eq!(shown, expected);
        assert_eq!(When::of(None).to_string(), "–");
    }

    #[test]
    fn numbers_and_spans_are_short() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(7), "7");
        let span_of = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(took(Some(&span_of(0, 1_500_000))), "1.5 ms");
        assert_eq!(took(None), "–");
        assert_eq!(span(Some(&span_of(90, 5))), "1m 30s");
        assert_eq!(encoded("a b&c"), "a%20b%26c");
    }
}
