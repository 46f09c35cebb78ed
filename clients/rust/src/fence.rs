//! What a protected resource keeps of each token, so that who is late is refused.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Mutex, PoisonError},
};

/// The greatest fence that was seen, of each token.
#[derive(Debug, Default)]
pub struct Fence {
    greatest: Mutex<HashMap<String, u64>>,
}

impl Fence {
    /// Lets a write pass, unless a greater fence of the token came before.
    ///
    /// # Errors
    ///
    /// When one did.
    pub fn admit(&self, token_id: &str, fence: u64) -> Result<(), FenceStale> {
        let mut greatest = self.greatest.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = greatest.entry(token_id.to_owned()).or_default();
        if fence < *seen {
            return Err(FenceStale { fence, seen: *seen });
        }
        *seen = fence;
        Ok(())
    }
}

/// A newer lease of the token was seen: whoever comes with this fence is too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceStale {
    /// The fence that came.
    pub fence: u64,
    /// The greatest before it.
    pub seen: u64,
}

impl fmt::Display for FenceStale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fence {} is older than {}", self.fence, self.seen)
    }
}

impl Error for FenceStale {}
