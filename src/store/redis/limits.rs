//! Limits: one script takes from all of them, in the slot of the token.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Value, cmd};

use super::RedisStore;
use super::error::{micros, read, unexpected};
use super::scripts::{Call, TAKE_USE};
use super::standing::Standing;
use crate::domain::limit::RateLimit;
use crate::domain::permits::{Ahead, BatchId};
use crate::domain::spending::{Exceeded, Left, Scope, Spending};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::store::spending::{decode_batches, decode_quota, decode_rates};
use crate::store::{Found, LimitStore, StoreError, Take, Taken};

#[async_trait]
impl LimitStore for RedisStore {
    async fn take(&self, take: &Take) -> Result<Taken, StoreError> {
        let limit = self.access.read_timeout;
        let line = self.access.links.line()?;
        let answer = line.script(limit, &self.taking(take)).await?;
        let answer: Vec<Option<Vec<u8>>> = read(answer)?;
        let token = &take.token;
        match answer.split_first() {
            Some((Some(outcome), rest)) => match (outcome.as_slice(), rest) {
                (b"moved", [value, now]) => {
                    let standing = Standing::read(token.id, value.as_deref())?;
                    let now = Timestamp::from_micros(number(now.as_deref())?);
                    let (token, now) = match standing.token() {
                        Some(pooled) if pooled.profile.pool.is_some() => {
                            // Its tenure stands elsewhere.
                            let reading = self.read(&line, pooled.id, limit).await?;
                            let now = reading.now;
                            (reading.present(), now)
                        }
                        token => (token, now),
                    };
                    if token.is_none() {
                        line.confirm(limit).await?;
                    }
                    let token = token.map(Arc::new);
                    Ok(Taken::Moved(Found { now, token }))
                }
                (b"admitted", [rest @ .., granted]) => {
                    let granted = number(granted.as_deref())?;
                    Ok(Taken::Admitted(left(token, rest)?, granted))
                }
                (b"rate", [rest @ .., _]) => Ok(Taken::Refused(Exceeded::Rate, left(token, rest)?)),
                (b"quota", [rest @ .., _]) => {
                    Ok(Taken::Refused(Exceeded::Quota, left(token, rest)?))
                }
                _ => Err(unexpected("neither taken nor refused")),
            },
            _ => Err(unexpected("no outcome")),
        }
    }

    async fn spending(&self, tokens: &[Arc<Token>]) -> Result<Vec<Spending>, StoreError> {
        let keys = &self.access.keys;
        let line = self.access.links.line()?;
        let asked = tokens.iter().map(|token| {
            let id = token.id;
            let mut command = cmd("MGET");
            command.arg([keys.rates(id), keys.quota(id), keys.batches(id)].as_slice());
            command
        });
        let limit = self.access.read_timeout;
        let answers = line.commands(limit, asked.collect()).await?;
        answers.into_iter().map(read_spending).collect()
    }
}

impl RedisStore {
    fn taking(&self, take: &Take) -> Call {
        let Take {
            token,
            until,
            cost,
            scope,
            dry_run,
            ahead,
        } = take;
        let keys = &self.access.keys;
        let id = token.id;
        let text = |time: Timestamp| time.micros().to_string();
        let scope = match scope {
            Scope::All => "all",
            Scope::Rates => "rates",
        };
        let limits = token.profile.rate_limits.iter();
        let mut call = TAKE_USE
            .call([
                keys.record(id),
                keys.rates(id),
                keys.quota(id),
                keys.batches(id),
            ])
            .arg(token.revision.to_be_bytes())
            .arg(until.map(text).unwrap_or_default())
            .arg(cost.to_string())
            .arg(if *dry_run { "look" } else { "spend" })
            .arg(scope)
            .arg(self.access.now())
            .arg(text(token.allowance.rates_since))
            .arg(ahead_text(ahead))
            .arg(limits.len().to_string());
        for limit in limits {
            call = rate(call, limit);
        }
        let Some(quota) = token.profile.quota else {
            return call.arg("");
        };
        let period = quota.period().map(|period| period.as_micros().to_string());
        let grant = token.allowance.grant;
        call.arg(quota.limit().to_string())
            .arg(period.unwrap_or_default())
            .arg(text(token.create_time))
            .arg(text(token.allowance.quota_since))
            .arg(grant.map_or(String::new(), |grant| grant.left.to_string()))
            .arg(grant.map_or(String::new(), |grant| grant.of.to_string()))
    }
}

/// What comes with a use, as the script reads it.
fn ahead_text(ahead: &Ahead) -> String {
    let Ahead { back, wish } = ahead;
    if back.is_none() && wish.is_none() {
        return String::new();
    }
    let part = |part: Option<(BatchId, u64)>| match part {
        Some((BatchId(id), uses)) => format!("{id} {uses}"),
        None => "- 0".to_owned(),
    };
    let back = part(back.map(|back| (back.batch, back.unused)));
    let wish = part(wish.map(|wish| (wish.batch, wish.uses)));
    format!("{back} {wish}")
}

fn rate(call: Call, limit: &RateLimit) -> Call {
    let pace = limit.pace();
    let numbers = [pace.step, pace.drain, pace.full];
    let call = call.arg(limit.name().as_str());
    numbers
        .into_iter()
        .fold(call, |call, number| call.arg(number.to_string()))
}

/// Reads what is left, as the script answers it.
fn left(token: &Token, answer: &[Option<Vec<u8>>]) -> Result<Left, StoreError> {
    let [now, backlogs @ .., quota] = answer else {
        return Err(unexpected("less than is left"));
    };
    if backlogs.len() != token.profile.rate_limits.iter().len() {
        return Err(unexpected("not as many backlogs as rate limits"));
    }
    let quota = quota.as_deref().filter(|text| !text.is_empty());
    Ok(Left {
        now: Timestamp::from_micros(number(now.as_deref())?),
        backlogs: backlogs
            .iter()
            .map(|units| number(units.as_deref()))
            .collect::<Result<_, _>>()?,
        quota: quota.map(|text| number(Some(text))).transpose()?,
    })
}

fn number(text: Option<&[u8]>) -> Result<u64, StoreError> {
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    micros(text.ok_or_else(|| unexpected("a number that is missing"))?)
}

fn read_spending(answer: Value) -> Result<Spending, StoreError> {
    let answer: Vec<Option<Vec<u8>>> = read(answer)?;
    let [rates, quota, batches] = answer.as_slice() else {
        return Err(unexpected("not as many values as keys"));
    };
    let batches = batches.as_deref().map(decode_batches).transpose()?;
    Ok(Spending {
        rates: rates.as_deref().map(decode_rates).transpose()?,
        quota: quota.as_deref().map(decode_quota).transpose()?,
        batches: batches.unwrap_or_default(),
    })
}
