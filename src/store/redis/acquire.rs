//! Acquiring: one script draws a token and leases it, or says why not.
//!
//! The request that acquired a lease is known in the pool's slot by its key; what it is answered the
//! second time is judged here, by the tenure that it finds.

use redis::Value;

use super::RedisStore;
use super::error::{read, unexpected};
use super::leases::{id_in, id_of, place_of, time};
use super::line::Line;
use super::scripts::{ACQUIRE_LEASE, Call};
use super::sight::encode;
use super::tokens::{ATTEMPTS_MAX, DELETION_KEPT, pause_before};
use crate::domain::absence::Absences;
use crate::domain::lease::{LEASE_SECRETS_MAX, Lease, WaiterId};
use crate::domain::tenure::{ENDED_KEPT, ENDED_MAX, Grant};
use crate::domain::token::{Origin, REPLAY_WINDOW, Refusal, TokenId};
use crate::entropy;
use crate::store::leases::{Acquired, Asking, GONE_AFTER};
use crate::store::{StoreError, tenure};

/// Most steps of one call: each settles some of what is due, where that is more than one step bears.
const STEPS_MAX: usize = 10_000;
/// Length of what a fingerprint is kept as.
const FINGERPRINT_BYTES: usize = 32;

impl RedisStore {
    /// Carries out [`crate::store::LeaseStore::acquire`].
    pub(super) async fn acquire_lease(&self, asking: &Asking) -> Result<Acquired, StoreError> {
        if asking.waiter.is_some() {
            self.ear.listen();
        }
        let limit = self.access.write_timeout;
        let line = &self.access.changing().await?;
        line.keeps_pepper(asking.grant.digest.key_id)?;
        let mut absences = match self.known_absences() {
            Some(absences) => absences,
            None => self.see(line).await?,
        };
        let mut overtaken = 0;
        for _ in 0..STEPS_MAX {
            let call = self.asking(asking, &absences)?;
            let answer = line.script(limit, &call).await?;
            // Whatever it answers, it may have ended a lease whose time was over.
            self.teller.poke(Some(asking.pool.clone()));
            let answer: Vec<Value> = read(answer)?;
            let mut parts = answer.into_iter();
            let outcome: String = read(parts.next().unwrap_or_default())?;
            let mut text = || read::<Option<String>>(parts.next().unwrap_or_default());
            match outcome.as_str() {
                "again" => {}
                "unseen" => absences = self.see(line).await?,
                "empty" => {
                    line.confirm(limit).await?;
                    return Ok(Acquired::Empty);
                }
                "busy" => {
                    let (now, turn) = (text()?.unwrap_or_default(), text()?);
                    return Ok(Acquired::Busy {
                        now: time(&now)?,
                        turn: turn.as_deref().map(time).transpose()?,
                    });
                }
                "granted" => return self.granted(line, asking, parts).await,
                "earlier" if overtaken < ATTEMPTS_MAX => {
                    if let Some(answer) = self.replayed(line, asking, parts).await? {
                        return Ok(answer);
                    }
                    overtaken += 1;
                    pause_before(overtaken).await;
                }
                "earlier" => return Err(StoreError::Contended(overtaken)),
                other => return Err(unexpected(other)),
            }
        }
        Err(StoreError::Contended(STEPS_MAX))
    }

    fn asking(&self, asking: &Asking, absences: &Absences) -> Result<Call, StoreError> {
        let Asking {
            pool,
            grant,
            waiter,
        } = asking;
        let keys = &self.access.keys;
        let [draw] =
            entropy::draws::<1>().map_err(|error| StoreError::Unreachable(error.to_string()))?;
        let origin = grant.origin.as_ref();
        let fingerprint = origin.map(|origin| origin.fingerprint.to_vec());
        Ok(ACQUIRE_LEASE
            .call([keys.base(id_in(pool))])
            .arg(place_of(pool))
            .arg(self.access.now())
            .arg(absences.known_until().micros().to_string())
            .arg(encode(absences))
            .arg(draw.to_string())
            .arg(grant.mark.as_str())
            .arg(grant.duration.as_micros().to_string())
            .arg(tenure::encode_grant(grant))
            .arg(origin.map_or(String::new(), request_text))
            .arg(fingerprint.unwrap_or_default())
            .arg(REPLAY_WINDOW.as_micros().to_string())
            .arg(DELETION_KEPT.as_millis().to_string())
            .arg(waiter.as_ref().map_or("", WaiterId::as_str))
            .arg(GONE_AFTER.as_micros().to_string())
            .arg(ENDED_MAX.to_string())
            .arg(ENDED_KEPT.as_micros().to_string())
            .arg(keys.wake_channel()))
    }

    async fn granted(
        &self,
        line: &Line<'_>,
        asking: &Asking,
        parts: impl Iterator<Item = Value>,
    ) -> Result<Acquired, StoreError> {
        let parts = Value::Array(parts.collect());
        let (rest, record, stored, now): (String, Vec<u8>, Vec<u8>, String) = read(parts)?;
        let (id, now) = (id_of(&asking.pool, &rest)?, time(&now)?);
        let reading = self.reading(line, id, Some(record), Some(stored), now);
        let token = reading.await?.standing.token();
        let lease = token.as_ref().and_then(|token| token.tenure.as_ref());
        let lease = lease.and_then(|tenure| tenure.live(now)).cloned();
        match (token, lease) {
            (Some(token), Some(lease)) => Ok(Acquired::Granted {
                token: Box::new(token),
                lease: Box::new(lease),
                now,
                replayed: false,
            }),
            _ => Err(unexpected("a lease that is none")),
        }
    }

    /// Answers a request that acquired a lease before; `None` where another change came between.
    async fn replayed(
        &self,
        line: &Line<'_>,
        asking: &Asking,
        parts: impl Iterator<Item = Value>,
    ) -> Result<Option<Acquired>, StoreError> {
        type Parts = (String, Option<Vec<u8>>, Option<Vec<u8>>, String, Vec<u8>);
        let (rest, record, stored, now, fingerprint): Parts = read(Value::Array(parts.collect()))?;
        let Some(origin) = &asking.grant.origin else {
            return Err(unexpected("the lease of a request that was not named"));
        };
        if fingerprint.len() != FINGERPRINT_BYTES || fingerprint != origin.fingerprint {
            return Ok(Some(Acquired::Refused(Refusal::RequestDiffers)));
        }
        let (id, now) = (id_of(&asking.pool, &rest)?, time(&now)?);
        let reading = self.reading(line, id, record, stored, now).await?;
        let stored = reading.tenure.clone();
        let used = || Ok(Some(Acquired::Refused(Refusal::RequestUsed)));
        let Some(mut token) = reading.present() else {
            return used();
        };
        let goes = token.lapse_time();
        let tenure = token.tenure.as_mut();
        let lease = tenure.and_then(|tenure| tenure.leases.first_mut());
        let Some(lease) = lease.filter(|lease| lease.is_live(now) && of(lease, origin)) else {
            return used();
        };
        if lease.digests.len() >= LEASE_SECRETS_MAX {
            return used();
        }
        let Grant { digest, .. } = &asking.grant;
        lease.digests.push(digest.clone());
        let lease = Box::new(lease.clone());
        if !self.amend(line, &token, &stored, goes, now).await? {
            return Ok(None);
        }
        Ok(Some(Acquired::Granted {
            token: Box::new(token),
            lease,
            now,
            replayed: true,
        }))
    }
}

fn of(lease: &Lease, origin: &Origin) -> bool {
    lease.origin.as_ref() == Some(origin)
}

/// What a request is known by in its pool: as many digits of its key's hash as an id has.
fn request_text(origin: &Origin) -> String {
    TokenId::derived(&origin.key).to_string()
}
