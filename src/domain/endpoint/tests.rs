//! Tables and properties of endpoint matching.

use super::*;
use proptest::prelude::*;

fn allows(patterns: &[&str], method: Option<&str>, path: Option<&str>) -> bool {
    let parse = |text: &&str| Pattern::parse(text).unwrap();
    Endpoints::new(patterns.iter().map(parse).collect()).allow(method, path)
}

fn matches(pattern: &str, path: &str) -> bool {
    allows(&[pattern], Some("GET"), Some(path))
}

#[test]
fn a_final_star_matches_anything_that_begins_so() {
    for path in [
        "/products",
        "/products/123",
        "/products/meta/brands",
        "/products-admin",
        "/products/",
    ] {
        assert!(matches("/products*", path), "{path}");
    }
    assert!(!matches("/products*", "/product"));
    assert!(matches("*", "/"));
    assert!(matches("/*", "/a/b"));
    assert!(matches("/shop.Orders/Get*", "/shop.Orders/GetOne"));
    assert!(!matches("/shop.Orders/Get*", "/shop.Orders/List"));
    assert!(matches("/a/b*c*", "/a/bxc/y/z"));
    assert!(!matches("/a/b*c*", "/a/b/c"));
}

#[test]
fn a_star_elsewhere_stays_within_its_segment() {
    assert!(matches("/stores/*/brands", "/stores/7/brands"));
    assert!(!matches("/stores/*/brands", "/stores/7/8/brands"));
    assert!(matches("/v*/x", "/v1/x"));
    assert!(matches("/a*b*c/x", "/aXbYc/x"));
    assert!(!matches("/a*b*c/x", "/acb/x"));
}

#[test]
fn two_stars_stop_at_the_border() {
    for path in ["/products", "/products/", "/products/1", "/products/1/2"] {
        assert!(matches("/products/**", path), "{path}");
    }
    assert!(!matches("/products/**", "/products-admin"));
    assert!(!matches("/products/**", "/"));
    assert!(matches("/**", "/"));
    assert!(matches("/**", "/a/b"));
}

#[test]
fn a_trailing_slash_is_part_of_the_path() {
    assert!(matches("/a/", "/a/"));
    assert!(!matches("/a", "/a/"));
    assert!(!matches("/a/", "/a"));
}

#[test]
fn what_can_be_read_two_ways_is_refused() {
    let tricks = [
        "/a/../b",
        "/a/./b",
        "/..",
        "/.",
        "/a/..",
        "//",
        "/a//b",
        "//a",
        "/%2e%2e/a",
        "/a/%2E",
        "/a%2Fb",
        "/a%2fb",
        "/a%5cb",
        "/a\\b",
        "/a%00b",
        "/a%0ab",
        "/a%zz",
        "/a%2",
        "/a%",
        "/%ff",
        "/a#b",
        "a/b",
        "",
        "/%252e%252e/a",
        "/a;/..;x/b",
        "/..;/b",
        "/.;x/b",
        "http://host/a",
        "/a\u{7f}b",
    ];
    for path in tricks {
        assert!(!matches("*", path), "{path}");
        assert!(
            allows(&[], None, Some(path)),
            "an unrestricted token asks nothing of {path}"
        );
    }
}

#[test]
fn encoded_text_is_matched_decoded() {
    assert!(matches("/caf\u{e9}/x", "/caf%C3%A9/x"));
    assert!(matches("/a b".replace(' ', "").as_str(), "/ab"));
    assert!(matches("/files/*", "/files/a%20b"));
}

#[test]
fn the_query_is_cut_off() {
    assert!(matches("/a", "/a?x=/../%2e"));
    assert!(!matches("/a", "/b?/a"));
}

#[test]
fn a_named_method_must_be_given_and_equal() {
    let pattern = &["GET /products*"];
    assert!(allows(pattern, Some("GET"), Some("/products")));
    assert!(!allows(pattern, Some("POST"), Some("/products")));
    assert!(!allows(pattern, Some("get"), Some("/products")));
    assert!(!allows(pattern, None, Some("/products")));
    assert!(!allows(pattern, Some("GET"), None));
    assert!(allows(&["GET /a", "/b"], None, Some("/b")));
    assert!(allows(&["GET *"], Some("GET"), Some("/any")));
}

#[test]
fn patterns_that_could_never_match_are_refused() {
    let bad = [
        "",
        "a",
        "GET",
        "GET  /a",
        "/a b",
        "G3T /a",
        "/a//b",
        "//",
        "/./a",
        "/a/..",
        "/a**",
        "/**/a",
        "/a?b",
        "/a%20",
        "/a\\b",
        "/a#b",
        "/***",
        "**",
        "/a/***",
        "//**",
        "/a/x**",
        "/********/*",
        "/a\u{7}",
    ];
    for pattern in bad {
        assert!(Pattern::parse(pattern).is_err(), "{pattern}");
    }
    assert!(Pattern::parse(&format!("/{}", "a".repeat(256))).is_err());
}

/// The slow and obvious matcher: tries every split.
fn reference(pattern: &[char], path: &[char]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&'*', [])) => true,
        Some((&'*', rest)) => {
            let border = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=border).any(|at| reference(rest, &path[at..]))
        }
        Some((literal, rest)) => path.first() == Some(literal) && reference(rest, &path[1..]),
    }
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_reference(pattern in "(/[ab*]{1,4}){1,3}", path in "(/[ab]{1,4}){1,4}") {
        if let Ok(parsed) = Pattern::parse(&pattern) {
            prop_assume!(!pattern.contains("**"));
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            let expected = reference(&chars(&pattern), &chars(&path));
            prop_assert_eq!(Endpoints::new(vec![parsed]).allow(None, Some(&path)), expected);
        }
    }

    #[test]
    fn nothing_a_stranger_sends_panics(pattern: String, method in proptest::option::of(".*"), path: String) {
        let _ = Pattern::parse(&pattern);
        let all = Endpoints::new(vec![Pattern::parse("/a*b*/**").unwrap()]);
        let _ = all.allow(method.as_deref(), Some(&path));
    }

    #[test]
    fn an_allowed_path_has_no_hidden_dot_segment(path in "(/|%2[eEfF]|%5[cC]|\\.|a|;|%25|\\\\){1,12}") {
        if matches("*", &path) {
            let lower = path.to_lowercase();
            prop_assert!(!lower.contains("%2") && !lower.contains("%5c") && !path.contains('\\'));
            prop_assert!(path.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | ".."))));
        }
    }
}
