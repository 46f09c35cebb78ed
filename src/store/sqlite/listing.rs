//! Walks the indexes newest first, merged over namespaces, until a page is filled.

use std::collections::BinaryHeap;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Connection, Rows, params_from_iter};

use super::error::Fault;
use super::seen::Seen;
use super::tokens::{Kept, columns, read_id, read_kept};
use crate::domain::caller::Reach;
use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::store::listing::PageBuilder;
use crate::store::{Page, StoreError};

/// One query per kind of listing. Each names its index: without the statistics that nobody
/// gathers, the choice must not be left to a planner's guess.
macro_rules! walk {
    ($index:literal, $condition:literal, $order:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", create_time FROM tokens INDEXED BY ",
            $index,
            " WHERE (create_time, id) < (?1, ?2)",
            $condition,
            " ORDER BY ",
            $order
        )
    };
}

const EVERYWHERE: &str = walk!("tokens_all", "", "create_time DESC, id DESC");
const EVERYWHERE_OWNER: &str = walk!(
    "tokens_owner",
    " AND owner = ?3",
    "create_time DESC, id DESC"
);
const EVERYWHERE_POOL: &str = walk!("tokens_pool", " AND pool = ?3", "create_time DESC, id DESC");
// Within a namespace the create_time alone is an order.
const NAMESPACE: &str = walk!(
    "tokens_namespace",
    " AND namespace = ?3",
    "create_time DESC"
);
const NAMESPACE_OWNER: &str = walk!(
    "tokens_namespace_owner",
    " AND namespace = ?3 AND owner = ?4",
    "create_time DESC"
);
const NAMESPACE_POOL: &str = walk!(
    "tokens_namespace_pool",
    " AND namespace = ?3 AND pool = ?4",
    "create_time DESC"
);

/// A query and its values after the first two.
#[derive(Debug, PartialEq, Eq)]
struct Walk<'a> {
    sql: &'static str,
    values: Vec<&'a str>,
}

/// The walks that together meet everything the filter may admit, and little else.
fn walks(filter: &Filter) -> Vec<Walk<'_>> {
    let owner = filter.owner.as_ref().map(|owner| owner.as_str());
    let pool = filter.pool.as_ref().map(|pool| pool.as_str());
    let (everywhere, within, value) = match (owner, pool) {
        (Some(owner), _) => (EVERYWHERE_OWNER, NAMESPACE_OWNER, Some(owner)),
        (None, Some(pool)) => (EVERYWHERE_POOL, NAMESPACE_POOL, Some(pool)),
        (None, None) => (EVERYWHERE, NAMESPACE, None),
    };
    match &filter.reach {
        Reach::All => vec![Walk {
            sql: everywhere,
            values: value.into_iter().collect(),
        }],
        Reach::Only(namespaces) => namespaces
            .iter()
            .map(|namespace| Walk {
                sql: within,
                values: [namespace.as_str()].into_iter().chain(value).collect(),
            })
            .collect(),
    }
}

/// Fills a page. Rows are fetched one by one as the merge asks for them, so a page reads little
/// more than it examines.
pub(super) fn page(
    connection: &Connection,
    filter: &Filter,
    after: Option<Cursor>,
    size: PageSize,
    now: Timestamp,
    seen: &Seen,
) -> Result<Page, Fault> {
    let (time, id) = match &after {
        Some(after) => (after.create_time.micros().cast_signed(), after.id.as_str()),
        None => (i64::MAX, ""),
    };
    let walks = walks(filter);
    let mut statements = walks
        .iter()
        .map(|walk| connection.prepare_cached(walk.sql))
        .collect::<Result<Vec<CachedStatement<'_>>, _>>()?;
    let mut rows = Vec::with_capacity(walks.len());
    for (statement, walk) in statements.iter_mut().zip(&walks) {
        let start: [&dyn ToSql; 2] = [&time, &id];
        let values = walk.values.iter().map(|value| value as &dyn ToSql);
        rows.push(statement.query(params_from_iter(start.into_iter().chain(values)))?);
    }

    // The newest entry of each walk that is not at its end, with the number of the walk.
    let mut heads = BinaryHeap::with_capacity(rows.len());
    for (number, rows) in rows.iter_mut().enumerate() {
        heads.extend(advance(rows)?.map(|at| (at, number)));
    }
    let mut builder = PageBuilder::new(filter, size, now);
    while builder.wants() > 0
        && let Some((at, number)) = heads.pop()
    {
        let rows = &mut rows[number];
        let kept = rows.get().map(read_kept).transpose();
        let token = legible(at.id, kept)?.map(|kept| kept.at(now, seen).token);
        builder.offer(at, token.filter(|token| !token.lapsed(now)));
        heads.extend(advance(rows)?.map(|at| (at, number)));
    }
    Ok(builder.finish(heads.is_empty()))
}

/// Moves on to the next entry and answers its place.
fn advance(rows: &mut Rows<'_>) -> Result<Option<Cursor>, Fault> {
    while let Some(row) = rows.next()? {
        match read_id(row) {
            Ok(id) => {
                let create_time: i64 = row.get(8)?;
                return Ok(Some(Cursor {
                    create_time: Timestamp::from_micros(create_time.cast_unsigned()),
                    id,
                }));
            }
            // Without an id it has no place in a listing, and nobody can ask for it.
            Err(Fault::Store(StoreError::Corrupt(reason))) => {
                tracing::error!(reason, "a record is left out of a listing");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// `None` in place of a record that cannot be read: it must not hide all the others. Whoever asks
/// for it by its id is told.
fn legible(id: TokenId, kept: Result<Option<Kept>, Fault>) -> Result<Option<Kept>, Fault> {
    match kept {
        Err(Fault::Store(StoreError::Corrupt(reason))) => {
            tracing::error!(
                token_id = id.as_str(),
                reason,
                "a record is left out of a listing"
            );
            Ok(None)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{Owner, PoolName};
    use crate::store::sqlite::tests::{Bench, filter};

    /// Each walk with how it seeks its start, as SQLite says it.
    const ALL: [(&str, &str); 6] = [
        (EVERYWHERE, "tokens_all ((create_time,id)<(?,?))"),
        (
            EVERYWHERE_OWNER,
            "tokens_owner (owner=? AND (create_time,id)<(?,?))",
        ),
        (
            EVERYWHERE_POOL,
            "tokens_pool (pool=? AND (create_time,id)<(?,?))",
        ),
        (
            NAMESPACE,
            "tokens_namespace (namespace=? AND create_time<?)",
        ),
        (
            NAMESPACE_OWNER,
            "tokens_namespace_owner (namespace=? AND owner=? AND create_time<?)",
        ),
        (
            NAMESPACE_POOL,
            "tokens_namespace_pool (namespace=? AND pool=? AND create_time<?)",
        ),
    ];

    #[test]
    fn every_walk_seeks_in_its_index_and_sorts_nothing() {
        let bench = Bench::new();
        drop(bench.open());
        let connection = bench.raw();
        for (sql, seek) in ALL {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let values = vec![rusqlite::types::Null; plan.parameter_count()];
            let steps: Vec<String> = plan
                .query_map(params_from_iter(values), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(steps, [format!("SEARCH tokens USING INDEX {seek}")]);
        }
    }

    #[test]
    fn the_narrowest_index_is_walked_in_each_namespace_or_everywhere() {
        let owned = Filter {
            owner: Owner::parse("ann").ok(),
            pool: PoolName::parse("gpu").ok(),
            ..filter(Reach::All)
        };
        let everywhere = Walk {
            sql: EVERYWHERE_OWNER,
            values: vec!["ann"],
        };
        assert_eq!(walks(&owned), [everywhere]);
        let pooled = Filter {
            owner: None,
            reach: Reach::only(crate::domain::name::Namespace::fallback()),
            ..owned
        };
        let within = Walk {
            sql: NAMESPACE_POOL,
            values: vec!["default", "gpu"],
        };
        assert_eq!(walks(&pooled), [within]);
    }
}
