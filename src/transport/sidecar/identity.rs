//! What an upstream is told of whose request it gets, in headers that nobody else can have written.

use std::fmt::Write;

use http::HeaderName;

use crate::authority::validate::{About, Subject, Validation};
use crate::domain::verdict::Credential;

/// The names of the identity headers; no other ever comes of a token.
pub(in crate::transport) const NAMES: [&str; 6] =
    [TOKEN_ID, OWNER, NAMESPACE, SCOPES, FENCE, VALIDATION_ID];

const TOKEN_ID: &str = "x-token-id";
const OWNER: &str = "x-token-owner";
const NAMESPACE: &str = "x-token-namespace";
/// Parted by spaces.
const SCOPES: &str = "x-token-scopes";
/// Of the lease whose secret was presented.
const FENCE: &str = "x-token-fence";
const VALIDATION_ID: &str = "x-validation-id";

/// Whose request it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::transport) struct Identity {
    pub(in crate::transport) validation_id: String,
    /// Empty where the token is not known, as all that follows.
    pub(in crate::transport) token_id: String,
    pub(in crate::transport) namespace: String,
    /// Empty where it has none.
    pub(in crate::transport) owner: String,
    pub(in crate::transport) scopes: Vec<String>,
    pub(in crate::transport) fence: Option<u64>,
}

impl Identity {
    pub(in crate::transport) fn of(validation: &Validation) -> Self {
        let known = validation.subject.as_ref().map(known);
        Self {
            validation_id: validation.id.clone(),
            ..known.unwrap_or_default()
        }
    }

    /// The headers, each with its one value: visible ASCII, where all else and `%` is percent-encoded
    /// as UTF-8 (RFC 3986, section 2.1). What there is nothing to say of has none.
    pub(in crate::transport) fn headers(&self) -> Vec<(&'static str, String)> {
        let scopes: Vec<String> = self.scopes.iter().map(|scope| encoded(scope)).collect();
        let all = [
            (TOKEN_ID, encoded(&self.token_id)),
            (OWNER, encoded(&self.owner)),
            (NAMESPACE, encoded(&self.namespace)),
            (SCOPES, scopes.join(" ")),
            (
                FENCE,
                self.fence
                    .map(|fence| fence.to_string())
                    .unwrap_or_default(),
            ),
            (VALIDATION_ID, encoded(&self.validation_id)),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

fn known(subject: &Subject) -> Identity {
    let Subject {
        about,
        credential,
        now: _,
        left: _,
    } = subject;
    let token = about.token();
    let lease = |mark| {
        let mut leases = token.tenure.iter().flat_map(|tenure| &tenure.leases);
        leases.find(|lease| lease.mark == mark)
    };
    let (namespace, owner, scopes) = match about {
        About::Brief(brief) => (
            brief.namespace(),
            brief.owner(),
            brief.scopes().map(str::to_owned).collect(),
        ),
        About::Token(token) => (
            token.namespace.as_str(),
            token.profile.owner_text(),
            token
                .profile
                .scopes
                .iter()
                .map(ToString::to_string)
                .collect(),
        ),
    };
    Identity {
        validation_id: String::new(),
        token_id: about.id().as_str().to_owned(),
        namespace: namespace.to_owned(),
        owner: owner.to_owned(),
        scopes,
        fence: match credential {
            Credential::Own { .. } => None,
            Credential::Lease { mark, until: _ } => lease(*mark).map(|lease| lease.fence),
        },
    }
}

/// The names that a request loses whatever is said of it: those of its credential, and all that a
/// server may take for one of ours, since many make no difference between `-` and `_` (RFC 3875,
/// section 4.1.18).
pub(in crate::transport) fn always_removed(credentials: &[HeaderName]) -> Vec<String> {
    let own = NAMES.iter().copied();
    let credentials = credentials.iter().map(HeaderName::as_str);
    let twins = own.chain(credentials.clone()).flat_map(twins);
    credentials.map(str::to_owned).chain(twins).collect()
}

/// The names of identity headers that are not among those `set`: whoever sent them was not us.
pub(in crate::transport) fn unset(
    set: &[(&'static str, String)],
) -> impl Iterator<Item = &'static str> {
    NAMES
        .into_iter()
        .filter(|name| set.iter().all(|(own, _)| own != name))
}

/// All that a name becomes where some of its dashes are underscores, but for itself.
fn twins(name: &str) -> Vec<String> {
    let dashes = name.bytes().filter(|byte| *byte == b'-').count();
    // Names have few; of one with many, those with one kind throughout are enough to be told of.
    if dashes > DASHES_MAX {
        return vec![name.replace('-', "_")];
    }
    let twin = |changed: usize| {
        let mut number = 0;
        let letter = |letter: char| {
            if letter != '-' {
                return letter;
            }
            number += 1;
            if changed >> (number - 1) & 1 == 1 {
                '_'
            } else {
                '-'
            }
        };
        name.chars().map(letter).collect()
    };
    (1..1usize << dashes).map(twin).collect()
}

const DASHES_MAX: usize = 4;

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Into a string, which takes everything.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::Owner;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            validation_id: "v".to_owned(),
            token_id: "t".to_owned(),
            namespace: "shop".to_owned(),
            ..Identity::default()
        }
    }

    #[test]
    fn what_there_is_nothing_to_say_of_has_no_header_and_is_removed() {
        let set = identity().headers();
        let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [TOKEN_ID, NAMESPACE, VALIDATION_ID]);
        assert_eq!(unset(&set).collect::<Vec<_>>(), [OWNER, SCOPES, FENCE]);
    }

    #[test]
    fn every_header_is_told() {
        let whole = Identity {
            owner: "Ann Ümit 100%".to_owned(),
            scopes: vec!["orders:read".to_owned(), "a%b".to_owned()],
            fence: Some(7),
            ..identity()
        };
        let headers = whole.headers();
        let value = |name| {
            let found = headers.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value(OWNER), Some("Ann%20%C3%9Cmit%20100%25"));
        assert_eq!(value(SCOPES), Some("orders:read a%25b"));
        assert_eq!(value(FENCE), Some("7"));
        assert_eq!(unset(&headers).count(), 0);
    }

    #[test]
    fn every_twin_of_every_name_is_removed() {
        let removed = always_removed(&[HeaderName::from_static("x-api-key")]);
        for twin in [
            "x-api-key",
            "x_api_key",
            "x-api_key",
            "x_api-key",
            "x_token_id",
            "x-token_id",
            "x_token-id",
            "x_validation_id",
            "x_token-scopes",
        ] {
            assert!(removed.iter().any(|name| name == twin), "{twin}");
        }
        // What we set must stay: removing comes after setting.
        assert!(
            NAMES
                .iter()
                .all(|name| removed.iter().all(|gone| gone != name))
        );
        assert_eq!(removed.len(), 1 + 3 + 6 * 3);
    }

    proptest! {
        #[test]
        fn a_value_is_one_line_of_visible_ascii_and_says_what_it_said(owner in "\\PC{1,60}") {
            prop_assume!(Owner::parse(&owner).is_ok());
            let encoded = encoded(&owner);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            let mut bytes = encoded.bytes();
            let mut decoded = Vec::new();
            while let Some(byte) = bytes.next() {
                decoded.push(match byte {
                    b'%' => {
                        let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                    }
                    plain => plain,
                });
            }
            prop_assert_eq!(String::from_utf8(decoded).unwrap(), owner);
        }
    }
}
