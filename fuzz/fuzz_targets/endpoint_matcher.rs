//! No pattern, however written, lets a call pass whose path could be read in two ways.
#![no_main]

use libfuzzer_sys::fuzz_target;
use token_authority::domain::endpoint::{Endpoints, PATH_BYTES_MAX, Pattern};

fuzz_target!(|input: (&str, &str, &str)| {
    let (pattern, method, path) = input;
    let Ok(pattern) = Pattern::parse(pattern) else {
        return;
    };
    let asks_method = pattern.to_string().contains(' ');
    let endpoints = Endpoints::new(vec![pattern]);
    assert!(!endpoints.allow(Some(method), None));
    if asks_method {
        assert!(!endpoints.allow(None, Some(path)));
    }
    if endpoints.allow(Some(method), Some(path)) {
        reads_one_way(path);
    }
});

fn reads_one_way(path: &str) {
    let path = path.split('?').next().unwrap_or_default();
    assert!(path.len() <= PATH_BYTES_MAX);
    let mut decoded = path.to_owned();
    // Servers have been seen to decode more than once.
    for _ in 0..3 {
        let below = decoded.strip_prefix('/');
        let segments: Vec<&str> = below
            .into_iter()
            .flat_map(|below| below.split('/'))
            .collect();
        assert!(!segments.is_empty(), "no path: {path:?}");
        let (before, last) = segments.split_at(segments.len() - 1);
        assert!(
            before.iter().all(|segment| !segment.is_empty()),
            "empty segment: {path:?}"
        );
        for segment in before.iter().chain(last) {
            let name = segment.split(';').next().unwrap_or_default();
            assert!(name != "." && name != "..", "dot segment: {path:?}");
        }
        assert!(!decoded.contains('\\'), "backslash: {path:?}");
        decoded = percent_decoded(&decoded);
    }
}

/// The path with each `%` and two hexadecimal digits replaced by the byte they stand for.
fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let value = digits
            .filter(|pair| *byte == b'%' && pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
