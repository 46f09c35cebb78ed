//! Listing pools: their names in order, and how the tokens of each stand at one instant.

use redis::{Value, cmd};

use super::RedisStore;
use super::error::{read, unexpected};
use super::leases::{id_in, place_of};
use super::line::{Line, PIPELINE_MAX};
use super::scripts::COUNT_POOL;
use super::sight::encode;
use crate::domain::caller::Reach;
use crate::domain::name::{Namespace, PoolName};
use crate::domain::page::PageSize;
use crate::domain::pool::{Pool, Standing};
use crate::store::StoreError;
use crate::store::leases::Pools;
use crate::store::listing::EXAMINED_MAX;

/// Most rounds in which pools are settled before they can be counted.
const ROUNDS_MAX: usize = 10_000;

/// Names in the order of pools: what stands between the two sorts before all that is in a name.
pub(super) fn listed_name(pool: &Pool) -> String {
    let Pool { namespace, name } = pool;
    format!("{namespace} {}", name.as_str())
}

impl RedisStore {
    /// Carries out [`crate::store::LeaseStore::pools`].
    pub(super) async fn list_pools(
        &self,
        reach: &Reach,
        after: Option<&Pool>,
        size: PageSize,
    ) -> Result<Pools, StoreError> {
        let line = &self.access.links.line()?;
        let mut ranges = ranges(reach, after).into_iter();
        let mut range = ranges.next();
        let mut pools = Vec::new();
        let mut examined = 0;
        let mut last = None;
        while let Some((from, to)) = range.take() {
            let wanted = (size.get() + 1).saturating_sub(pools.len());
            let wanted = wanted.min(EXAMINED_MAX - examined).min(PIPELINE_MAX);
            if wanted == 0 {
                range = Some((from, to));
                break;
            }
            let names = self.pool_names(line, &from, &to, wanted).await?;
            let behind = names.last().map(|name| [b"(", name.as_slice()].concat());
            range = match behind.filter(|_| names.len() == wanted) {
                Some(from) => Some((from, to)),
                None => ranges.next(),
            };
            examined += names.len();
            let some: Vec<Pool> = names.iter().filter_map(|name| parsed(name)).collect();
            last = some.last().cloned().or(last);
            let standings = self.standings(line, &some).await?;
            some.iter()
                .cloned()
                .for_each(|pool| self.teller.poke(Some(pool)));
            let known = some.into_iter().zip(standings);
            pools.extend(known.filter(|(_, standing)| standing.tokens() > 0));
        }
        // What is absent is absent from this very store.
        line.confirm(self.access.write_timeout).await?;
        let next = if pools.len() > size.get() {
            pools.truncate(size.get());
            pools.last().map(|(pool, _)| pool.clone())
        } else {
            range.and(last)
        };
        Ok(Pools { pools, next })
    }

    pub(super) async fn pool_names(
        &self,
        line: &Line<'_>,
        from: &[u8],
        to: &[u8],
        count: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut command = cmd("ZRANGE");
        command.arg(self.access.keys.pools()).arg(from).arg(to);
        command.arg("BYLEX").arg("LIMIT").arg(0).arg(count);
        read(line.command(self.access.write_timeout, &command).await?)
    }

    /// How the tokens of each pool stand.
    pub(super) async fn standings(
        &self,
        line: &Line<'_>,
        pools: &[Pool],
    ) -> Result<Vec<Standing>, StoreError> {
        let mut standings = vec![Standing::default(); pools.len()];
        let mut left: Vec<usize> = (0..pools.len()).collect();
        for _ in 0..ROUNDS_MAX {
            if left.is_empty() {
                return Ok(standings);
            }
            let absences = match self.known_absences() {
                Some(absences) => absences,
                None => self.see(line).await?,
            };
            let calls: Vec<_> = left
                .iter()
                .map(|at| {
                    COUNT_POOL
                        .call([self.access.keys.base(id_in(&pools[*at]))])
                        .arg(place_of(&pools[*at]))
                        .arg(self.access.now())
                        .arg(absences.known_until().micros().to_string())
                        .arg(encode(&absences))
                })
                .collect();
            let answers = line.scripts(self.access.write_timeout, &calls).await?;
            let mut again = Vec::new();
            let mut unseen = false;
            for (at, answer) in left.into_iter().zip(answers) {
                match counted(answer)? {
                    Count::Done(standing) => standings[at] = standing,
                    Count::Again => again.push(at),
                    Count::Unseen => {
                        unseen = true;
                        again.push(at);
                    }
                }
            }
            left = again;
            if unseen {
                self.see(line).await?;
            }
        }
        Err(StoreError::Contended(ROUNDS_MAX))
    }
}

enum Count {
    Done(Standing),
    Again,
    Unseen,
}

fn counted(answer: Value) -> Result<Count, StoreError> {
    let mut parts = read::<Vec<Value>>(answer)?.into_iter();
    let outcome: String = read(parts.next().unwrap_or_default())?;
    match outcome.as_str() {
        "again" => Ok(Count::Again),
        "unseen" => Ok(Count::Unseen),
        "counted" => {
            let counts: Vec<u64> = parts.map(read).collect::<Result<_, _>>()?;
            let [available, leased, unavailable, waiting] = counts[..] else {
                return Err(unexpected("not four counts"));
            };
            Ok(Count::Done(Standing {
                available,
                leased,
                unavailable,
                waiting,
            }))
        }
        other => Err(unexpected(other)),
    }
}

/// From where to where names are read, as Redis says it, in order.
fn ranges(reach: &Reach, after: Option<&Pool>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let behind = |pool: &Pool| format!("({}", listed_name(pool)).into_bytes();
    match reach {
        Reach::All => vec![(after.map_or(b"-".to_vec(), behind), b"+".to_vec())],
        Reach::Only(namespaces) => {
            let left = namespaces
                .iter()
                .filter(|name| after.is_none_or(|after| **name >= after.namespace));
            left.map(|name| {
                let within = after.filter(|after| after.namespace == *name);
                let from = within.map_or_else(|| format!("[{name} ").into_bytes(), behind);
                // The next character after the one between the names.
                (from, format!("({name}!").into_bytes())
            })
            .collect()
        }
    }
}

pub(super) fn parsed(name: &[u8]) -> Option<Pool> {
    let (namespace, pool) = std::str::from_utf8(name).ok()?.split_once(' ')?;
    Some(Pool {
        namespace: Namespace::parse(namespace).ok()?,
        name: PoolName::parse(pool).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(namespace: &str, name: &str) -> Pool {
        Pool {
            namespace: Namespace::parse(namespace).unwrap(),
            name: PoolName::parse(name).unwrap(),
        }
    }

    #[test]
    fn names_are_ordered_as_pools_are() {
        let mut pools = Vec::new();
        for namespace in ["a", "a-b", "a0", "ab", "b"] {
            for name in ["x", "x-y", "x0", "xy"] {
                pools.push(pool(namespace, name));
            }
        }
        pools.sort();
        let names: Vec<String> = pools.iter().map(listed_name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let back: Vec<_> = names.iter().map(|name| parsed(name.as_bytes())).collect();
        assert_eq!(back, pools.into_iter().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_begins_behind_the_last_pool_in_its_namespace_or_in_a_later_one() {
        let names = ["a", "b", "c"].map(|name| Namespace::parse(name).unwrap());
        let reach = Reach::Only(names.into());
        let text = |(from, to): &(Vec<u8>, Vec<u8>)| {
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
            format!("{}..{}", text(from), text(to))
        };
        let asked: Vec<String> = ranges(&reach, Some(&pool("b", "x")))
            .iter()
            .map(text)
            .collect();
        assert_eq!(asked, ["(b x..(b!", "[c ..(c!"]);
        let asked: Vec<String> = ranges(&Reach::All, None).iter().map(text).collect();
        assert_eq!(asked, ["-..+"]);
    }
}
