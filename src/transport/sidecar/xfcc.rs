//! Whose certificate a proxy saw, by x-forwarded-client-cert as Envoy writes it (Envoy, "HTTP header
//! manipulation", x-forwarded-client-cert).

use std::borrow::Cow;

use crate::domain::flaw::{Flaw, quoted};
use crate::domain::peer_name::PeerName;

/// The names of whoever called the proxy that wrote the last element: its URIs and DNS names, as
/// [`PeerName::of_certificate`] lets them count. Several headers are to be joined with a comma.
///
/// Elements are parted by `,`, their pairs by `;`; a key, in any case, and its value by `=`. A value
/// may stand in double quotes, in which a backslash goes before a character that is meant itself.
/// Everything is read, since nobody could say else where the last element begins; elements before it
/// may be anybody's, and do not count.
///
/// An error, which is a refusal, where anything is not of that form, and where a URI cannot be one; a
/// DNS name that can be no caller's, such as one with a wildcard, is passed over.
pub fn names(value: &str) -> Result<Vec<PeerName>, Flaw> {
    let mut names = Vec::new();
    let mut rest = value;
    loop {
        let (key, after) = key(rest)?;
        let (value, after) = self::value(after)?;
        match key.to_ascii_lowercase().as_str() {
            "uri" if !value.is_empty() => names.push(PeerName::uri(&value)?),
            "dns" => names.extend(PeerName::dns(&value).ok()),
            _ => {}
        }
        let Some(border) = after.chars().next() else {
            return Ok(PeerName::of_certificate(names));
        };
        match border {
            ';' => {}
            ',' => names.clear(),
            _ => {
                return Err(flaw(
                    "a value in quotes must be followed by ';' or ','",
                    after,
                ));
            }
        }
        rest = &after[1..];
    }
}

fn flaw(why: &str, at: &str) -> Flaw {
    Flaw::new(format!(
        "x-forwarded-client-cert: {why}; got {}",
        quoted(at)
    ))
}

/// A key and what follows its `=`.
fn key(text: &str) -> Result<(&str, &str), Flaw> {
    let text = text.trim_start_matches([' ', '\t']);
    let (key, rest) = text.split_once('=').unwrap_or((text, ""));
    let sound = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match sound && key.len() < text.len() {
        true => Ok((key, rest)),
        false => Err(flaw("each pair must be a key, '=' and a value", text)),
    }
}

/// A value without its quotes, and what follows it, which begins with a border or is nothing.
fn value(text: &str) -> Result<(Cow<'_, str>, &str), Flaw> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return match value.contains('"') {
            true => Err(flaw("quotes must stand around the whole value", value)),
            false => Ok((value.trim_end_matches([' ', '\t']).into(), rest)),
        };
    };
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value.into(), &inside[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, meant)| meant)),
            plain => value.push(plain),
        }
    }
    Err(flaw("a quote is not closed", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uri(text: &str) -> PeerName {
        PeerName::uri(text).unwrap()
    }

    #[test]
    fn the_last_element_names_the_caller() {
        let value = "By=spiffe://td/a;Hash=ab;URI=spiffe://td/evil,\
                     By=spiffe://td/b;Hash=cd;Subject=\"CN=x\";URI=spiffe://td/gateway;DNS=g.example.org";
        let dns = PeerName::dns("g.example.org").unwrap();
        assert_eq!(names(value), Ok(vec![uri("spiffe://td/gateway"), dns]));
        assert_eq!(names("Hash=ab;URI=spiffe://td/a,Hash=cd"), Ok(vec![]));
        assert_eq!(names("Hash=ab;URI="), Ok(vec![]));
        assert_eq!(
            names("uri=spiffe://td/a , hash=x ; URI=spiffe://td/b"),
            Ok(vec![uri("spiffe://td/b")])
        );
    }

    #[test]
    fn quotes_hold_borders_and_escapes() {
        let value = r#"Subject="CN=a\";URI=spiffe://td/evil,O=\\";URI="spiffe://td/a""#;
        assert_eq!(names(value), Ok(vec![uri("spiffe://td/a")]));
        let subject = r#"Subject="CN=ends with a backslash\\";URI=spiffe://td/a"#;
        assert_eq!(names(subject), Ok(vec![uri("spiffe://td/a")]));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for wrong in [
            "",
            ",",
            ";",
            "URI",
            "=x",
            "URI=spiffe://td/a,",
            "URI=spiffe://td/a;",
            "a b=c",
            "Subject=\"CN=x;URI=spiffe://td/a",
            "Subject=\"a\"b",
            "URI=spi\"ffe://td/a",
            "URI=no uri",
            "X=\",By=b;URI=spiffe://td/a",
            "URI=spiffe://td/a,URI=\"",
        ] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_certificate_has_one_spiffe_id() {
        assert_eq!(names("URI=spiffe://td/a;URI=spiffe://td/b"), Ok(vec![]));
        assert_eq!(names("DNS=*.example.org"), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(value in ".{0,200}") {
            let _ = names(&value);
        }

        /// A client that sends the header itself, to a proxy that adds its own element, is not believed:
        /// it is refused, or what the proxy wrote counts.
        #[test]
        fn nobody_can_write_what_is_believed(written in "([\"\\\\;,=]|URI=spiffe://td/evil|X|[ -~]){0,12}") {
            for added in [
                "By=spiffe://td/b;Hash=cd;URI=spiffe://td/honest",
                "By=spiffe://td/b;Hash=cd;Cert=\"-----BEGIN%20\";Subject=\"\";URI=spiffe://td/honest",
                "Hash=cd;Subject=\"CN=me,O=\\\"us\\\"\";URI=spiffe://td/honest",
            ] {
                if let Ok(found) = names(&format!("{written},{added}")) {
                    prop_assert_eq!(found, vec![uri("spiffe://td/honest")]);
                }
            }
        }
    }
}
