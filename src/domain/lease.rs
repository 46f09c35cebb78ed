//! Leases: the exclusive, timed use of one pooled token by one holder.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::alphabet;
use super::flaw::{Flaw, quoted};
use super::hash::feed;
use super::name::Text;
use super::pool::Pool;
use super::secret::SecretDigest;
use super::time::Timestamp;
use super::token::Origin;
use super::token_id::TokenId;

/// Who holds a lease, as it calls itself: at most 128 characters, possibly none.
pub type Holder = Text<128>;

/// Secrets that one Acquire and its replays may hand out together.
pub const LEASE_SECRETS_MAX: usize = 3;

/// The digits by which a lease of a token is known: 22 of base62, drawn from the operating system.
/// Whoever knows them may release the lease, so they are never printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseMark([u8; LeaseMark::DIGITS]);

impl LeaseMark {
    pub const DIGITS: usize = 22;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let unlike = || Flaw::new(format!("must be {} base62 characters", Self::DIGITS));
        alphabet::digits(text).map(Self).ok_or_else(unlike)
    }

    pub fn as_str(&self) -> &str {
        alphabet::text(&self.0)
    }
}

impl fmt::Debug for LeaseMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseMark(redacted)")
    }
}

/// The name of a lease: the token's id, which routes, and the mark, which cannot be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    pub token: TokenId,
    pub mark: LeaseMark,
}

impl LeaseId {
    pub const DIGITS: usize = TokenId::DIGITS + LeaseMark::DIGITS;

    /// A flaw never repeats the text: it may be another's lease, mistyped.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let parts = text.split_at_checked(TokenId::DIGITS);
        let parsed = parts.and_then(|(token, mark)| {
            let token = TokenId::parse(token).ok()?;
            let mark = LeaseMark::parse(mark).ok()?;
            Some(Self { token, mark })
        });
        parsed.ok_or_else(|| {
            Flaw::new(format!(
                "must be {} base62 characters, as Acquire answered it; got {} bytes",
                Self::DIGITS,
                text.len()
            ))
        })
    }

    /// The text that holders get.
    pub fn expose(&self) -> String {
        format!("{}{}", self.token, self.mark.as_str())
    }
}

/// A place in the queue before a pool: 22 base62 digits, drawn anew for each call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId([u8; WaiterId::DIGITS]);

impl WaiterId {
    pub const DIGITS: usize = 22;

    pub fn parse(text: &str) -> Result<Self, Flaw> {
        alphabet::digits(text).map(Self).ok_or_else(|| {
            let (count, got) = (Self::DIGITS, quoted(text));
            Flaw::new(format!("must be {count} base62 characters; got {got}"))
        })
    }

    pub fn as_str(&self) -> &str {
        alphabet::text(&self.0)
    }
}

/// Hash of what an Acquire asked for, so that a replay with other arguments is noticed.
pub fn fingerprint(pool: &Pool, holder: &Holder, duration: Duration) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [
        pool.namespace.as_str(),
        pool.name.as_str(),
        holder.as_str(),
        &duration.as_nanos().to_string(),
    ] {
        feed(&mut hash, text.as_bytes());
    }
    hash.finalize().into()
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseEnd {
    /// Its holder gave it back.
    Released,
    /// Its time was over.
    Expired,
    /// Its token was revoked, disabled, deleted, or expired.
    Revoked,
    /// Somebody who manages the token took it back.
    Forced,
}

/// One lease of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub mark: LeaseMark,
    pub holder: Holder,
    /// Greater than that of every lease of the token before.
    pub fence: u64,
    pub acquire_time: Timestamp,
    /// When it is over unless it is kept alive, or ended before.
    pub expire_time: Timestamp,
    /// Why it will be over then: its own time, or the end of its token, which it never outlives.
    pub lapse: LeaseEnd,
    /// How long a keep-alive that does not say so extends it.
    pub duration: Duration,
    /// When and why somebody ended it, or, once another followed it, its time did.
    pub ended: Option<(Timestamp, LeaseEnd)>,
    /// The request that acquired it.
    pub origin: Option<Origin>,
    /// What is kept of its secrets, at most [`LEASE_SECRETS_MAX`].
    pub digests: Vec<SecretDigest>,
}

impl Lease {
    /// When the lease is over, or was.
    pub fn over_at(&self) -> Timestamp {
        self.ended.map_or(self.expire_time, |(time, _)| time)
    }

    /// Whether it is in force; at the very instant of its end it is not. One that somebody ended
    /// stays so, even where the clock is set back.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.expire_time
    }

    /// When and why it ended, once it has.
    pub fn end(&self, now: Timestamp) -> Option<(Timestamp, LeaseEnd)> {
        let lapsed = (self.expire_time <= now).then_some((self.expire_time, self.lapse));
        self.ended.or(lapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::tests::at;

    #[test]
    fn a_lease_that_was_ended_does_not_begin_again_when_the_clock_is_set_back() {
        let lease = Lease {
            mark: LeaseMark::parse(&"m".repeat(22)).unwrap(),
            holder: Holder::default(),
            fence: 1,
            acquire_time: at(1),
            expire_time: at(61),
            lapse: LeaseEnd::Expired,
            duration: Duration::from_secs(60),
            ended: Some((at(10), LeaseEnd::Released)),
            origin: None,
            digests: Vec::new(),
        };
        assert!(!lease.is_live(at(9)));
        assert_eq!(lease.end(at(9)), lease.ended);
        let running = Lease {
            ended: None,
            ..lease
        };
        assert!(running.is_live(at(60)) && !running.is_live(at(61)));
    }

    #[test]
    fn a_lease_id_names_its_token_and_is_not_printed() {
        let text = format!("{}{}", "0123456789ABCDEFGHIJKL", "m".repeat(22));
        let id = LeaseId::parse(&text).unwrap();
        assert_eq!(id.token.as_str(), "0123456789ABCDEFGHIJKL");
        assert_eq!(id.expose(), text);
        assert!(!format!("{id:?}").contains("mmm"));
    }

    #[test]
    fn what_is_no_lease_id_is_refused_without_being_repeated() {
        for text in [
            "",
            "short",
            &"-".repeat(44),
            &"m".repeat(45),
            &"é".repeat(22),
        ] {
            let flaw = LeaseId::parse(text).unwrap_err().to_string();
            assert!(flaw.starts_with("must be 44"), "{flaw}");
            assert!(text.is_empty() || !flaw.contains(text), "{flaw}");
        }
    }
}
