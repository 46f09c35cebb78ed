//! Acquire: draws one of a pool's available tokens and leases it, or says why not.
//!
//! What has come due is noticed first, a bounded number at a time, so that the free ones are exactly
//! those from which to draw. Each change of a token is noticed once, so that the cost of an act does
//! not grow with the pool.

use super::error::Fault;
use super::pools::{self, Counts, Place, Stand};
use super::tokens::{Acts, Entry, PURGED_AT_ONCE, columns};
use crate::domain::lease::{LEASE_SECRETS_MAX, WaiterId};
use crate::domain::pool::Pool;
use crate::domain::tenure::{Grant, Tenure};
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, REPLAY_WINDOW, Refusal, Token, TokenId};
use crate::entropy;
use crate::store::StoreError;
use crate::store::leases::{Acquired, Asking};
use rusqlite::OptionalExtension;

/// Most tokens of one place that one step notices to be elsewhere: few enough that others who write
/// do not wait for long.
const NOTICED_MAX: usize = 256;

/// Most tokens that one step draws in vain.
const DRAWN_MAX: usize = 32;

/// By the index alone: nothing that is not due is looked at.
pub(super) const DUE: &str = "SELECT rowid FROM tokens INDEXED BY tokens_due \
                   WHERE pool_id = ?1 AND place = ?2 AND due <= ?3 ORDER BY due LIMIT ?4";
/// The lease that ends as the so-manieth.
pub(super) const END: &str = "SELECT due FROM tokens INDEXED BY tokens_due \
                   WHERE pool_id = ?1 AND place = 1 AND due IS NOT NULL ORDER BY due LIMIT 1 OFFSET ?2";
pub(super) const DRAWN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tokens INDEXED BY tokens_position WHERE pool_id = ?1 AND position = ?2"
);

impl Acts<'_> {
    /// Takes one step of an Acquire; nothing where another one is needed.
    pub(super) fn acquire(&self, asking: &Asking) -> Result<Option<Acquired>, Fault> {
        let now = self.time.now();
        let Asking {
            pool,
            grant,
            waiter,
        } = asking;
        if let Some(waiter) = waiter {
            self.queues.join(pool, *waiter, now);
        }
        let answer = match self.replay(grant, now)? {
            Some(answer) => Some(answer),
            None => self.grant(pool, grant, *waiter, now)?,
        };
        let waits = matches!(answer, None | Some(Acquired::Busy { .. }));
        if let Some(waiter) = waiter
            && !waits
        {
            self.queues.leave(pool, *waiter);
            // Others behind it may be served, too.
            self.call(pool, now)?;
        }
        Ok(answer)
    }

    fn grant(
        &self,
        pool: &Pool,
        grant: &Grant,
        waiter: Option<WaiterId>,
        now: Timestamp,
    ) -> Result<Option<Acquired>, Fault> {
        let Some(number) = pools::known(self.connection, pool)? else {
            return Ok(Some(Acquired::Empty));
        };
        let held = self.settle(number, Place::Held, now)?;
        let free = self.settle(number, Place::Free, now)?;
        let mut counts = pools::counts(self.connection, number)?;
        let before = self.queues.before(pool, waiter, now);
        // Which of the free ones are not so any more matters to those who wait behind others; else
        // one that is drawn in vain is drawn again.
        if !held || (!free && before > 0) {
            return Ok(None);
        }
        for _ in 0..DRAWN_MAX {
            match counts {
                Some(counts) if counts.free > before => {
                    if let Some(answer) = self.draw(number, counts, grant, now)? {
                        return Ok(Some(answer));
                    }
                }
                Some(counts) if counts.held > 0 => {
                    let turn = self.turn(number, before - counts.free)?;
                    return Ok(Some(Acquired::Busy { now, turn }));
                }
                // Those that are out are all there is, unless they have gone.
                Some(_) => match self.settle(number, Place::Out, now)? {
                    true if pools::counts(self.connection, number)?.is_some() => {
                        return Ok(Some(Acquired::Busy { now, turn: None }));
                    }
                    true => {}
                    false => return Ok(None),
                },
                None => return Ok(Some(Acquired::Empty)),
            }
            counts = pools::counts(self.connection, number)?;
        }
        Ok(None)
    }

    /// Leases one of the free tokens.
    fn draw(
        &self,
        pool: i64,
        counts: Counts,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Option<Acquired>, Fault> {
        let [draw] = entropy::draws().map_err(|why| StoreError::Unreachable(why.to_string()))?;
        let position = entropy::rank(draw, counts.free).cast_signed();
        let Some(Entry { row, spot, token }) = self.drawn(pool, position, now)? else {
            return Ok(None);
        };
        let token = hold(token, |tenure, token| {
            tenure.grant(token, now, grant.clone())
        });
        self.peppers
            .keep_those_of(self.connection, [&grant.digest])?;
        let token = self.stand(row, spot, token, now)?;
        if let Some(origin) = &grant.origin {
            self.remember(origin, token.id, now)?;
        }
        let lease = token.tenure.as_ref().and_then(|tenure| tenure.live(now));
        let lease = lease.cloned().ok_or_else(|| {
            StoreError::Corrupt(format!("a lease of token {} is over at once", token.id))
        })?;
        Ok(Some(Acquired::Granted {
            token: Box::new(token),
            lease: Box::new(lease),
            now,
            replayed: false,
        }))
    }

    /// The free token of that number; nothing, once that is noticed, where it cannot be leased.
    fn drawn(&self, pool: i64, position: i64, now: Timestamp) -> Result<Option<Entry>, Fault> {
        let drawn = self.select(DRAWN, &[&pool, &position]);
        let kept = match drawn {
            Err(Fault::Store(StoreError::Corrupt(reason))) => {
                let sql = "SELECT rowid FROM tokens WHERE pool_id = ?1 AND position = ?2";
                let row = self
                    .connection
                    .prepare_cached(sql)?
                    .query_row((pool, position), |row| row.get(0))?;
                self.put_aside(row, &reason)?;
                return Ok(None);
            }
            other => other?,
        };
        let Some(kept) = kept else {
            let reason = format!("nothing stands at {position} in pool {pool}");
            return Err(StoreError::Corrupt(reason).into());
        };
        let entry = kept.at(now, self.seen);
        match Place::of(&entry.token, now) {
            Some((Place::Free, _)) => Ok(Some(entry)),
            _ => {
                self.notice(&entry, now)?;
                Ok(None)
            }
        }
    }

    /// Notices which tokens of a place belong elsewhere `now`, and answers whether these were all.
    pub(super) fn settle(&self, pool: i64, place: Place, now: Timestamp) -> Result<bool, Fault> {
        let due = self
            .connection
            .prepare_cached(DUE)?
            .query_map(
                (
                    pool,
                    place.number(),
                    now.micros().cast_signed(),
                    NOTICED_MAX as i64,
                ),
                |row| row.get(0),
            )?
            .collect::<Result<Vec<i64>, _>>()?;
        self.notice_all(&due, now)?;
        Ok(due.len() < NOTICED_MAX)
    }

    /// Puts the tokens of these rows where they belong `now`.
    pub(super) fn notice_all(&self, rows: &[i64], now: Timestamp) -> Result<(), Fault> {
        for row in rows {
            // Read anew: each that goes may move another.
            match self.by_row(*row) {
                Err(Fault::Store(StoreError::Corrupt(reason))) => self.put_aside(*row, &reason)?,
                kept => {
                    if let Some(kept) = kept? {
                        self.notice(&kept.at(now, self.seen), now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A token whose record cannot be read is none to lease; it may be mended, so it is kept.
    fn put_aside(&self, row: i64, reason: &str) -> Result<(), Fault> {
        tracing::error!(reason, "a pooled record cannot be read, and is put aside");
        if let Some(spot) = pools::spot(self.connection, row)? {
            let to = Stand {
                pool: spot.pool,
                place: Place::Out,
                due: None,
            };
            pools::put(self.connection, row, Some(spot), to, None)?;
        }
        Ok(())
    }

    /// When the lease ends before which `rank` others do.
    fn turn(&self, pool: i64, rank: u64) -> Result<Option<Timestamp>, Fault> {
        let end: Option<i64> = self
            .connection
            .prepare_cached(END)?
            .query_row((pool, rank.cast_signed()), |row| row.get(0))
            .optional()?;
        Ok(end.map(|end| Timestamp::from_micros(end.cast_unsigned())))
    }

    /// Lets as many of the calls that wait ask again as there are free tokens.
    pub(super) fn call(&self, pool: &Pool, now: Timestamp) -> Result<(), Fault> {
        if self.queues.waiting(pool, now) == 0 {
            return Ok(());
        }
        if let Some(number) = pools::known(self.connection, pool)? {
            let counts = pools::counts(self.connection, number)?;
            let free = counts.map_or(0, |counts| counts.free);
            self.queues.call(pool, free, now);
        }
        Ok(())
    }

    /// Answers a request that acquired a lease before; nothing for one that did not.
    fn replay(&self, grant: &Grant, now: Timestamp) -> Result<Option<Acquired>, Fault> {
        let Some(origin) = &grant.origin else {
            return Ok(None);
        };
        let Some((id, fingerprint)) = self.acquired_by(origin, now)? else {
            return Ok(None);
        };
        let refused = |refusal| Ok(Some(Acquired::Refused(refusal)));
        if fingerprint != origin.fingerprint {
            return refused(Refusal::RequestDiffers);
        }
        let Some(Entry { row, spot, token }) = self.present(self.find(id)?, now)? else {
            return refused(Refusal::RequestUsed);
        };
        let tenure = token.tenure.as_ref();
        let lease = tenure.and_then(|tenure| tenure.acquired_by(origin, now));
        let Some(lease) = lease else {
            return refused(Refusal::RequestUsed);
        };
        if !lease.is_live(now) || lease.digests.len() >= LEASE_SECRETS_MAX {
            return refused(Refusal::RequestUsed);
        }
        self.peppers
            .keep_those_of(self.connection, [&grant.digest])?;
        let mut lease = lease.clone();
        lease.digests.push(grant.digest.clone());
        let token = hold(token, |tenure, _| {
            let own = tenure.leases.iter_mut().find(|one| one.mark == lease.mark);
            own.into_iter().for_each(|own| *own = lease.clone());
        });
        let token = self.stand(row, spot, token, now)?;
        Ok(Some(Acquired::Granted {
            token: Box::new(token),
            lease: Box::new(lease),
            now,
            replayed: true,
        }))
    }

    /// The token that a request acquired, and the hash of its arguments.
    fn acquired_by(
        &self,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<Option<(TokenId, Vec<u8>)>, Fault> {
        let sql = "SELECT token, fingerprint FROM acquired WHERE request_key = ?1 AND until > ?2";
        let kept: Option<(String, Vec<u8>)> = self
            .connection
            .prepare_cached(sql)?
            .query_row((origin.key.0, now.micros().cast_signed()), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((id, fingerprint)) = kept else {
            return Ok(None);
        };
        let damaged = |flaw| StoreError::Corrupt(format!("the id of a token {flaw}"));
        Ok(Some((TokenId::parse(&id).map_err(damaged)?, fingerprint)))
    }

    fn remember(&self, origin: &Origin, id: TokenId, now: Timestamp) -> Result<(), Fault> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO acquired (request_key, fingerprint, token, until) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((
                origin.key.0,
                origin.fingerprint,
                id.as_str(),
                now.saturating_add(REPLAY_WINDOW).micros().cast_signed(),
            ))?;
        self.purge(now, PURGED_AT_ONCE)?;
        Ok(())
    }
}

/// The token after `act` changed how it is held.
pub(super) fn hold(mut token: Token, act: impl FnOnce(&mut Tenure, &Token)) -> Token {
    if let Some(mut tenure) = token.tenure.take() {
        act(&mut tenure, &token);
        token.tenure = Some(tenure);
    }
    token
}
