//! Listing tokens: walks the indexes that the filter needs, and reads what they name.
//!
//! In one namespace a page costs the same at any number of tokens and of namespaces. A list over
//! all namespaces asks each of them for its newest entries, for every page: `n` namespaces are
//! `2 n` small reads, sent by the hundreds, in three round trips for each
//! [`super::line::PIPELINE_MAX`] namespaces. At most [`crate::store::listing::EXAMINED_MAX`]
//! namespaces are remembered meanwhile.

use redis::{Value, cmd};

use super::RedisStore;
use super::error::{read, unexpected};
use super::keys::SeriesName;
use super::line::{Line, PIPELINE_MAX};
use super::namespaces::Namespaces;
use super::standing::Standing;
use super::walk::Walk;
use crate::domain::caller::Reach;
use crate::domain::name::Namespace;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
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
        let line = &self.access.links.line()?;
        let mut chunk = size.get() + 1;
        let mut walk = Walk::new(&self.access, &self.series, line, after, chunk);
        self.walk_through(filter, line, &mut walk).await?;
        let mut page: Option<PageBuilder<'_>> = None;
        loop {
            let (entries, ended) = walk.next(chunk).await?;
            let (tokens, now) = self.read_all(line, &entries).await?;
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

    /// Walks through the series that hold all that `filter` may admit: the owner's, which is
    /// usually smaller than the pool's.
    async fn walk_through(
        &self,
        filter: &Filter,
        line: &Line<'_>,
        walk: &mut Walk<'_>,
    ) -> Result<(), StoreError> {
        let series = |namespace: &Namespace| match (&filter.owner, &filter.pool) {
            (Some(owner), _) => SeriesName::owner(namespace, owner),
            (None, Some(pool)) => SeriesName::pool(namespace, pool),
            (None, None) => SeriesName::namespace(namespace),
        };
        match &filter.reach {
            Reach::All => {
                let mut namespaces = Namespaces::after(&self.access, line, None);
                while let Some(some) = namespaces.next(PIPELINE_MAX).await? {
                    walk.add(some.iter().map(series).collect()).await?;
                }
            }
            Reach::Only(namespaces) => {
                let names: Vec<_> = namespaces.iter().map(series).collect();
                for some in names.chunks(PIPELINE_MAX) {
                    walk.add(some.to_vec()).await?;
                }
            }
        }
        Ok(())
    }

    /// Reads the records of some entries, the time, and at last the marker: what is absent is
    /// absent from this very store.
    pub(super) async fn read_all(
        &self,
        line: &Line<'_>,
        entries: &[Cursor],
    ) -> Result<(Vec<Option<Token>>, Timestamp), StoreError> {
        let keys = &self.access.keys;
        let limit = self.access.write_timeout;
        let mut commands = Vec::with_capacity(entries.len() + 2);
        for entry in entries {
            let mut get = cmd("GET");
            get.arg(keys.record(entry.id));
            commands.push(get);
        }
        commands.extend([cmd("TIME"), line.marker()]);
        let mut answers = line.raw_commands(limit, commands).await?;
        let (Some(marker), Some(time)) = (answers.pop(), answers.pop()) else {
            return Err(unexpected("fewer answers than commands"));
        };
        line.check_marker(limit, marker)?;
        let (seconds, micros): (u64, u64) = read(line.accept(limit, time)?)?;
        let now = match &self.access.clock {
            Some(clock) => clock.now(),
            None => Timestamp::from_micros(seconds * 1_000_000 + micros),
        };
        let mut records = Vec::with_capacity(entries.len());
        for (entry, answer) in entries.iter().zip(answers) {
            let token = line.accept(limit, answer);
            records.push(readable(
                entry.id,
                token.and_then(|answer| record(entry.id, answer)),
            )?);
        }
        let tokens = self.hold_all(line, records, now).await?;
        Ok((tokens, now))
    }

    /// Gives the pooled ones among some tokens their tenures, read in one more exchange; those are
    /// left out that nobody kept alive.
    async fn hold_all(
        &self,
        line: &Line<'_>,
        tokens: Vec<Option<Token>>,
        now: Timestamp,
    ) -> Result<Vec<Option<Token>>, StoreError> {
        let is_pooled = |token: &&Token| token.profile.pool.is_some();
        let commands = tokens.iter().flatten().filter(is_pooled).map(|token| {
            let mut get = cmd("GET");
            get.arg(self.access.keys.tenure(token.id));
            get
        });
        let limit = self.access.write_timeout;
        let mut tenures = line.commands(limit, commands.collect()).await?.into_iter();
        let mut held = Vec::with_capacity(tokens.len());
        for token in tokens {
            let token = match token {
                Some(token) if is_pooled(&&token) => {
                    let stored: Option<Vec<u8>> = read(tenures.next().unwrap_or_default())?;
                    let (id, stored) = (token.id, stored.unwrap_or_default());
                    let token = self.holding(line, token, &stored, now).await;
                    readable(id, token.map(Some))?.filter(|token| !token.lapsed(now))
                }
                token => token,
            };
            held.push(token);
        }
        Ok(held)
    }
}

fn record(id: TokenId, answer: Value) -> Result<Option<Token>, StoreError> {
    let value: Option<Vec<u8>> = read(answer)?;
    Ok(Standing::read(id, value.as_deref())?.token())
}

/// One record that cannot be read must not hide all others; whoever asks for it gets the error.
fn readable(
    id: TokenId,
    token: Result<Option<Token>, StoreError>,
) -> Result<Option<Token>, StoreError> {
    match token {
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(%id, %error, "a listing passed over a record that cannot be read");
            Ok(None)
        }
        token => token,
    }
}
