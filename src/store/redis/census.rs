//! Counts the tokens of namespaces, by the entries in the buckets of their series.
//!
//! An entry that a crash left behind counts until it is removed, as one whose record is still to
//! be written, or was just deleted.

use std::ops::Bound::{Excluded, Unbounded};

use async_trait::async_trait;
use redis::{Cmd, cmd};

use super::RedisStore;
use super::error::read;
use super::keys::SeriesName;
use super::line::{Line, PIPELINE_MAX};
use super::namespaces::Namespaces;
use super::series::{Bucket, read_directory};
use crate::domain::caller::Reach;
use crate::domain::name::Namespace;
use crate::domain::page::PageSize;
use crate::domain::time::Timestamp;
use crate::store::census::{Census, CensusBuilder};
use crate::store::{NamespaceStore, StoreError};

/// About how many buckets a page counts at most; it always counts those of one namespace.
const BUCKETS_MAX: u64 = 8192;

#[async_trait]
impl NamespaceStore for RedisStore {
    async fn census(
        &self,
        reach: &Reach,
        after: Option<&Namespace>,
        size: PageSize,
    ) -> Result<Census, StoreError> {
        let line = &self.access.links.line()?;
        let mut page = CensusBuilder::new(size);
        let mut names = match reach {
            Reach::All => Names::All(Namespaces::after(&self.access, line, after)),
            Reach::Only(namespaces) => {
                let from = after.map_or(Unbounded, Excluded);
                let some = namespaces.range::<Namespace, _>((from, Unbounded));
                Names::Some(some.cloned().collect::<Vec<_>>().into_iter())
            }
        };
        let mut buckets = BUCKETS_MAX;
        let mut ended = false;
        while page.wants() > 0 && buckets > 0 {
            let Some(some) = names.next(page.wants().min(PIPELINE_MAX)).await? else {
                ended = true;
                break;
            };
            for (namespace, tokens) in self.count(line, some, &mut buckets).await? {
                page.offer(namespace, tokens);
            }
        }
        // What is absent is absent from this very store.
        line.confirm(self.access.write_timeout).await?;
        Ok(page.finish(ended))
    }
}

/// The names to count, in order.
enum Names<'a> {
    All(Namespaces<'a>),
    Some(std::vec::IntoIter<Namespace>),
}

impl Names<'_> {
    /// The next at most `count`; `None` at the end.
    async fn next(&mut self, count: usize) -> Result<Option<Vec<Namespace>>, StoreError> {
        match self {
            Self::All(names) => names.next(count).await,
            Self::Some(names) => {
                let some: Vec<Namespace> = names.by_ref().take(count).collect();
                Ok(Some(some).filter(|some| !some.is_empty()))
            }
        }
    }
}

impl RedisStore {
    /// Counts as many of `namespaces`, from the first, as `buckets` are left for.
    pub(super) async fn count(
        &self,
        line: &Line<'_>,
        namespaces: Vec<Namespace>,
        buckets: &mut u64,
    ) -> Result<Vec<(Namespace, u64)>, StoreError> {
        let limit = self.access.write_timeout;
        let series: Vec<SeriesName> = namespaces.iter().map(SeriesName::namespace).collect();
        let asked = series
            .iter()
            .map(|name| self.series.ask_directory(name, None));
        let directories = line.commands(limit, asked.collect()).await?;
        let mut commands: Vec<Cmd> = Vec::new();
        let mut counted = Vec::with_capacity(namespaces.len());
        for ((namespace, name), directory) in namespaces.into_iter().zip(&series).zip(directories) {
            let count = read_directory(directory)?.number + 1;
            if count > *buckets && !counted.is_empty() {
                *buckets = 0;
                break;
            }
            *buckets = buckets.saturating_sub(count);
            commands.extend((0..count).map(|bucket| self.cardinality(name, bucket)));
            counted.push((namespace, count));
        }
        let mut sizes = line.commands(limit, commands).await?.into_iter();
        let sum = |(namespace, count): (Namespace, u64)| {
            let sizes = (0..count).map_while(|_| sizes.next()).map(read::<u64>);
            Ok((namespace, sizes.sum::<Result<u64, _>>()?))
        };
        counted.into_iter().map(sum).collect()
    }

    /// How many entries of a namespace are older than the one that was added to `bucket` at `time`:
    /// each bucket is newer than all before it.
    pub(super) async fn older(
        &self,
        line: &Line<'_>,
        name: &SeriesName,
        bucket: Bucket,
        time: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut commands: Vec<Cmd> = (0..bucket.number)
            .map(|bucket| self.cardinality(name, bucket))
            .collect();
        let mut beside = cmd("ZCOUNT");
        beside.arg(self.access.keys.entries(name, bucket.number));
        beside.arg("-inf").arg(format!("({}", time.micros()));
        commands.push(beside);
        let limit = self.access.write_timeout;
        let counts = line.commands(limit, commands).await?;
        counts.into_iter().map(read::<u64>).sum()
    }

    fn cardinality(&self, name: &SeriesName, bucket: u64) -> Cmd {
        let mut command = cmd("ZCARD");
        command.arg(self.access.keys.entries(name, bucket));
        command
    }
}
