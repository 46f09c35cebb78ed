//! How pooled tokens are held: attaching tenures to tokens that were read, and where in its pool a
//! token stands.
//!
//! Where it stands is an index only, and each entry says until when it holds at least: what is due is
//! judged by the tenure, by whoever comes by next.

use super::RedisStore;
use super::error::{micros, read};
use super::leases::pool_of;
use super::line::Line;
use super::scripts::{AMEND_TENURE, Call};
use super::standing::Standing;
use crate::domain::tenure::Tenure;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::{StoreError, tenure};

/// What was read of a token in one step.
pub(super) struct Reading {
    /// A pooled token carries its tenure as of `now`.
    pub(super) standing: Standing,
    /// The tenure as it stands, empty where there is none: what a change is compared with.
    pub(super) tenure: Vec<u8>,
    pub(super) now: Timestamp,
}

impl Reading {
    /// The token, unless nobody kept it alive.
    pub(super) fn present(self) -> Option<Token> {
        let now = self.now;
        self.standing.token().filter(|token| !token.lapsed(now))
    }
}

/// Where in its pool a token stands.
pub(super) struct Place {
    set: &'static str,
    /// Until when at least; `None` for ever.
    till: Option<Timestamp>,
}

impl Place {
    /// Of a pooled token with its tenure.
    fn of(token: &Token, now: Timestamp) -> Self {
        let tenure = token.tenure.as_ref();
        let deadline = tenure.and_then(|tenure| tenure.deadline);
        let lease = tenure.and_then(|tenure| tenure.live(now));
        let till = token.expire_time.into_iter().chain(deadline).min();
        let (set, till) = match lease {
            _ if token.revoked.is_some() || token.expired(now) => ("out", None),
            _ if token.profile.disabled => ("out", till),
            Some(lease) => ("held", Some(lease.expire_time)),
            None => ("free", till),
        };
        Self { set, till }
    }

    fn till(&self) -> String {
        let text = |till: Timestamp| till.micros().to_string();
        self.till.map_or("+inf".to_owned(), text)
    }
}

/// `<namespace>:<pool>` of a pooled token; empty for another.
pub(super) fn pool_text(token: &Token) -> String {
    let pool = token.profile.pool.as_ref();
    pool.map_or(String::new(), |pool| {
        format!("{}:{}", token.namespace, pool.as_str())
    })
}

/// A time as scripts take it, and nothing for never.
pub(super) fn time_text(time: Option<Timestamp>) -> String {
    time.map_or(String::new(), |time| time.micros().to_string())
}

/// Adds to a call where `token` stands from now on and its tenure: REST, pool, set, till, tenure.
pub(super) fn placing(call: Call, token: &Token, now: Timestamp) -> Call {
    let place = Place::of(token, now);
    call.arg(token.id.after_tag())
        .arg(pool_text(token))
        .arg(place.set)
        .arg(place.till())
        .arg(tenure::encode(token).unwrap_or_default())
}

impl RedisStore {
    /// The token with its tenure as it stands in `stored`; one in no pool as it is.
    pub(super) async fn holding(
        &self,
        line: &Line<'_>,
        token: Token,
        stored: &[u8],
        now: Timestamp,
    ) -> Result<Token, StoreError> {
        if token.profile.pool.is_none() {
            return Ok(token);
        }
        let tenure = match stored {
            // Somebody removed it, or removes the token just now.
            [] => Tenure::default(),
            bytes => tenure::decode(token.id, bytes)?,
        };
        let absences = self.absences(line, now).await?;
        let token = token.holding(tenure, now, &absences);
        match token.tenure.as_ref().and_then(|tenure| tenure.deadline) {
            // Whoever says so was there: no absence that is noticed later can have begun before.
            Some(gone) if token.lapsed(now) && absences.seen() < gone => {
                let absences = self.see(line).await?;
                let tenure = token.tenure.clone().unwrap_or_default();
                Ok(token.holding(tenure, now, &absences))
            }
            _ => Ok(token),
        }
    }

    /// Runs a script on a lease, which answers record, tenure, time, and whether it did what was asked.
    pub(super) async fn act(
        &self,
        line: &Line<'_>,
        id: TokenId,
        call: &Call,
    ) -> Result<(Reading, bool), StoreError> {
        let answer = line.script(self.access.write_timeout, call).await?;
        let (record, tenure, now, done): (_, _, String, u64) = read(answer)?;
        let now = Timestamp::from_micros(micros(&now)?);
        let reading = self.reading(line, id, record, tenure, now).await?;
        Ok((reading, done > 0))
    }

    /// Reads what a script answered of record, tenure and time.
    pub(super) async fn reading(
        &self,
        line: &Line<'_>,
        id: TokenId,
        record: Option<Vec<u8>>,
        tenure: Option<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Reading, StoreError> {
        let tenure = tenure.unwrap_or_default();
        let standing = match Standing::read(id, record.as_deref())? {
            Standing::Token(token) => {
                Standing::Token(self.holding(line, token, &tenure, now).await?)
            }
            other => other,
        };
        Ok(Reading {
            standing,
            tenure,
            now,
        })
    }

    /// A token whose record was read without its tenure, as it is now.
    pub(super) async fn whole(&self, line: &Line<'_>, token: Token) -> Result<Token, StoreError> {
        if token.profile.pool.is_none() {
            return Ok(token);
        }
        let limit = self.access.write_timeout;
        let reading = self.read(line, token.id, limit).await?;
        let now = reading.now;
        match reading.standing.token() {
            Some(token) => Ok(token),
            // Deleted meanwhile.
            None => self.holding(line, token, &[], now).await,
        }
    }

    /// Writes the tenure that `token` carries, where `stored` still stands, and before the token,
    /// as it was judged, goes; answers whether it did.
    pub(super) async fn amend(
        &self,
        line: &Line<'_>,
        token: &Token,
        stored: &[u8],
        goes: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (keys, id) = (&self.access.keys, token.id);
        let call = AMEND_TENURE
            .call([keys.base(id), keys.record(id), keys.tenure(id)])
            .arg(token.revision.to_be_bytes())
            .arg(stored);
        let call = placing(call, token, now)
            .arg(time_text(goes))
            .arg(self.access.now());
        let answer = line.script(self.access.write_timeout, &call).await?;
        self.teller.poke(pool_of(token));
        read::<u64>(answer).map(|done| done > 0)
    }
}
