//! The outboxes of pools: what happened to their tokens, noted in the very step of it, in the slot of the
//! pool; and moving that to the log.
//!
//! An entry is removed after it was added to the log, by who moved it: so none is lost, and one may be
//! told twice. While one server moves what is in an outbox, others leave it alone: it goes on until nothing
//! is left. Where it dies, another may a moment later.

use std::time::Duration;

use super::log::{How, Item};
use super::stored;
use crate::domain::event::Event;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::entropy;
use crate::store::redis::Access;
use crate::store::redis::error::read;
use crate::store::redis::leases::{id_in, id_of, place_of};
use crate::store::redis::line::Line;
use crate::store::redis::scripts::{TAKE_OUTBOX, TRIM_OUTBOX};
use crate::store::{StoreError, record, tenure};

/// Most entries of one outbox that are moved together.
const MOVED_MAX: usize = 128;
/// How long nobody else moves what is in an outbox.
const MOVE_TAKES: Duration = Duration::from_secs(2);
/// Digits of a token's id behind its tag.
const REST_DIGITS: usize = 14;

/// Answer of [`Access::move_outboxes`].
pub(super) struct Moved {
    pub(super) told: usize,
    /// In which there is more.
    pub(super) left: Vec<Pool>,
}

impl Access {
    /// Moves some of what is in the outboxes of `pools` to the log.
    pub(super) async fn move_outboxes(
        &self,
        line: &Line<'_>,
        pools: Vec<Pool>,
    ) -> Result<Moved, StoreError> {
        let limit = self.write_timeout;
        let who = nonce()?;
        let take = |pool: &Pool| {
            TAKE_OUTBOX
                .call([self.keys.base(id_in(pool))])
                .arg(place_of(pool))
                .arg(who.as_str())
                .arg(MOVE_TAKES.as_millis().to_string())
                .arg(MOVED_MAX.to_string())
        };
        let calls: Vec<_> = pools.iter().map(take).collect();
        let answers = line.scripts(limit, &calls).await?;
        let mut items = Vec::new();
        let mut trims = Vec::new();
        let mut taken = Vec::new();
        for (pool, answer) in pools.into_iter().zip(answers) {
            let entries: Vec<Vec<u8>> = read(answer)?;
            if entries.is_empty() {
                continue;
            }
            items.extend(entries.iter().filter_map(|entry| item(&pool, entry)));
            let call = TRIM_OUTBOX
                .call([self.keys.base(id_in(&pool))])
                .arg(place_of(&pool))
                .arg(who.as_str());
            trims.push(call.arg(entries.len().to_string()));
            taken.push(pool);
        }
        self.append(line, &items).await?;
        let answers = line.scripts(limit, &trims).await?;
        let mut left = Vec::new();
        for (pool, answer) in taken.into_iter().zip(answers) {
            if read::<u64>(answer)? > 0 {
                left.push(pool);
            }
        }
        Ok(Moved {
            told: items.len(),
            left,
        })
    }
}

/// A name for one move: what others leave alone meanwhile is known by it.
pub(super) fn nonce() -> Result<String, StoreError> {
    let [draw] = entropy::draws().map_err(|error| StoreError::Unreachable(error.to_string()))?;
    Ok(draw.to_string())
}

/// What an entry adds to the log; nothing of one that cannot be read, which must not hold up the others.
fn item(pool: &Pool, entry: &[u8]) -> Option<Item> {
    match parse(pool, entry) {
        Ok(event) => Some(Item {
            mark: Vec::new(),
            how: How::Late,
            event: stored::encode(&event),
        }),
        Err(error) => {
            tracing::error!(%error, "what happened to a token cannot be read, and is not told");
            None
        }
    }
}

/// Reads what scripts note: kind, REST, time, length of the record, record, tenure.
fn parse(pool: &Pool, entry: &[u8]) -> Result<Event, StoreError> {
    let damaged = || StoreError::Corrupt("an entry of an outbox that is cut".to_owned());
    let (kind, rest) = entry.split_first().ok_or_else(damaged)?;
    let (name, rest) = rest.split_at_checked(REST_DIGITS).ok_or_else(damaged)?;
    let (time, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
    let (value, held) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let (revision, blob) = value.split_first_chunk().ok_or_else(damaged)?;
    let kind = stored::kind(*kind).ok_or_else(damaged)?;
    let name = std::str::from_utf8(name).map_err(|_| damaged())?;
    let id: TokenId = id_of(pool, name)?;
    let mut token = record::decode(id, u64::from_be_bytes(*revision), blob)?;
    if !held.is_empty() {
        token.tenure = Some(tenure::decode(id, held)?);
    }
    let detail = stored::detail(kind, &token);
    Ok(Event {
        kind,
        time: Timestamp::from_micros(u64::from_be_bytes(*time)),
        token,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventKind;
    use crate::domain::name::{Namespace, PoolName};
    use crate::domain::profile::Profile;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};

    fn pool() -> Pool {
        Pool {
            namespace: Namespace::fallback(),
            name: PoolName::parse("gpu").unwrap(),
        }
    }

    #[test]
    fn what_a_script_notes_is_read_and_a_cut_entry_is_an_error() {
        let pool = pool();
        let profile = Profile {
            pool: Some(pool.name.clone()),
            ..Profile::default()
        };
        let id = id_of(&pool, "0123456789abcd").unwrap();
        let namespace = pool.namespace.clone();
        let draft = Draft {
            id,
            namespace,
            profile,
            ..draft()
        };
        let token = draft.issue(at(5)).unwrap();
        let value = [
            token.revision.to_be_bytes().as_slice(),
            &record::encode(&token),
        ]
        .concat();
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        let time = at(7).micros().to_be_bytes();
        let head = [&[4], b"0123456789abcd".as_slice(), &time, &length].concat();
        let held = tenure::encode(&token).unwrap();
        let entry = [head, value, held].concat();
        let event = parse(&pool, &entry).unwrap();
        assert_eq!((event.kind, event.time), (EventKind::Revoked, at(7)));
        assert_eq!(event.token, token);
        for cut in 0..27 {
            assert!(parse(&pool, &entry[..cut]).is_err(), "{cut}");
        }
        assert_eq!(item(&pool, b"\x04rubbish"), None);
    }
}
