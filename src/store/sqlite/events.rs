//! The log of events: written in the transaction of what is told, read from a snapshot.

use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::alarms::{Alarming, Positions};
use super::error::Fault;
use super::pools::Place;
use super::tokens::{Acts, Entry};
use super::{Inner, SqliteStore, schema};
use crate::domain::event::{Alarms, Event, EventCursor, EventKind, of_change};
use crate::domain::lease::LeaseEnd;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::events::{EVENTS_MAX, EventBounds, EventStore, Events, Told};
use crate::store::{StoreError, record, tenure};

/// Bytes of records from which on an answer takes no further event.
const EVENTS_BYTES: usize = 1 << 20;
/// Most events that one step drops: few enough that others who write do not wait for long.
const DROPPED_AT_ONCE: usize = 1024;
/// Most leases that one step notices to be over.
const OVERDUE_AT_ONCE: usize = 256;

const READ: &str = "SELECT number, time, kind, token, revision, record, tenure, detail \
                    FROM events WHERE number > ?1 ORDER BY number LIMIT ?2";
/// By the index alone: nothing that is not over is looked at.
pub(super) const OVERDUE: &str = "SELECT rowid FROM tokens INDEXED BY tokens_held \
                                  WHERE place = 1 AND due <= ?1 ORDER BY due LIMIT ?2";

/// What is told, for how long, and how far.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) alarming: Alarming,
    bounds: EventBounds,
}

impl Log {
    /// That of a store which is opened `now`.
    pub(super) fn resume(alarms: Alarms, bounds: EventBounds, now: Timestamp) -> Self {
        Self {
            alarming: Alarming::resume(alarms, now),
            bounds,
        }
    }
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn events(&self, after: EventCursor) -> Result<Events, StoreError> {
        let ends = self.inner.ends_of_log()?;
        if ends.missed_by(after) || ends.last == after.major {
            return Ok(Events {
                events: Vec::new(),
                next: after,
                missed: ends.missed_by(after),
            });
        }
        self.in_a_list(move |inner| inner.snapshot(|snapshot| events(snapshot, after)))
            .await
    }

    async fn last_event(&self) -> Result<EventCursor, StoreError> {
        let last = self.inner.ends_of_log()?.last;
        Ok(EventCursor {
            major: last,
            minor: 0,
        })
    }

    async fn tell(&self) -> Result<Told, StoreError> {
        let (told, positions) = self.inner.write(|acts| acts.tell()).await?;
        // Not before it is committed: what is undone was not told.
        self.inner.log.alarming.advance(positions);
        Ok(told)
    }
}

impl Inner {
    // Inline: this looks at both ends of a tree.
    fn ends_of_log(&self) -> Result<Ends, StoreError> {
        let ends = self.points.with(Ends::read)?;
        self.sound()?;
        Ok(ends)
    }
}

/// The numbers of the first and the last event that are kept; 1 and 0 where nothing ever happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    first: u64,
    last: u64,
}

impl Ends {
    fn read(connection: &Connection) -> Result<Self, Fault> {
        // Two questions, each of which looks at one end; one with both would look at everything.
        let sql = "SELECT (SELECT min(number) FROM events), (SELECT max(number) FROM events)";
        let (first, last): (Option<i64>, Option<i64>) = connection
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self {
            first: first.map_or(1, i64::cast_unsigned),
            last: last.map_or(0, i64::cast_unsigned),
        })
    }

    /// Whether events behind `after` are not there any more: dropped, or of a future that was undone
    /// when an older file was put in place.
    fn missed_by(self, after: EventCursor) -> bool {
        after.major.saturating_add(1) < self.first || after.major > self.last || after.minor != 0
    }
}

fn events(snapshot: &Connection, after: EventCursor) -> Result<Events, Fault> {
    let mut answer = Events {
        events: Vec::new(),
        next: after,
        missed: Ends::read(snapshot)?.missed_by(after),
    };
    if answer.missed {
        return Ok(answer);
    }
    let mut statement = snapshot.prepare_cached(READ)?;
    let mut rows = statement.query((after.major.cast_signed(), EVENTS_MAX as i64))?;
    let mut bytes = 0;
    while let Some(row) = rows.next()?
        && bytes < EVENTS_BYTES
    {
        let number: i64 = row.get(0)?;
        answer.next.major = number.cast_unsigned();
        bytes += row.get_ref(5)?.as_blob()?.len();
        match read_event(row) {
            Ok(event) => answer.events.push((answer.next, event)),
            Err(Fault::Store(StoreError::Corrupt(reason))) => {
                tracing::error!(
                    number,
                    reason,
                    "an event cannot be read, and is passed over"
                );
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(answer)
}

fn read_event(row: &Row<'_>) -> Result<Event, Fault> {
    let (time, kind, revision): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(4)?);
    let corrupt = |why: String| Fault::Store(StoreError::Corrupt(why));
    let id = TokenId::parse(row.get_ref(3)?.as_str()?)
        .map_err(|flaw| corrupt(format!("the id of a token {flaw}")))?;
    let blob = row.get_ref(5)?.as_blob()?;
    let mut token = record::decode(id, revision.cast_unsigned(), blob)?;
    let tenure = row.get_ref(6)?.as_blob_or_null()?;
    token.tenure = tenure.map(|bytes| tenure::decode(id, bytes)).transpose()?;
    Ok(Event {
        kind: read_kind(kind).ok_or_else(|| corrupt(format!("an event of kind {kind}")))?,
        time: Timestamp::from_micros(time.cast_unsigned()),
        token,
        detail: row.get(7)?,
    })
}

/// As it stands in the database.
fn number(kind: EventKind) -> i64 {
    match kind {
        EventKind::Created => 1,
        EventKind::Updated => 2,
        EventKind::Rotated => 3,
        EventKind::Revoked => 4,
        EventKind::Deleted => 5,
        EventKind::Expiring => 6,
        EventKind::Expired => 7,
        EventKind::Leased => 8,
        EventKind::Released => 9,
        EventKind::LeaseExpired => 10,
    }
}

fn read_kind(stored: i64) -> Option<EventKind> {
    EventKind::ALL
        .into_iter()
        .find(|kind| number(*kind) == stored)
}

impl Acts<'_> {
    /// Tells of a token without its tenure.
    pub(super) fn note(
        &self,
        kind: EventKind,
        time: Timestamp,
        token: &Token,
        detail: &str,
    ) -> Result<(), Fault> {
        self.write_event(kind, time, token, None, detail)
    }

    /// Tells what a change made of a token; nothing where nothing of it is to be seen.
    pub(super) fn note_change(
        &self,
        before: Option<&Token>,
        after: Option<&Token>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let (Some(kind), Some(token)) = (of_change(before, after), after.or(before)) else {
            return Ok(());
        };
        let revocation = token.revoked.as_ref();
        let reason = revocation.filter(|_| kind == EventKind::Revoked);
        let detail = reason.map_or("", |revocation| revocation.reason.as_str());
        self.note(kind, now, token, detail)
    }

    /// Tells that a lease began or ended, where a token goes from one place of its pool to another.
    /// Every lease begins and ends so, whoever notices it.
    pub(super) fn note_move(
        &self,
        token: &Token,
        from: Option<Place>,
        to: Option<Place>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let held = Some(Place::Held);
        let last = token.tenure.as_ref();
        let last = last.and_then(|tenure| tenure.leases.first());
        let (kind, time) = match (from == held, to == held) {
            (false, true) => (EventKind::Leased, last.map(|lease| lease.acquire_time)),
            (true, false) => match last.and_then(|lease| lease.end(now)) {
                Some((time, LeaseEnd::Expired)) => (EventKind::LeaseExpired, Some(time)),
                Some((time, _)) => (EventKind::Released, Some(time)),
                // It ended so long ago that it is not remembered: nobody was here to notice.
                None => (EventKind::LeaseExpired, None),
            },
            _ => return Ok(()),
        };
        let tenure = tenure::encode(token);
        let holder = last.map_or("", |lease| lease.holder.as_str());
        let time = time.unwrap_or(now);
        self.write_event(kind, time, token, tenure.as_deref(), holder)
    }

    /// Tells what is still to be told of a token that is about to be removed.
    pub(super) fn note_last(&self, entry: &Entry, now: Timestamp) -> Result<(), Fault> {
        let Entry { row, spot, token } = entry;
        self.note_overdue(token, *row, now)?;
        let from = spot.map(|spot| spot.place);
        if from != Some(Place::Held) {
            return Ok(());
        }
        let mut token = token.clone();
        if let Some(tenure) = &mut token.tenure {
            tenure.end(now, LeaseEnd::Revoked);
        }
        self.note_move(&token, from, None, now)
    }

    fn write_event(
        &self,
        kind: EventKind,
        time: Timestamp,
        token: &Token,
        tenure: Option<&[u8]>,
        detail: &str,
    ) -> Result<(), Fault> {
        self.connection
            .prepare_cached(
                "INSERT INTO events (told, time, kind, token, revision, record, tenure, detail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute((
                self.time.now().micros().cast_signed(),
                time.micros().cast_signed(),
                number(kind),
                token.id.as_str(),
                token.revision.cast_signed(),
                record::encode(token),
                tenure,
                detail,
            ))?;
        Ok(())
    }

    /// Carries out [`EventStore::tell`], and answers how far time was told of then.
    fn tell(&self) -> Result<(Told, Positions), Fault> {
        schema::confirm(self.connection, self.id)?;
        let now = self.time.now();
        let before = Ends::read(self.connection)?.last;
        let over = self.note_overdue_leases(now)?;
        let (positions, ended) = self.note_alarms(now)?;
        let last = Ends::read(self.connection)?.last;
        let dropped = self.drop_events(now)?;
        let told = Told {
            told: usize::try_from(last - before).unwrap_or(usize::MAX),
            more: over || ended || dropped,
        };
        Ok((told, positions))
    }

    /// Notices leases of all pools that are over, and answers whether there may be more.
    fn note_overdue_leases(&self, now: Timestamp) -> Result<bool, Fault> {
        let rows = self
            .connection
            .prepare_cached(OVERDUE)?
            .query_map(
                (now.micros().cast_signed(), OVERDUE_AT_ONCE as i64),
                |row| row.get(0),
            )?
            .collect::<Result<Vec<i64>, _>>()?;
        self.notice_all(&rows, now)?;
        Ok(rows.len() == OVERDUE_AT_ONCE)
    }

    /// Drops events that were kept long enough, or are too many; never the last one, by which the
    /// next is numbered. Answers whether there may be more.
    fn drop_events(&self, now: Timestamp) -> Result<bool, Fault> {
        let EventBounds { age, number } = self.log.bounds;
        let last = Ends::read(self.connection)?.last;
        // Those that were told in the earliest microseconds of time are kept.
        let since = now.saturating_since(Timestamp::default()).checked_sub(age);
        let since = since.map_or(0, |span| span.as_micros());
        let mut statement = self
            .connection
            .prepare_cached("SELECT number, told FROM events ORDER BY number LIMIT ?1")?;
        let goes = |event: u64, told: u64| {
            event < last && (event + number <= last || u128::from(told) < since)
        };
        let mut rows = statement.query([DROPPED_AT_ONCE as i64])?;
        let (mut upto, mut count) = (0, 0);
        while let Some(row) = rows.next()? {
            let (event, told): (i64, i64) = (row.get(0)?, row.get(1)?);
            if !goes(event.cast_unsigned(), told.cast_unsigned()) {
                break;
            }
            (upto, count) = (event, count + 1);
        }
        drop(rows);
        if count > 0 {
            self.connection
                .prepare_cached("DELETE FROM events WHERE number <= ?1")?
                .execute([upto])?;
        }
        Ok(count == DROPPED_AT_ONCE)
    }
}

#[cfg(test)]
mod tests;
