//! Names that a certificate gives whoever holds its key: URIs and DNS names (RFC 5280, 4.2.1.6).

use std::fmt;

use super::flaw::{Flaw, quoted};

/// How a SPIFFE id begins (SPIFFE-ID 1.0, section 2).
const SPIFFE: &str = "spiffe://";

/// One subject alternative name that can stand for a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerName {
    Uri(String),
    /// In lower case.
    Dns(String),
}

impl PeerName {
    pub const BYTES_MAX: usize = 2048;

    /// A URI, taken as it is: equal only to itself, byte for byte.
    pub fn uri(text: &str) -> Result<Self, Flaw> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let sound = scheme.is_some_and(|scheme| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        if sound && text.len() <= Self::BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self::Uri(text.to_owned()));
        }
        let why = "must be a URI of at most 2048 visible ASCII characters, such as";
        let example = "spiffe://example.org/ns/shop/sa/orders";
        Err(Flaw::new(format!("{why} {example}; got {}", quoted(text))))
    }

    /// A DNS name, whole: no wildcard stands for others.
    pub fn dns(text: &str) -> Result<Self, Flaw> {
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if name.len() <= 253 && name.split('.').all(label) {
            return Ok(Self::Dns(name));
        }
        let why = "must be a DNS name without a wildcard, such as gateway.example.org; got";
        Err(Flaw::new(format!("{why} {}", quoted(text))))
    }

    fn is_uri(&self) -> bool {
        matches!(self, Self::Uri(_))
    }

    /// The names by which one certificate may stand for a caller. A SPIFFE id counts only where it
    /// is the certificate's only URI (X509-SVID, section 2).
    pub fn of_certificate(names: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut names: Vec<Self> = names.into_iter().collect();
        if names.iter().filter(|name| name.is_uri()).count() > 1 {
            names.retain(|name| !name.is_spiffe());
        }
        names
    }

    /// Whether it is a SPIFFE id, whose scheme may be written in any case (RFC 3986, section 3.1).
    fn is_spiffe(&self) -> bool {
        match self {
            Self::Uri(uri) => {
                let scheme = uri.as_bytes().get(..SPIFFE.len());
                scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE.as_bytes()))
            }
            Self::Dns(_) => false,
        }
    }
}

/// The name, as it stands in the certificate.
impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(name) | Self::Dns(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_uris_and_whole_dns_names() {
        assert!(PeerName::uri("spiffe://td.example/ns/shop").is_ok());
        assert_eq!(
            PeerName::dns("Gateway.Example.ORG"),
            PeerName::dns("gateway.example.org")
        );
        for wrong in ["", "shop", "://x", "1a:b", "spiffe://a b"] {
            assert!(PeerName::uri(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "*.example.org", "a..b", "a b", "a/b", ".a"] {
            assert!(PeerName::dns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_spiffe_id_beside_another_uri_names_nobody() {
        let names = |uris: &[&str]| uris.iter().map(|u| PeerName::uri(u).unwrap()).collect();
        let one: Vec<PeerName> = names(&["spiffe://td/a"]);
        assert_eq!(PeerName::of_certificate(one.clone()), one);
        let two: Vec<PeerName> = names(&["spiffe://td/a", "spiffe://td/b"]);
        assert_eq!(PeerName::of_certificate(two), []);
        let loud: Vec<PeerName> = names(&["SPIFFE://td/a", "Spiffe://td/b"]);
        assert_eq!(PeerName::of_certificate(loud), []);
        let mixed: Vec<PeerName> = names(&["spiffe://td/a", "https://b"]);
        assert_eq!(
            PeerName::of_certificate(mixed),
            names(&["https://b"]) as Vec<_>
        );
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(text in ".{0,300}") {
            let _ = (PeerName::uri(&text), PeerName::dns(&text));
        }
    }
}
