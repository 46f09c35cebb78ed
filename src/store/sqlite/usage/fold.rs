//! Folds what was added into the ledgers: first what they become, beside the writer, then a short act
//! that writes it down.
//!
//! Nobody else writes ledgers, but for deletions; so what was read is what stands there, unless the
//! token is gone.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::items::Items;
use super::key;
use super::unfolded::Step;
use crate::domain::token::TokenId;
use crate::domain::usage::{Add, Counts, Day, Hour, Keeping, Ledger, Subject, Use};
use crate::store::StoreError;
use crate::store::sqlite::error::Fault;
use crate::store::sqlite::tokens::Acts;
use crate::store::usage::{
    decode_days, decode_hours, decode_ledger, encode_days, encode_hour, encode_ledger,
};

/// Hours that an open hour is left alone for, where nothing is added: it is closed with what is added
/// next, which costs nothing more, if that comes before.
const QUIET_HOURS: u32 = 3;

/// How long one that cannot be read is left alone, before it is told again.
const POSTPONED_HOURS: u32 = 24;

pub(super) const LEDGER: &str =
    "SELECT id, due, ledger, days FROM usage_ledgers WHERE subject = ?1";
/// Of whom something is to be closed or dropped.
pub(super) const DUE: &str = "SELECT subject FROM usage_ledgers INDEXED BY usage_due \
     WHERE due <= ?1 ORDER BY due LIMIT ?2";

/// A ledger's row, not decoded yet.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: i64,
    due: Option<u32>,
    pub(super) ledger: Vec<u8>,
    pub(super) days: Vec<u8>,
}

/// What some ledgers become.
#[derive(Debug)]
pub(super) struct Fold {
    now: Hour,
    folded: Vec<Folded>,
    unreadable: Vec<String>,
}

/// What a ledger becomes.
#[derive(Debug)]
struct Folded {
    subject: Subject,
    /// Its row, where it has one.
    id: Option<i64>,
    due: Option<u32>,
    ledger: Vec<u8>,
    days: Vec<u8>,
    closed: Vec<(Hour, Vec<u8>)>,
    /// Closed hours before this one go.
    first: Option<Hour>,
}

pub(super) fn kept(connection: &Connection, subject: &Subject) -> Result<Option<Kept>, Fault> {
    let kept = connection
        .prepare_cached(LEDGER)?
        .query_row([key(subject)], |row| {
            Ok(Kept {
                id: row.get(0)?,
                due: row.get(1)?,
                ledger: row.get(2)?,
                days: row.get(3)?,
            })
        })
        .optional()?;
    Ok(kept)
}

impl Fold {
    /// What the ledgers of these subjects become with these frames. One that cannot be read is told,
    /// and stays as it is.
    pub(super) fn of(
        connection: &Connection,
        step: &Step,
        now: Hour,
        keeping: &Keeping,
    ) -> Result<Self, Fault> {
        let mut fold = Self {
            now,
            folded: Vec::with_capacity(step.len()),
            unreadable: Vec::new(),
        };
        for (subject, items) in step {
            match one(connection, subject, items, now, keeping) {
                Ok(folded) => fold.folded.push(folded),
                Err(Fault::Store(StoreError::Corrupt(reason))) => {
                    let subject = key(subject);
                    tracing::error!(subject, reason, "what was counted is not added to a ledger");
                    fold.unreadable.push(subject);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(fold)
    }
}

fn one(
    connection: &Connection,
    subject: &Subject,
    items: &Items,
    now: Hour,
    keeping: &Keeping,
) -> Result<Folded, Fault> {
    let kept = kept(connection, subject)?;
    let (mut ledger, mut days) = match &kept {
        None => (Ledger::default(), BTreeMap::new()),
        Some(kept) => (decode_ledger(&kept.ledger)?, decode_days(&kept.days)?),
    };
    items.add_to(subject, &mut ledger)?;
    let mut closed = Vec::new();
    for (hour, mut used) in ledger.close(now, keeping) {
        let sum: &mut Counts = days.entry(hour.day()).or_default();
        sum.add(used.counts.clone().without_times());
        if let Some(kept) = &kept {
            used.add(closed_before(connection, kept.id, hour)?);
        }
        closed.push((hour, encode_hour(hour, &used)));
    }
    // The days that have details say which hours there are.
    let first_day = keeping.first_day(now).min(keeping.first_hour(now).day());
    days = days.split_off(&first_day);
    let is_due = |kept: &Kept| kept.due.is_some_and(|due| due <= now.number());
    Ok(Folded {
        subject: subject.clone(),
        id: kept.as_ref().map(|kept| kept.id),
        due: due(&ledger, &days, now, keeping),
        ledger: encode_ledger(&ledger),
        days: encode_days(&days),
        closed,
        first: kept
            .is_some_and(|kept| is_due(&kept))
            .then(|| keeping.first_hour(now)),
    })
}

/// What an hour held that was closed before; it had a late gain since.
fn closed_before(connection: &Connection, ledger: i64, hour: Hour) -> Result<Use, Fault> {
    let used: Option<Vec<u8>> = connection
        .prepare_cached("SELECT used FROM usage_hours WHERE ledger = ?1 AND hour = ?2")?
        .query_row((ledger, hour.number()), |row| row.get(0))
        .optional()?;
    let mut used = decode_hours(&used.unwrap_or_default())?;
    Ok(used.remove(&hour).unwrap_or_default())
}

/// From which hour on something is to be closed or dropped, if nothing is added until then.
fn due(ledger: &Ledger, days: &BTreeMap<Day, Counts>, now: Hour, keeping: &Keeping) -> Option<u32> {
    let open = ledger.open.keys().next();
    let closes = open.map(|hour| hour.after(QUIET_HOURS));
    let sum = days.keys().next();
    let sum_goes = sum.map(|day| keeping.sum_until(*day).max(keeping.details_until(*day)));
    let detailed = days.range(keeping.first_hour(now).day()..).next();
    let details_go = detailed.map(|(day, _)| keeping.details_until(*day));
    let due = [closes, sum_goes, details_go].into_iter().flatten().min();
    due.map(Hour::number)
}

/// Subjects of whom something is to be closed or dropped, though nothing was added; at most `most`.
pub(super) fn due_subjects(connection: &Connection, now: Hour, most: usize) -> Result<Step, Fault> {
    let mut statement = connection.prepare_cached(DUE)?;
    let mut rows = statement.query((now.number(), most as i64))?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_str()?;
        let subject = super::subject(key)
            .map_err(|flaw| StoreError::Corrupt(format!("the subject of a ledger {flaw}")))?;
        due.push((subject, Items::default()));
    }
    Ok(due)
}

impl Acts<'_> {
    /// Writes down what ledgers become. One of a token that is gone is dropped.
    pub(super) fn fold(&self, fold: &Fold) -> Result<(), Fault> {
        for one in &fold.folded {
            match &one.subject {
                Subject::Token(id) if !has_token(self.connection, *id)? => {}
                _ => self.keep(one)?,
            }
        }
        // They may be mended, so they are kept; and must not stand before all others.
        for subject in &fold.unreadable {
            self.connection
                .prepare_cached("UPDATE usage_ledgers SET due = ?2 WHERE subject = ?1")?
                .execute((subject, fold.now.after(POSTPONED_HOURS).number()))?;
        }
        Ok(())
    }

    fn keep(&self, folded: &Folded) -> Result<(), Fault> {
        let Folded {
            subject,
            id,
            due,
            ledger,
            days,
            closed,
            first,
        } = folded;
        let connection = self.connection;
        let id = match *id {
            Some(id) => {
                let changed = connection
                    .prepare_cached(
                        "UPDATE usage_ledgers SET due = ?2, ledger = ?3, days = ?4 WHERE id = ?1",
                    )?
                    .execute((id, due, ledger, days))?;
                if changed == 0 {
                    // The token went, and another came by its id.
                    return Ok(());
                }
                id
            }
            None => {
                connection
                    .prepare_cached(
                        "INSERT INTO usage_ledgers (subject, due, ledger, days) \
                         VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute((key(subject), due, ledger, days))?;
                connection.last_insert_rowid()
            }
        };
        for (hour, used) in closed {
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO usage_hours (ledger, hour, used) VALUES (?1, ?2, ?3)",
                )?
                .execute((id, hour.number(), used))?;
        }
        if let Some(first) = first {
            connection
                .prepare_cached("DELETE FROM usage_hours WHERE ledger = ?1 AND hour < ?2")?
                .execute((id, first.number()))?;
        }
        Ok(())
    }
}

/// Whether there is such a token.
pub(super) fn has_token(connection: &Connection, id: TokenId) -> Result<bool, Fault> {
    let found = connection
        .prepare_cached("SELECT 1 FROM tokens WHERE id = ?1")?
        .exists([id.as_str()])?;
    Ok(found)
}
