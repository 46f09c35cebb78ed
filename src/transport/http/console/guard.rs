//! What a request must show beside its session: where it comes from, and the session's own mark in its form.

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use subtle::ConstantTimeEq;

use crate::transport::http::form::Form;

use super::sessions::Visit;

const SEC_FETCH_SITE: &str = "sec-fetch-site";
/// The field of every form that carries the session's mark.
pub(super) const CSRF: &str = "csrf";

/// The cookie's name. Over TLS browsers take it from this host alone, by its prefix.
const PLAIN_COOKIE: &str = "token-authority-console";
const SECURE_COOKIE: &str = "__Host-token-authority-console";

/// Whether a form was sent by a page of ours: as the browser tells by `Sec-Fetch-Site` or `Origin`, one of
/// which every browser sends along with a form. What says neither, or contradicts itself, is refused.
pub(super) fn is_from_here(head: &Parts) -> bool {
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().ok());
    let site = text(SEC_FETCH_SITE);
    let origin = text(ORIGIN.as_str());
    if site.is_none() && origin.is_none() {
        return false;
    }
    let same_site = site.is_none_or(|site| site == Some("same-origin"));
    let same_origin = origin.is_none_or(|origin| {
        let named = origin.and_then(|origin| origin.split_once("://"));
        named.is_some_and(|(_, origin)| own_host(head) == Some(origin))
    });
    same_site && same_origin
}

/// The host and port that the browser asked.
fn own_host(head: &Parts) -> Option<&str> {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| head.uri.authority().map(|authority| authority.as_str()))
}

/// Whether a form carries the mark of the session.
pub(super) fn is_marked(visit: &Visit, form: &Form) -> bool {
    let given = form.text(CSRF).as_bytes();
    bool::from(visit.csrf.as_bytes().ct_eq(given))
}

/// The id of the session that a request shows.
pub(super) fn session_id(head: &Parts, secure: bool) -> Option<&str> {
    let own = cookie_name(secure);
    let lines = head.headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().split_once('='));
    named.find(|(name, _)| *name == own).map(|(_, value)| value)
}

/// Sets the cookie of a session; an empty id takes it back. Without an age it goes with the browser.
pub(super) fn cookie(id: &str, secure: bool) -> String {
    let (name, flag) = (cookie_name(secure), if secure { "; Secure" } else { "" });
    let age = if id.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{flag}{age}")
}

fn cookie_name(secure: bool) -> &'static str {
    if secure { SECURE_COOKIE } else { PLAIN_COOKIE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/sign-in");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_form_of_another_page_is_told() {
        let host = ("host", "127.0.0.1:8080");
        let own = ("origin", "http://127.0.0.1:8080");
        for (sent, from_here) in [
            (&[][..], false),
            (&[own], true),
            (&[("origin", "https://127.0.0.1:8080")], true),
            (&[("origin", "http://127.0.0.1:8081")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-origin"), own], true),
            (&[("sec-fetch-site", "same-site"), own], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://evil.example"),
                ],
                false,
            ),
        ] {
            let head = head(&[&[host], sent].concat());
            assert_eq!(is_from_here(&head), from_here, "{sent:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_by_its_own_name_only() {
        let cookies = "a=b; token-authority-console=one; __Host-token-authority-console=two";
        let head = head(&[("cookie", cookies)]);
        assert_eq!(session_id(&head, false), Some("one"));
        assert_eq!(session_id(&head, true), Some("two"));
        assert!(cookie("x", true).contains("; Secure"));
        assert!(!cookie("x", false).contains("Secure"));
    }
}
