//! Alarms: which ends of tokens, and which spans before them, were told already.
//!
//! Ends stand in an index, and a position for each span says how far that was walked. So an alarm is
//! told once whatever the configuration was when the token was written, and no token needs to be
//! written for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::error::Fault;
use super::tokens::{Acts, columns, read_id, read_kept};
use crate::domain::event::{Alarms, EventKind, span_in_words};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::store::StoreError;

/// Most tokens that one step looks at.
const ALARMS_AT_ONCE: usize = 256;
/// How far the written positions may stay behind while there is nothing to tell: as far as ends are
/// looked through again after a crash.
const POSITIONS_LAG: Duration = Duration::from_secs(60);

/// By the index alone: nothing that is not due is looked at.
pub(super) const ENDS: &str = concat!(
    "SELECT ",
    columns!(),
    ", expire_time FROM tokens INDEXED BY tokens_expire \
     WHERE (expire_time, rowid) > (?1, ?2) AND expire_time <= ?3 \
     ORDER BY expire_time, rowid LIMIT ?4"
);

/// A place in the index of ends: at this end, behind this row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    end: i64,
    row: i64,
}

impl Position {
    /// Behind all tokens of which `span` is left at `time`, or less.
    fn at(time: Timestamp, span: Duration) -> Self {
        Self {
            end: time.saturating_add(span).micros().cast_signed(),
            row: i64::MAX,
        }
    }
}

/// How far each span was told.
pub(super) type Positions = BTreeMap<Duration, Position>;

/// The alarms of a store, and how far they were told.
#[derive(Debug)]
pub(super) struct Alarming {
    alarms: Alarms,
    /// What of a span that is new to the store counts from.
    opened: Timestamp,
    /// Ahead of what is written where there was nothing to tell.
    reached: Mutex<Positions>,
}

impl Alarming {
    pub(super) fn resume(alarms: Alarms, opened: Timestamp) -> Self {
        Self {
            alarms,
            opened,
            reached: Mutex::default(),
        }
    }

    pub(super) fn advance(&self, positions: Positions) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        for (span, position) in positions {
            let known = reached.entry(span).or_insert(position);
            *known = position.max(*known);
        }
    }

    /// Of all spans, the longest first, as they are told of one token.
    fn spans(&self) -> impl Iterator<Item = Duration> {
        let ahead = self.alarms.spans().iter().rev().copied();
        ahead.chain([Duration::ZERO])
    }

    /// How far each span was told, by what is `written` and what is known beyond that.
    fn positions(&self, written: &Positions) -> Positions {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let position = |span: Duration| {
            let known = [written.get(&span), reached.get(&span)];
            let furthest = known.into_iter().flatten().max().copied();
            let begin = || Position::at(self.opened, span);
            (span, furthest.unwrap_or_else(begin))
        };
        self.spans().map(position).collect()
    }
}

impl Acts<'_> {
    /// Tells which ends came near or are there, and answers how far that went, and whether there may
    /// be more.
    pub(super) fn note_alarms(&self, now: Timestamp) -> Result<(Positions, bool), Fault> {
        let written = written(self.connection)?;
        let mut positions = self.log.alarming.positions(&written);
        let (mut any, mut more) = (false, false);
        // The longest span first: so the alarms of a token come in their order, however late.
        for span in self.log.alarming.spans() {
            let Some(position) = positions.get_mut(&span) else {
                continue;
            };
            let (last, count) = self.note_ends(span, *position, now)?;
            any |= count > 0;
            more = count == ALARMS_AT_ONCE;
            *position = match last {
                Some(last) if more => last,
                _ => Position::at(now, span).max(*position),
            };
            if more {
                break;
            }
        }
        // Not each time: a store that is left alone writes nothing.
        if any || is_behind(&written, &positions) {
            write(self.connection, &positions)?;
        }
        Ok((positions, more))
    }

    /// Tells of tokens behind `from` of which no more than `span` is left, and answers where the last
    /// of them stands, and how many there were.
    fn note_ends(
        &self,
        span: Duration,
        from: Position,
        now: Timestamp,
    ) -> Result<(Option<Position>, usize), Fault> {
        let until = Position::at(now, span).end;
        let mut statement = self.connection.prepare_cached(ENDS)?;
        let mut rows = statement.query((from.end, from.row, until, ALARMS_AT_ONCE as i64))?;
        let (mut last, mut due) = (None, Vec::new());
        while let Some(row) = rows.next()? {
            last = Some(Position {
                end: row.get(8)?,
                row: row.get(4)?,
            });
            let token = match read_kept(row) {
                Ok(kept) => Some(kept.at(now, self.seen).token),
                Err(Fault::Store(StoreError::Corrupt(reason))) => {
                    let id = read_id(row).map(|id| id.to_string()).unwrap_or_default();
                    tracing::error!(id, reason, "the end of a token cannot be told");
                    None
                }
                Err(fault) => return Err(fault),
            };
            due.push(token);
        }
        drop(rows);
        let count = due.len();
        // Whom nobody kept alive is gone already.
        for token in due.into_iter().flatten().filter(|token| !token.lapsed(now)) {
            let alarms = self
                .log
                .alarming
                .alarms
                .due(&token, Timestamp::default(), now);
            let own = alarms.into_iter().filter(|(.., of)| *of == span);
            for (time, kind, left) in own {
                self.note_alarm(&token, time, kind, left)?;
            }
        }
        Ok((last, count))
    }

    /// Tells what came due of a token and was not told yet, before it is changed so that nobody would
    /// find it again.
    pub(super) fn note_overdue(
        &self,
        token: &Token,
        row: i64,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let alarming = &self.log.alarming;
        let due = alarming.alarms.due(token, Timestamp::default(), now);
        let Some(end) = token.expire_time.filter(|_| !due.is_empty()) else {
            return Ok(());
        };
        let end = end.micros().cast_signed();
        let positions = alarming.positions(&written(self.connection)?);
        for (time, kind, left) in due {
            let told = positions.get(&left);
            if told.is_some_and(|told| Position { end, row } > *told) {
                self.note_alarm(token, time, kind, left)?;
            }
        }
        Ok(())
    }

    fn note_alarm(
        &self,
        token: &Token,
        time: Timestamp,
        kind: EventKind,
        left: Duration,
    ) -> Result<(), Fault> {
        let detail = match kind {
            EventKind::Expiring => span_in_words(left),
            _ => String::new(),
        };
        self.note(kind, time, token, &detail)
    }
}

fn written(connection: &Connection) -> Result<Positions, Fault> {
    let mut statement = connection.prepare_cached("SELECT span, end, row FROM alarms")?;
    let rows = statement.query_map([], |row| {
        let (span, end, row): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let span = Duration::from_micros(span.cast_unsigned());
        Ok((span, Position { end, row }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write(connection: &Connection, positions: &Positions) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM alarms")?
        .execute([])?;
    let mut insert =
        connection.prepare_cached("INSERT INTO alarms (span, end, row) VALUES (?1, ?2, ?3)")?;
    for (span, Position { end, row }) in positions {
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        insert.execute((span, end, row))?;
    }
    Ok(())
}

/// Whether what is written is of other spans, or too far behind.
fn is_behind(written: &Positions, positions: &Positions) -> bool {
    let lag = i64::try_from(POSITIONS_LAG.as_micros()).unwrap_or(i64::MAX);
    let near = |(span, position): (&Duration, &Position)| {
        let known = written.get(span);
        known.is_some_and(|known| position.end.saturating_sub(known.end) < lag)
    };
    written.len() != positions.len() || !positions.iter().all(near)
}
