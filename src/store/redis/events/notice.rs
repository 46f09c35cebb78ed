//! How acts on tokens come to be told: what is noted before a change, and what follows it.

use std::time::Instant;

use super::mark::{Act, Mark};
use super::stored;
use crate::domain::event::{EventKind, of_change};
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::entropy;
use crate::store::StoreError;
use crate::store::redis::RedisStore;
use crate::store::redis::leases::pool_of;
use crate::store::redis::scripts::{Call, NOTE_MARK};

/// What stands for an act until it is told.
pub(in crate::store::redis) enum Notice {
    /// The token is in no pool: a mark, written before the act.
    Mark { text: Vec<u8>, since: Instant },
    /// The script of the act notes it in the outbox of the pool.
    Outbox(Pool),
}

impl RedisStore {
    /// Of an act on `token`, which was judged at `now`.
    pub(in crate::store::redis) fn notice(
        &self,
        token: &Token,
        act: fn(&Token) -> Act,
        now: Timestamp,
    ) -> Result<Notice, StoreError> {
        if let Some(pool) = pool_of(token) {
            return Ok(Notice::Outbox(pool));
        }
        let [draw] =
            entropy::draws().map_err(|error| StoreError::Unreachable(error.to_string()))?;
        let text = Mark::new(token, act(token), now, draw).text();
        let since = Instant::now();
        Ok(Notice::Mark { text, since })
    }

    /// What is carried out before the act.
    pub(in crate::store::redis) fn announcing(&self, notice: &Notice) -> Option<Call> {
        match notice {
            Notice::Mark { text, .. } => {
                let call = NOTE_MARK.call([self.access.keys.marks()]);
                Some(call.arg(text.as_slice()))
            }
            Notice::Outbox(_) => None,
        }
    }

    /// Tells the act, once it is known to be done.
    pub(in crate::store::redis) fn done(
        &self,
        notice: Notice,
        kind: EventKind,
        time: Timestamp,
        token: &Token,
    ) {
        match notice {
            Notice::Mark { text, since } => {
                let event = stored::event(kind, time, token.clone());
                self.teller.tell(text, stored::encode(&event), since);
            }
            Notice::Outbox(pool) => self.teller.poke(Some(pool)),
        }
    }

    /// Takes back what was noted of an act that is known not to be done.
    pub(in crate::store::redis) fn undone(&self, notice: Notice) {
        if let Notice::Mark { text, since } = notice {
            self.teller.tell(text, Vec::new(), since);
        }
    }
}

/// As what the change of `token` to `changed` is told, which gets its revision from the store.
pub(in crate::store::redis) fn kind_of_change(token: &Token, changed: &Token) -> EventKind {
    let next = Token {
        revision: token.revision.saturating_add(1),
        ..changed.clone()
    };
    of_change(Some(token), Some(&next)).unwrap_or(EventKind::Updated)
}
