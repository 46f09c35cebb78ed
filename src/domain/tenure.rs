//! The tenure of a pooled token: who holds it, who held it, and until when it lives without a beat.
//!
//! It stands beside the token's record and changes without its revision. The rules here are those of
//! both stores; what Redis' scripts do of it, they do alike.

use std::time::Duration;

use super::absence::Absences;
use super::lease::{Holder, Lease, LeaseEnd, LeaseMark};
use super::secret::SecretDigest;
use super::time::Timestamp;
use super::token::{Origin, Token};

/// Ended leases that a token remembers, and for how long after their end.
pub const ENDED_MAX: usize = 8;
pub const ENDED_KEPT: Duration = Duration::from_secs(3600);

/// How a pooled token is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenure {
    /// The number of the last lease; 0 before the first.
    pub fence: u64,
    /// When the token goes unless somebody keeps it alive; `None` if it needs nobody.
    pub deadline: Option<Timestamp>,
    /// The last lease and those before it, newest first.
    pub leases: Vec<Lease>,
}

/// What a new lease is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub mark: LeaseMark,
    pub holder: Holder,
    pub duration: Duration,
    pub origin: Option<Origin>,
    pub digest: SecretDigest,
}

impl Tenure {
    /// That of a token that begins `now`.
    pub fn begin(token: &Token, now: Timestamp) -> Self {
        let mut tenure = Self::default();
        tenure.beat(token, now);
        tenure
    }

    /// The lease in force.
    pub fn live(&self, now: Timestamp) -> Option<&Lease> {
        self.leases.first().filter(|lease| lease.is_live(now))
    }

    /// The last lease that ended, while it is remembered.
    pub fn last(&self, now: Timestamp) -> Option<&Lease> {
        self.remembered(now).find(|lease| !lease.is_live(now))
    }

    /// The lease in force and those that ended and are remembered, newest first.
    pub fn remembered(&self, now: Timestamp) -> impl Iterator<Item = &Lease> {
        let live = usize::from(self.live(now).is_some());
        let leases = self.leases.iter().take(ENDED_MAX + live);
        leases.filter(move |lease| now < lease.over_at().saturating_add(ENDED_KEPT))
    }

    /// The remembered lease of that mark.
    pub fn lease(&self, mark: LeaseMark, now: Timestamp) -> Option<&Lease> {
        self.remembered(now).find(|lease| lease.mark == mark)
    }

    /// The remembered lease that this request acquired.
    pub fn acquired_by(&self, origin: &Origin, now: Timestamp) -> Option<&Lease> {
        let same = |lease: &&Lease| lease.origin.as_ref().map(|own| own.key) == Some(origin.key);
        self.remembered(now).find(same)
    }

    /// Leases the token, which nobody may hold. The fence grows even where the last one was lost
    /// with the store's last moments: it is never less than the time in microseconds.
    pub fn grant(&mut self, token: &Token, now: Timestamp, grant: Grant) {
        let Grant {
            mark,
            holder,
            duration,
            origin,
            digest,
        } = grant;
        // One that was over by its time alone would be in force again where the clock is set back.
        if let Some(last) = self.leases.first_mut() {
            last.ended = last.end(now);
        }
        self.fence = now.micros().max(self.fence + 1);
        let (expire_time, lapse) = until(token, now.saturating_add(duration));
        let lease = Lease {
            mark,
            holder,
            fence: self.fence,
            acquire_time: now,
            expire_time,
            lapse,
            duration,
            ended: None,
            origin,
            digests: vec![digest],
        };
        self.leases = std::iter::once(lease)
            .chain(self.remembered(now).cloned())
            .take(1 + ENDED_MAX)
            .collect();
        self.beat(token, now);
    }

    /// Extends the lease in force, which is never shortened, and with it the token's life.
    pub fn extend(&mut self, token: &Token, now: Timestamp, duration: Option<Duration>) {
        if let Some(lease) = self.leases.first_mut().filter(|lease| lease.is_live(now)) {
            let duration = duration.unwrap_or(lease.duration);
            let (later, lapse) = until(token, now.saturating_add(duration));
            if lease.expire_time < later {
                (lease.expire_time, lease.lapse) = (later, lapse);
            }
        }
        self.beat(token, now);
    }

    /// Ends the lease in force, if there is one.
    pub fn end(&mut self, now: Timestamp, reason: LeaseEnd) {
        if let Some(lease) = self.leases.first_mut().filter(|lease| lease.is_live(now)) {
            lease.ended = Some((now, reason));
        }
    }

    /// Ends the lease in force as its holder, or a manager, wants it; the token lives on from here.
    pub fn release(&mut self, token: &Token, now: Timestamp, reason: LeaseEnd) {
        self.end(now, reason);
        self.beat(token, now);
    }

    /// Restarts the clock of the token's life, which does not end before a lease in force and the
    /// span after it.
    pub fn beat(&mut self, token: &Token, now: Timestamp) {
        let from = self.live(now).map_or(now, |lease| lease.expire_time);
        let span = token.profile.keep_alive_ttl;
        self.deadline = span.map(|span| from.saturating_add(span));
    }

    /// What becomes of it when `before` is changed into `after`: a token that is over, or switched
    /// off, is nobody's; a lease never outlives its token, even where that is given more time later;
    /// and a clock that was changed, or had nothing to count down to, starts anew.
    pub fn changed(&self, before: &Token, after: &Token, now: Timestamp) -> Self {
        let mut tenure = self.clone();
        if after.revoked.is_some() || after.profile.disabled {
            tenure.end(now, LeaseEnd::Revoked);
        }
        if let (Some(lease), Some(end)) = (tenure.leases.first_mut(), after.expire_time)
            && end < lease.expire_time
        {
            (lease.expire_time, lease.lapse) = (end, LeaseEnd::Revoked);
        }
        let revived = before.expired(now) && !after.expired(now);
        if after.revoked.is_some() {
            tenure.deadline = None;
        } else if revived || before.profile.keep_alive_ttl != after.profile.keep_alive_ttl {
            tenure.beat(after, now);
        }
        tenure
    }
}

/// When a lease of `token` that is to last until `wanted` is over, and why.
fn until(token: &Token, wanted: Timestamp) -> (Timestamp, LeaseEnd) {
    match token.expire_time {
        Some(end) if end < wanted => (end, LeaseEnd::Revoked),
        _ => (wanted, LeaseEnd::Expired),
    }
}

impl Token {
    /// The same with its tenure as it was stored, read `now`: ended leases that are not remembered
    /// any more are left out, and the clock of its life stood still in `absences`.
    pub fn holding(self, stored: Tenure, now: Timestamp, absences: &Absences) -> Self {
        let span = self.profile.keep_alive_ttl;
        let deadline = stored.deadline.zip(span);
        let tenure = Tenure {
            deadline: deadline.map(|(deadline, span)| absences.deadline(deadline, span)),
            leases: stored.remembered(now).cloned().collect(),
            fence: stored.fence,
        };
        Self {
            tenure: Some(tenure),
            ..self
        }
    }

    /// When the token goes unless it is kept alive; `None` where it needs nobody, or is over already.
    pub fn keep_alive_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let over = self.revoked.is_some() || self.expired(now);
        let deadline = self.tenure.as_ref()?.deadline;
        deadline.filter(|_| !over)
    }

    /// Whether nobody kept the token alive: it is gone, though its record may still be there.
    pub fn lapsed(&self, now: Timestamp) -> bool {
        self.lapse_time().is_some_and(|at| at <= now)
    }

    /// When it goes so, unless it is kept alive. A token that is over before its deadline comes is
    /// kept as any other.
    pub fn lapse_time(&self) -> Option<Timestamp> {
        let deadline = self.tenure.as_ref().and_then(|tenure| tenure.deadline);
        let over = |deadline| self.expire_time.is_some_and(|end| end <= deadline);
        deadline.filter(|at| self.revoked.is_none() && !over(*at))
    }
}

#[cfg(test)]
mod tests;
