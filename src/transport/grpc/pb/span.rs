//! Spans of time, as people write them and as they read them.

use std::time::Duration;

/// Reads a span such as `500ms`, `1m` or `1d12h`.
pub(crate) fn parse(text: &str) -> Result<prost_types::Duration, String> {
    let wrong = |why: String| format!("{why}; write 500ms, 1m or 30d");
    if text.contains('M') {
        return Err(wrong("M would be months and m is minutes".to_owned()));
    }
    let span = humantime::parse_duration(text).map_err(|error| wrong(error.to_string()))?;
    prost_types::Duration::try_from(span).map_err(|_| wrong("too long".to_owned()))
}

/// The span exactly, in the form that [`parse`] reads; a negative one is no span.
pub(crate) fn exact(span: &prost_types::Duration) -> String {
    let Ok(span) = Duration::try_from(*span) else {
        return "unknown".to_owned();
    };
    let mut text = String::new();
    let (mut seconds, mut nanos) = (span.as_secs(), u64::from(span.subsec_nanos()));
    for (size, unit) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
        add(&mut text, seconds / size, unit);
        seconds %= size;
    }
    for (size, unit) in [(1_000_000, "ms"), (1_000, "us"), (1, "ns")] {
        add(&mut text, nanos / size, unit);
        nanos %= size;
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

fn add(text: &mut String, number: u64, unit: &str) {
    if number > 0 {
        *text += &format!("{number}{unit}");
    }
}

/// A time to wait: up to the millisecond, so that whoever waits no longer is not too early.
pub(crate) fn wait(span: Duration) -> String {
    let millis = span.as_nanos().div_ceil(1_000_000);
    let span = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(seconds: i64, nanos: i32) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos }
    }

    #[test]
    fn spans_are_written_in_few_units() {
        for (given, text) in [
            (span(60, 0), "1m"),
            (span(30 * 86_400, 0), "30d"),
            (span(366 * 86_400, 0), "366d"),
            (span(129_600, 0), "1d12h"),
            (span(0, 1_500_000), "1ms500us"),
            (span(0, 0), "0s"),
            (span(-1, 0), "unknown"),
        ] {
            assert_eq!(exact(&given), text);
        }
    }

    #[test]
    fn what_is_no_span_is_refused_with_an_example() {
        for text in [
            "",
            "soon",
            "60",
            "-1s",
            "1M",
            "1m/2",
            "99999999999999999999s",
        ] {
            assert!(parse(text).unwrap_err().contains("30d"), "{text}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up() {
        assert_eq!(wait(Duration::from_nanos(299_000_001)), "300ms");
        assert_eq!(wait(Duration::from_secs(90)), "1m 30s");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0i64..1 << 40, nanos in 0i32..1_000_000_000) {
            let span = span(seconds, nanos);
            prop_assert_eq!(parse(&exact(&span)), Ok(span));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = parse(&text);
        }
    }
}
