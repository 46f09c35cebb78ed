//! Counts the tokens of namespaces: one row for each, which triggers keep.

use std::ops::Bound::{Excluded, Unbounded};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use super::{Inner, SqliteStore};
use crate::domain::caller::Reach;
use crate::domain::name::Namespace;
use crate::domain::page::PageSize;
use crate::store::census::{Census, CensusBuilder};
use crate::store::{NamespaceStore, StoreError};

const ALL: &str =
    "SELECT namespace, tokens FROM namespaces WHERE namespace > ?1 ORDER BY namespace LIMIT ?2";
const ONE: &str = "SELECT tokens FROM namespaces WHERE namespace = ?1";

#[async_trait]
impl NamespaceStore for SqliteStore {
    async fn census(
        &self,
        reach: &Reach,
        after: Option<&Namespace>,
        size: PageSize,
    ) -> Result<Census, StoreError> {
        let (reach, after) = (reach.clone(), after.cloned());
        self.in_a_list(move |inner| inner.census(&reach, after.as_ref(), size))
            .await
    }
}

impl Inner {
    fn census(
        &self,
        reach: &Reach,
        after: Option<&Namespace>,
        size: PageSize,
    ) -> Result<Census, StoreError> {
        self.snapshot(|connection| {
            let page = CensusBuilder::new(size);
            match reach {
                Reach::All => everywhere(connection, after, page),
                Reach::Only(namespaces) => {
                    let from = after.map_or(Unbounded, Excluded);
                    let some = namespaces.range::<Namespace, _>((from, Unbounded));
                    within(connection, some, page)
                }
            }
        })
    }
}

fn everywhere(
    connection: &Connection,
    after: Option<&Namespace>,
    mut page: CensusBuilder,
) -> Result<Census, Fault> {
    let after = after.map_or("", Namespace::as_str);
    let wanted = page.wants();
    let mut statement = connection.prepare_cached(ALL)?;
    let mut rows = statement.query((after, wanted as i64))?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        let namespace = Namespace::parse(row.get_ref(0)?.as_str()?)
            .map_err(|flaw| StoreError::Corrupt(format!("the name of a namespace {flaw}")))?;
        let tokens: i64 = row.get(1)?;
        page.offer(namespace, tokens.cast_unsigned());
    }
    Ok(page.finish(seen < wanted))
}

fn within<'a>(
    connection: &Connection,
    namespaces: impl Iterator<Item = &'a Namespace>,
    mut page: CensusBuilder,
) -> Result<Census, Fault> {
    let mut namespaces = namespaces.peekable();
    while page.wants() > 0
        && let Some(namespace) = namespaces.next()
    {
        let tokens = population(connection, namespace)?;
        page.offer(namespace.clone(), tokens);
    }
    Ok(page.finish(namespaces.peek().is_none()))
}

/// How many tokens a namespace holds.
pub(super) fn population(connection: &Connection, namespace: &Namespace) -> Result<u64, Fault> {
    let tokens: Option<i64> = connection
        .prepare_cached(ONE)?
        .query_row([namespace.as_str()], |row| row.get(0))
        .optional()?;
    Ok(tokens.unwrap_or(0).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::tests::{Bench, created, fresh, in_namespace};
    use rusqlite::params_from_iter;
    use rusqlite::types::Null;

    #[test]
    fn no_count_reads_more_than_a_row_for_each_namespace() {
        let bench = Bench::new();
        drop(bench.open());
        let connection = bench.raw();
        for (sql, seek) in [(ALL, "namespace>?"), (ONE, "namespace=?")] {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let values = vec![Null; plan.parameter_count()];
            let steps: Vec<String> = plan
                .query_map(params_from_iter(values), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let expected = format!("SEARCH namespaces USING PRIMARY KEY ({seek})");
            assert_eq!(steps, [expected]);
        }
    }

    #[tokio::test]
    async fn whoever_deletes_rows_cannot_forget_to_count_them() {
        let bench = Bench::new();
        let store = bench.open();
        for _ in 0..3 {
            created(&store, fresh()).await;
            created(&store, in_namespace("shop")).await;
        }
        let counted = async || {
            let census = store.census(&Reach::All, None, PageSize::asked(9)).await;
            let populations = census.unwrap().populations.into_iter();
            let pair =
                |one: crate::store::census::Population| (one.namespace.to_string(), one.tokens);
            populations.map(pair).collect::<Vec<_>>()
        };
        let pair = |name: &str, tokens| (name.to_owned(), tokens);
        assert_eq!(counted().await, [pair("default", 3), pair("shop", 3)]);
        let raw = bench.raw();
        let some = "DELETE FROM tokens WHERE namespace = 'shop' OR rowid = 1";
        raw.execute(some, []).unwrap();
        assert_eq!(counted().await, [pair("default", 2)]);
        raw.execute("DELETE FROM tokens", []).unwrap();
        assert_eq!(counted().await, []);
    }
}
