//! Listing tokens: walks the indexes that the filter needs, and reads what they name.

use redis::{Pipeline, cmd};

use super::RedisStore;
use super::error::{read, unexpected};
use super::identity::marker;
use super::keys::SeriesName;
use super::standing::Standing;
use super::walk::Walk;
use crate::domain::caller::Reach;
use crate::domain::name::Namespace;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::store::listing::PageBuilder;
use crate::store::{Page, StoreError};

/// Most records that are read at once.
const RECORDS_MAX: usize = 1001;

impl RedisStore {
    /// Carries out [`crate::store::TokenStore::list`].
    pub(super) async fn list_tokens(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page, StoreError> {
        let names = self.series_for(filter).await?;
        let mut walk = Walk::open(&self.access, &self.series, names, after).await?;
        let mut chunk = size.get() + 1;
        let mut page: Option<PageBuilder<'_>> = None;
        loop {
            let (entries, ended) = walk.next(chunk).await?;
            let (tokens, now) = self.read_all(&entries).await?;
            let mut filled = page.unwrap_or_else(|| PageBuilder::new(filter, size, now));
            for (entry, token) in entries.into_iter().zip(tokens) {
                let token = token.filter(|token| token.create_time == entry.create_time);
                filled.offer(entry, token);
            }
            if ended || filled.wants() == 0 {
                return Ok(filled.finish(ended));
            }
            chunk = filled.wants().min(RECORDS_MAX);
            page = Some(filled);
        }
    }

    /// The series that hold all that `filter` may admit: the owner's, which is usually smaller than
    /// the pool's.
    async fn series_for(&self, filter: &Filter) -> Result<Vec<SeriesName>, StoreError> {
        let namespaces = match &filter.reach {
            Reach::All => self.series.namespaces().await?,
            Reach::Only(namespaces) => namespaces.clone(),
        };
        let series = |namespace: &Namespace| match (&filter.owner, &filter.pool) {
            (Some(owner), _) => SeriesName::owner(namespace, owner),
            (None, Some(pool)) => SeriesName::pool(namespace, pool),
            (None, None) => SeriesName::namespace(namespace),
        };
        Ok(namespaces.iter().map(series).collect())
    }

    /// Reads the records of some entries, the time, and the marker, all at once: what is absent is
    /// absent from this very store.
    async fn read_all(
        &self,
        entries: &[Cursor],
    ) -> Result<(Vec<Option<Token>>, Timestamp), StoreError> {
        let keys = &self.access.keys;
        let mut all = Pipeline::with_capacity(entries.len() + 2);
        for entry in entries {
            all.cmd("GET").arg(keys.record(entry.id));
        }
        all.add_command(cmd("TIME")).add_command(marker(keys));
        let limit = self.access.write_timeout;
        let mut answers = self.access.links.pipeline(limit, &all).await?;
        let (Some(marker), Some(time)) = (answers.pop(), answers.pop()) else {
            return Err(unexpected("fewer answers than commands"));
        };
        self.access.links.check_marker(marker)?;
        let (seconds, micros): (u64, u64) = read(time)?;
        let now = match &self.access.clock {
            Some(clock) => clock.now(),
            None => Timestamp::from_micros(seconds * 1_000_000 + micros),
        };
        let mut tokens = Vec::with_capacity(entries.len());
        for (entry, answer) in entries.iter().zip(answers) {
            let value: Option<Vec<u8>> = read(answer)?;
            tokens.push(Standing::read(entry.id, value.as_deref())?.token());
        }
        Ok((tokens, now))
    }
}
