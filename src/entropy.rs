//! The only door to randomness: the operating system's, for everything.

use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::alphabet::{self, fair_digit};
use crate::domain::coherence::{Epoch, ReplicaId};
use crate::domain::secret::RANDOM_DIGITS;
use crate::domain::token::TokenId;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct EntropyError(String);

/// `count` base62 digits, each equally likely; wiped when dropped.
pub fn digits(count: usize) -> Result<Zeroizing<String>, EntropyError> {
    let mut text = Zeroizing::new(String::with_capacity(count));
    let mut bytes = [0u8; 64];
    while text.len() < count {
        SysRng
            .try_fill_bytes(&mut bytes)
            .map_err(|error| EntropyError(error.to_string()))?;
        let missing = count - text.len();
        text.extend(
            bytes
                .iter()
                .filter_map(|byte| fair_digit(*byte))
                .take(missing),
        );
    }
    bytes.zeroize();
    Ok(text)
}

/// A fresh token id.
pub fn token_id() -> Result<TokenId, EntropyError> {
    let text = digits(TokenId::DIGITS)?;
    TokenId::parse(&text).map_err(|flaw| EntropyError(flaw.to_string()))
}

/// A fresh name of a process that answers from memory.
pub fn replica_id() -> Result<ReplicaId, EntropyError> {
    let text = digits(ReplicaId::DIGITS)?;
    ReplicaId::parse(&text).map_err(|flaw| EntropyError(flaw.to_string()))
}

/// A fresh name of a registry.
pub fn epoch() -> Result<Epoch, EntropyError> {
    let text = digits(Epoch::DIGITS)?;
    Epoch::parse(&text).map_err(|flaw| EntropyError(flaw.to_string()))
}

/// The random part of a fresh secret.
pub fn secret_digits() -> Result<Zeroizing<String>, EntropyError> {
    digits(RANDOM_DIGITS)
}

/// `N` numbers of [`DRAW_BITS`] random bits each, for [`rank`].
pub fn draws<const N: usize>() -> Result<[u64; N], EntropyError> {
    let mut draws = [0; N];
    for draw in &mut draws {
        let mut bytes = [0; 8];
        SysRng
            .try_fill_bytes(&mut bytes)
            .map_err(|error| EntropyError(error.to_string()))?;
        *draw = u64::from_be_bytes(bytes) >> (u64::BITS - DRAW_BITS);
    }
    Ok(draws)
}

/// Bits of a draw: as many as a floating-point number holds, which is what Lua counts with. The
/// ranks of a million are then as good as equally likely.
pub const DRAW_BITS: u32 = 53;

/// Which of `count` is drawn; less than `count` unless that is 0.
pub fn rank(draw: u64, count: u64) -> u64 {
    let scaled = (u128::from(draw) * u128::from(count)) >> DRAW_BITS;
    // Less than `count`.
    scaled as u64
}

/// Half of `span` to all of it, so that many who wait do not come back together.
pub fn jittered(span: Duration) -> Duration {
    const DIGITS: usize = 3;
    let drawn = digits(DIGITS)
        .ok()
        .and_then(|text| alphabet::decode(&text))
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or_default();
    let values = 62f64.powi(DIGITS as i32);
    span.mul_f64(0.5 + 0.5 * f64::from(drawn) / values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_alike_come_back_apart() {
        let whole = Duration::from_secs(10);
        let waits: Vec<Duration> = (0..100).map(|_| jittered(whole)).collect();
        assert!(waits.iter().all(|wait| (whole / 2..whole).contains(wait)));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }

    #[test]
    fn draws_have_the_asked_length_and_do_not_repeat() {
        let mut seen: Vec<String> = (0..1000)
            .map(|_| secret_digits().unwrap().to_string())
            .collect();
        assert!(seen.iter().all(|text| text.len() == RANDOM_DIGITS));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
