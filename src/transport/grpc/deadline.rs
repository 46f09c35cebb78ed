//! Deadlines of calls: the client's `grpc-timeout`, bounded by the server's own.

use std::time::Duration;

use http::HeaderMap;

/// How long a call may take: what its `grpc-timeout` says, at most `longest`.
///
/// A little is taken off a client's own timeout, so that `DEADLINE_EXCEEDED` with its details goes
/// out before the transport, which knows only `CANCELLED`, notices.
pub(super) fn of_call(headers: &HeaderMap, longest: Duration) -> Duration {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| parse(value.to_str().ok()?));
    match asked {
        Some(asked) if asked < longest => asked - (asked / 10).min(Duration::from_millis(5)),
        _ => longest,
    }
}

/// Reads a `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, section Requests).
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last().filter(char::is_ascii)?;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        let read = |text| parse(text).map(|span| span.as_nanos());
        assert_eq!(read("1H"), Some(3_600_000_000_000));
        assert_eq!(read("2M"), Some(120_000_000_000));
        assert_eq!(read("99999999S"), Some(99_999_999_000_000_000));
        assert_eq!(read("5m"), Some(5_000_000));
        assert_eq!(read("7u"), Some(7_000));
        assert_eq!(read("9n"), Some(9));
        for bad in ["", "m", "123456789m", "-1m", "1", "1x", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_server_bounds_what_a_client_may_ask() {
        let mut headers = HeaderMap::new();
        let longest = Duration::from_secs(10);
        assert_eq!(of_call(&headers, longest), longest);
        headers.insert("grpc-timeout", "1H".parse().unwrap());
        assert_eq!(of_call(&headers, longest), longest);
        headers.insert("grpc-timeout", "1S".parse().unwrap());
        assert_eq!(of_call(&headers, longest), Duration::from_millis(995));
    }

    proptest! {
        #[test]
        fn no_header_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
