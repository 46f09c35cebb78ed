//! How many tokens are in force: all but those that are not, which an index counts.
//!
//! A pooled token that nobody kept alive counts until a sweep has taken it: its deadline moves with
//! each beat, and no index follows it.

use rusqlite::Connection;

use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::store::StoreError;
use crate::store::sqlite::Inner;
use crate::store::sqlite::census::population;
use crate::store::sqlite::error::Fault;
use crate::store::sqlite::tokens::{Entry, columns, read_kept, read_token};
use crate::store::usage::InForce;

/// Rows that the migration reads at a time.
const FILLED_AT_ONCE: usize = 1000;

pub(super) const OUT: &str = "SELECT count(*) FROM tokens INDEXED BY tokens_inactive \
     WHERE namespace = ?1 AND inactive_from <= ?2";
pub(super) const EXPIRING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tokens INDEXED BY tokens_inactive WHERE namespace = ?1 \
     AND inactive_from > ?2 AND inactive_from <= ?3 ORDER BY inactive_from LIMIT ?4"
);

impl Inner {
    pub(super) fn standing(
        &self,
        namespace: Option<&Namespace>,
        until: Timestamp,
        most: usize,
    ) -> Result<InForce, StoreError> {
        self.snapshot(|connection| {
            let now = self.time.now();
            let mut standing = InForce::default();
            for (name, tokens) in populations(connection, namespace)? {
                let out: i64 = connection
                    .prepare_cached(OUT)?
                    .query_row((&name, micros(now)), |row| row.get(0))?;
                standing.active += (tokens - out).cast_unsigned();
                let mut statement = connection.prepare_cached(EXPIRING)?;
                let mut rows = statement.query((name, micros(now), micros(until), most as i64))?;
                while let Some(row) = rows.next()? {
                    let Entry { token, .. } = read_kept(row)?.at(now, &self.seen);
                    if !token.lapsed(now) {
                        standing.expiring.push(token);
                    }
                }
                // Those of all namespaces together are no more than those of one and of the next.
                standing.expiring.sort_by_key(|token| token.expire_time);
                standing.expiring.truncate(most);
            }
            Ok(standing)
        })
    }
}

/// How many tokens each of the namespaces holds.
fn populations(
    connection: &Connection,
    namespace: Option<&Namespace>,
) -> Result<Vec<(String, i64)>, Fault> {
    if let Some(namespace) = namespace {
        let tokens = population(connection, namespace)?;
        return Ok(vec![(namespace.to_string(), tokens.cast_signed())]);
    }
    let mut statement = connection.prepare_cached("SELECT namespace, tokens FROM namespaces")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn micros(time: Timestamp) -> i64 {
    time.micros().cast_signed()
}

/// The column that says from when on a token is not in force.
pub(in crate::store::sqlite) fn inactive_from(token: &Token) -> Option<i64> {
    match token.revoked.is_some() || token.profile.disabled {
        true => Some(0),
        false => token.expire_time.map(micros),
    }
}

/// Writes that down for tokens of a schema without it.
pub(in crate::store::sqlite) fn note_inactive(connection: &Connection) -> Result<(), Fault> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM tokens WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
    );
    let mut select = connection.prepare(sql)?;
    let mut update = connection.prepare("UPDATE tokens SET inactive_from = ?2 WHERE rowid = ?1")?;
    let mut last = i64::MIN;
    loop {
        let mut found = Vec::new();
        let mut rows = select.query((last, FILLED_AT_ONCE as i64))?;
        while let Some(row) = rows.next()? {
            last = row.get(4)?;
            found.push((last, inactive_from(&read_token(row)?)));
        }
        if found.is_empty() {
            return Ok(());
        }
        for (row, from) in found {
            if from.is_some() {
                update.execute((row, from))?;
            }
        }
    }
}
