//! Forgetting the closed hours of tokens that are gone; their ledgers and days went with their records.

use redis::cmd;

use super::super::RedisStore;
use super::super::line::Line;
use crate::domain::token::TokenId;
use crate::domain::usage::Subject;
use crate::store::StoreError;
use crate::store::usage::decode_days;

impl RedisStore {
    /// Removes the hours of tokens, each of which had such days. What remains after an error goes by
    /// itself.
    pub(in crate::store::redis) async fn forget_hours(
        &self,
        line: &Line<'_>,
        tokens: Vec<(TokenId, Vec<u8>)>,
    ) {
        let mut commands = Vec::new();
        for (id, days) in tokens {
            let subject = Subject::Token(id);
            match decode_days(&days) {
                Ok(days) => commands.extend(days.keys().map(|day| {
                    let mut hours = cmd("DEL");
                    hours.arg(self.access.keys.hours(&subject, *day));
                    hours
                })),
                Err(error) => self.ledgers.note_unreadable(&subject, &error),
            }
        }
        if commands.is_empty() {
            return;
        }
        let removed = line.commands(self.access.write_timeout, commands).await;
        if let Err::<_, StoreError>(error) = removed {
            tracing::debug!(%error, "hours of use remain until their time");
        }
    }
}
