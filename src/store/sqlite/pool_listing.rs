//! Lists pools, each as it stands at one instant.
//!
//! A pool is counted by the writer, after it has noticed all that came due in it, a bounded number
//! of tokens at a time.

use rusqlite::Connection;

use super::error::Fault;
use super::pools::{self, Place};
use super::tokens::Acts;
use super::{Inner, SqliteStore};
use crate::domain::caller::Reach;
use crate::domain::flaw::Flaw;
use crate::domain::name::{Namespace, PoolName};
use crate::domain::page::PageSize;
use crate::domain::pool::{Pool, Standing};
use crate::store::StoreError;
use crate::store::leases::Pools;
use crate::store::listing::EXAMINED_MAX;

/// Pools that one act of the writer counts at most.
const COUNTED_AT_ONCE: usize = 16;

pub(super) const EVERYWHERE: &str = "SELECT namespace, name FROM pools INDEXED BY pools_name \
                          WHERE (namespace, name) > (?1, ?2) ORDER BY namespace, name LIMIT ?3";
pub(super) const WITHIN: &str = "SELECT namespace, name FROM pools INDEXED BY pools_name \
                      WHERE namespace = ?1 AND name > ?2 ORDER BY name LIMIT ?3";

impl SqliteStore {
    /// Carries out [`crate::store::LeaseStore::pools`].
    pub(super) async fn list_pools(
        &self,
        reach: &Reach,
        after: Option<&Pool>,
        size: PageSize,
    ) -> Result<Pools, StoreError> {
        // One more than the page holds, so that a full last page is known to be the last.
        let wanted = (size.get() + 1).min(EXAMINED_MAX);
        let (reach, after) = (reach.clone(), after.cloned());
        let mut names = self
            .in_a_list(move |inner| inner.pool_names(&reach, after.as_ref(), wanted))
            .await?;
        let more = names.len() == wanted;
        if more {
            names.pop();
        }
        let next = names.last().filter(|_| more).cloned();
        let mut pools = Vec::with_capacity(names.len());
        let mut rest = names.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<Pool> = rest.by_ref().take(COUNTED_AT_ONCE).collect();
            pools.extend(self.counted(some).await?);
        }
        Ok(Pools { pools, next })
    }

    /// How some pools stand; those that turn out to hold nothing are left out.
    async fn counted(&self, mut names: Vec<Pool>) -> Result<Vec<(Pool, Standing)>, StoreError> {
        let mut pools = Vec::with_capacity(names.len());
        while !names.is_empty() {
            let step = move |acts: &Acts<'_>| {
                let mut counted = Vec::new();
                for pool in &names {
                    match acts.standing(pool)? {
                        Some(standing) => counted.push((pool.clone(), standing)),
                        None => break,
                    }
                }
                let rest = names.split_off(counted.len());
                Ok((counted, rest))
            };
            let (counted, rest) = self.inner.write(step).await?;
            pools.extend(counted);
            names = rest;
        }
        pools.retain(|(_, standing): &(Pool, Standing)| standing.tokens() > 0);
        Ok(pools)
    }
}

impl Inner {
    /// The names of pools that may hold tokens, in their order.
    fn pool_names(
        &self,
        reach: &Reach,
        after: Option<&Pool>,
        wanted: usize,
    ) -> Result<Vec<Pool>, StoreError> {
        self.snapshot(|connection| {
            let (from, behind) = after.map_or(("", ""), |pool| {
                (pool.namespace.as_str(), pool.name.as_str())
            });
            let Reach::Only(namespaces) = reach else {
                return names(connection, EVERYWHERE, from, behind, wanted);
            };
            let mut found = Vec::new();
            for namespace in namespaces {
                let behind = match namespace.as_str().cmp(from) {
                    std::cmp::Ordering::Less => continue,
                    std::cmp::Ordering::Equal => behind,
                    std::cmp::Ordering::Greater => "",
                };
                let room = wanted - found.len();
                found.extend(names(connection, WITHIN, namespace.as_str(), behind, room)?);
                if found.len() == wanted {
                    break;
                }
            }
            Ok(found)
        })
    }
}

fn names(
    connection: &Connection,
    sql: &str,
    namespace: &str,
    name: &str,
    wanted: usize,
) -> Result<Vec<Pool>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((namespace, name, wanted as i64))?;
    let mut pools = Vec::new();
    while let Some(row) = rows.next()? {
        let corrupt = |flaw: Flaw| StoreError::Corrupt(format!("the name of a pool {flaw}"));
        pools.push(Pool {
            namespace: Namespace::parse(row.get_ref(0)?.as_str()?).map_err(corrupt)?,
            name: PoolName::parse(row.get_ref(1)?.as_str()?).map_err(corrupt)?,
        });
    }
    Ok(pools)
}

impl Acts<'_> {
    /// How a pool stands now; nothing while there may be more to notice first.
    pub(super) fn standing(&self, pool: &Pool) -> Result<Option<Standing>, Fault> {
        let now = self.time.now();
        let waiting = self.queues.waiting(pool, now);
        let none = Standing {
            waiting,
            ..Standing::default()
        };
        let Some(number) = pools::known(self.connection, pool)? else {
            return Ok(Some(none));
        };
        for place in [Place::Held, Place::Free, Place::Out] {
            if !self.settle(number, place, now)? {
                return Ok(None);
            }
        }
        self.call(pool, now)?;
        let counts = pools::counts(self.connection, number)?;
        Ok(Some(counts.map_or(none, |counts| Standing {
            available: counts.free,
            leased: counts.held,
            unavailable: counts.out,
            waiting,
        })))
    }
}
