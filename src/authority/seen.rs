//! A token together with the instant at which it was seen.

use std::sync::Arc;

use crate::domain::time::Timestamp;
use crate::domain::token::{State, Token};

/// A token as it was at an instant of the store's time.
#[derive(Clone, Debug)]
pub struct Seen {
    pub token: Arc<Token>,
    pub now: Timestamp,
}

impl Seen {
    pub fn state(&self) -> State {
        self.token.state(self.now)
    }
}
