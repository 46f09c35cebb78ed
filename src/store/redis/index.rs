//! Where a token is listed: its index entries, and when they are added and removed.
//!
//! Entries are added before the record that they lead to and removed after it, so that no listing
//! ever misses a token. What a crash or a lost race leaves behind leads nowhere, and is passed over.

use super::RedisStore;
use super::keys::SeriesName;
use super::line::Line;
use super::series::At;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::StoreError;

/// One entry of a token in one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) series: SeriesName,
    pub(super) id: TokenId,
    /// The token's `create_time`, by which the series is ordered, in microseconds since 1970.
    pub(super) time: u64,
    /// Since when the token belongs there, in microseconds since 1970. A token that comes back to
    /// an owner has another entry than before, so that whoever clears away the old one leaves the
    /// new one alone.
    pub(super) since: u64,
}

impl Entry {
    /// The entry of a token of `id` in a series that it belongs to from its beginning.
    pub(super) fn lasting(series: SeriesName, id: TokenId, time: Timestamp) -> Self {
        let time = time.micros();
        Self {
            series,
            id,
            time,
            since: time,
        }
    }

    pub(super) fn of_owner(token: &Token) -> Option<Self> {
        let owner = token.profile.owner.as_ref()?;
        Some(Self {
            series: SeriesName::owner(&token.namespace, owner),
            id: token.id,
            time: token.create_time.micros(),
            since: token.owner_since.micros(),
        })
    }

    /// All of `token`, that in its namespace first.
    pub(super) fn all_of(token: &Token) -> Vec<Self> {
        let lasting = |series| Self::lasting(series, token.id, token.create_time);
        let namespace = &token.namespace;
        let pool = token.profile.pool.as_ref();
        let pool = pool.map(|pool| lasting(SeriesName::pool(namespace, pool)));
        let mut entries = vec![lasting(SeriesName::namespace(namespace))];
        entries.extend(Self::of_owner(token));
        entries.extend(pool);
        entries
    }

    /// What stands in the series.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.id, self.since)
    }
}

impl RedisStore {
    /// Adds a token to the series beside its namespace's.
    pub(super) async fn index_beside(
        &self,
        line: &Line<'_>,
        token: &Token,
    ) -> Result<(), StoreError> {
        let entries = Entry::all_of(token);
        tokio::try_join!(
            self.index(line, entries.get(1)),
            self.index(line, entries.get(2))
        )?;
        Ok(())
    }

    pub(super) async fn index(
        &self,
        line: &Line<'_>,
        entry: Option<&Entry>,
    ) -> Result<(), StoreError> {
        let Some(Entry {
            series,
            id,
            time,
            since,
        }) = entry
        else {
            return Ok(());
        };
        let at = At::Given {
            time: *time,
            since: *since,
        };
        let added = self.series.add(line, series, id.as_str(), at).await;
        added.map(drop)
    }

    /// Removes entries that lead nowhere. What remains after an error is passed over by listings.
    pub(super) async fn unindex(&self, line: &Line<'_>, entries: &[Entry]) {
        let remove = async |entry: Option<&Entry>| {
            if let Some(entry) = entry
                && let Err(error) = self.series.remove(line, entry).await
            {
                let Entry { series, id, .. } = entry;
                tracing::debug!(%id, %series, %error, "an index entry remains");
            }
        };
        tokio::join!(
            remove(entries.first()),
            remove(entries.get(1)),
            remove(entries.get(2))
        );
    }
}
