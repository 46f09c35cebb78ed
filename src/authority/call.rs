//! One call, as logs and audit lines tell of it: the name it goes by, and who holds the connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Authority;
use super::numbering::Numbered;

/// A call, whatever it asks for.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: CallId,
    pub peer: Option<IpAddr>,
}

/// The request id of a call: the caller's own, or one that was made here.
#[derive(Clone, Debug)]
pub struct CallId(Origin);

#[derive(Clone, Debug)]
enum Origin {
    Caller(Arc<str>),
    Here(Numbered),
}

impl CallId {
    pub const BYTES_MAX: usize = 128;

    /// Letters and digits in a row from which on a text may be a secret, which no log may hold. A
    /// SHA-256 in hexadecimal is shorter.
    const RUN_MAX: usize = 64;

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self(Origin::Caller("test".into()))
    }

    /// Takes a caller's own id, if it is one: 1 to 128 visible ASCII characters.
    fn parse(text: &[u8]) -> Option<Self> {
        let sound = (1..=Self::BYTES_MAX).contains(&text.len())
            && text.iter().all(u8::is_ascii_graphic)
            && text
                .split(|byte| !byte.is_ascii_alphanumeric())
                .all(|run| run.len() <= Self::RUN_MAX);
        let text = std::str::from_utf8(text).ok().filter(|_| sound)?;
        Some(Self(Origin::Caller(text.into())))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Caller(text) => f.write_str(text),
            Origin::Here(numbered) => numbered.fmt(f),
        }
    }
}

impl Authority {
    /// The id of a call whose caller sent `own`: that, if it can be one, else a new one.
    pub fn call_id(&self, own: Option<&[u8]>) -> CallId {
        let own = own.and_then(CallId::parse);
        own.unwrap_or_else(|| CallId(Origin::Here(self.call_ids.next())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii_and_no_secret() {
        let longest = "a-".repeat(64);
        for sound in ["a", "{b/c}", &"f".repeat(64), &longest] {
            assert_eq!(CallId::parse(sound.as_bytes()).unwrap().to_string(), sound);
        }
        let too_long = format!("{longest}-");
        let secret = format!("ta_{}", "s".repeat(71));
        for bad in ["", "a b", "a\tb", "é", &too_long, &secret] {
            assert!(CallId::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
