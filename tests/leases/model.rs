//! What leases and lives are, written as plainly as can be, for comparison: no store, no sharing, one
//! list of tokens and a clock.
//!
//! All times are microseconds.

use token_authority::domain::lease::LeaseEnd;

use crate::history::Micros;

const HOUR: Micros = 3_600_000_000;
const REMEMBERED: usize = 8;
/// How long after its last question a call that waits counts.
const PRESENT: Micros = 3_000_000;

/// A lease that was granted, by its number in the order of all grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelLease {
    pub(crate) number: usize,
    pub(crate) fence: u64,
    pub(crate) until: Micros,
    lapse: LeaseEnd,
    duration: Micros,
    ended: Option<(Micros, LeaseEnd)>,
}

impl ModelLease {
    /// When and why it is over, as things stand.
    pub(crate) fn end(&self) -> (Micros, LeaseEnd) {
        self.ended.unwrap_or((self.until, self.lapse))
    }
}

/// A token of the pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelToken {
    end: Option<Micros>,
    span: Option<Micros>,
    goes: Option<Micros>,
    revoked: bool,
    off: bool,
    deleted: bool,
    fence: u64,
    /// The oldest first.
    leases: Vec<ModelLease>,
}

impl ModelToken {
    fn over(&self, now: Micros) -> bool {
        self.revoked || self.end.is_some_and(|end| end <= now)
    }

    /// Nobody kept it alive, while it was not over otherwise; or it was deleted.
    pub(crate) fn gone(&self, now: Micros) -> bool {
        let over_before = |at| self.end.is_some_and(|end| end <= at);
        let lapsed = self.goes.is_some_and(|at| at <= now && !over_before(at));
        self.deleted || (lapsed && !self.revoked)
    }

    pub(crate) fn is_over(&self, now: Micros) -> bool {
        self.over(now)
    }

    pub(crate) fn live(&self, now: Micros) -> Option<&ModelLease> {
        self.leases.last().filter(|lease| now < lease.end().0)
    }

    pub(crate) fn available(&self, now: Micros) -> bool {
        !self.gone(now) && !self.over(now) && !self.off && self.live(now).is_none()
    }

    /// The lease in force and what is remembered, the newest first.
    pub(crate) fn remembered(&self, now: Micros) -> Vec<&ModelLease> {
        let most = REMEMBERED + usize::from(self.live(now).is_some());
        let newest = self.leases.iter().rev().take(most);
        newest.filter(|lease| now < lease.end().0 + HOUR).collect()
    }

    pub(crate) fn fence(&self) -> u64 {
        self.fence
    }

    pub(crate) fn goes(&self) -> Option<Micros> {
        self.goes
    }

    fn beat(&mut self, now: Micros) {
        let from = self.live(now).map_or(now, |lease| lease.until);
        self.goes = self.span.map(|span| from + span);
    }

    fn cut(&self, until: Micros) -> (Micros, LeaseEnd) {
        match self.end {
            Some(end) if end < until => (end, LeaseEnd::Revoked),
            _ => (until, LeaseEnd::Expired),
        }
    }

    fn end_lease(&mut self, now: Micros, reason: LeaseEnd) {
        if self.live(now).is_some()
            && let Some(lease) = self.leases.last_mut()
        {
            lease.ended = Some((now, reason));
        }
    }
}

/// The pool and the clock.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) now: Micros,
    pub(crate) tokens: Vec<ModelToken>,
    grants: usize,
    /// Who waits, and when it asked last; who came first is first.
    queue: Vec<(usize, Micros)>,
}

impl Model {
    pub(crate) fn new(now: Micros) -> Self {
        Self {
            now,
            tokens: Vec::new(),
            grants: 0,
            queue: Vec::new(),
        }
    }

    pub(crate) fn create(&mut self, end: Option<Micros>, span: Option<Micros>) {
        let mut token = ModelToken {
            end,
            span,
            ..ModelToken::default()
        };
        token.beat(self.now);
        self.tokens.push(token);
    }

    /// Available, leased, unavailable.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for token in self.tokens.iter().filter(|token| !token.gone(self.now)) {
            let place = match token.live(self.now) {
                Some(_) => 1,
                None if token.available(self.now) => 0,
                None => 2,
            };
            counts[place] += 1;
        }
        counts
    }

    /// When the leases in force end, the soonest first.
    pub(crate) fn ends(&self) -> Vec<Micros> {
        let known = self.tokens.iter().filter(|token| !token.gone(self.now));
        let live = known.filter_map(|token| token.live(self.now));
        let mut ends: Vec<Micros> = live.map(|lease| lease.until).collect();
        ends.sort_unstable();
        ends
    }

    /// Those who asked lately enough, in their order.
    fn living(&self) -> impl Iterator<Item = usize> {
        let lately = |asked: Micros| self.now < asked + PRESENT;
        let living = self.queue.iter().filter(move |(_, asked)| lately(*asked));
        living.map(|(slot, _)| *slot)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.living().count()
    }

    pub(crate) fn waits(&self, slot: usize) -> bool {
        self.living().any(|one| one == slot)
    }

    /// Takes a place, or keeps it; answers how many wait before.
    pub(crate) fn wait(&mut self, slot: usize) -> usize {
        let now = self.now;
        self.queue.retain(|(_, asked)| now < asked + PRESENT);
        match self.queue.iter_mut().find(|(one, _)| *one == slot) {
            Some((_, asked)) => *asked = now,
            None => self.queue.push((slot, now)),
        }
        let before = self.living().take_while(|one| *one != slot);
        before.count()
    }

    pub(crate) fn leave(&mut self, slot: usize) {
        self.queue.retain(|(one, _)| *one != slot);
    }

    /// Leases a token, which must be available.
    pub(crate) fn grant(&mut self, at: usize, duration: Micros) -> &ModelLease {
        let (now, number) = (self.now, self.grants);
        self.grants += 1;
        let token = &mut self.tokens[at];
        assert!(token.available(now), "token {at} is not available");
        token.fence = now.max(token.fence + 1);
        let (until, lapse) = token.cut(now + duration);
        token.leases.push(ModelLease {
            number,
            fence: token.fence,
            until,
            lapse,
            duration,
            ended: None,
        });
        token.beat(now);
        &self.tokens[at].leases[self.tokens[at].leases.len() - 1]
    }

    /// Where a lease is remembered: its token.
    pub(crate) fn find(&self, number: usize) -> Option<usize> {
        self.tokens.iter().position(|token| {
            let known = !token.gone(self.now);
            let mut remembered = token.remembered(self.now).into_iter();
            known && remembered.any(|lease| lease.number == number)
        })
    }

    pub(crate) fn lease(&self, at: usize, number: usize) -> &ModelLease {
        let mut leases = self.tokens[at].leases.iter();
        leases.find(|lease| lease.number == number).unwrap()
    }

    pub(crate) fn is_live(&self, at: usize, number: usize) -> bool {
        let live = self.tokens[at].live(self.now);
        live.is_some_and(|lease| lease.number == number)
    }

    /// Ends the lease in force, and counts as a beat.
    pub(crate) fn release(&mut self, at: usize, reason: LeaseEnd) {
        let now = self.now;
        self.tokens[at].end_lease(now, reason);
        self.tokens[at].beat(now);
    }

    pub(crate) fn keep_alive(&mut self, at: usize, duration: Option<Micros>) {
        let now = self.now;
        let token = &mut self.tokens[at];
        let wanted = duration.unwrap_or(token.leases[token.leases.len() - 1].duration);
        let (later, lapse) = token.cut(now + wanted);
        if let Some(lease) = token.leases.last_mut()
            && lease.until < later
        {
            (lease.until, lease.lapse) = (later, lapse);
        }
        token.beat(now);
    }

    pub(crate) fn beat(&mut self, at: usize) {
        let now = self.now;
        self.tokens[at].beat(now);
    }

    pub(crate) fn delete(&mut self, at: usize) {
        self.tokens[at].deleted = true;
    }

    pub(crate) fn revoke(&mut self, at: usize) {
        let now = self.now;
        self.tokens[at].end_lease(now, LeaseEnd::Revoked);
        self.tokens[at].revoked = true;
        self.tokens[at].goes = None;
    }

    pub(crate) fn switch(&mut self, at: usize, off: bool) {
        let now = self.now;
        if off {
            self.tokens[at].end_lease(now, LeaseEnd::Revoked);
        }
        self.tokens[at].off = off;
    }

    /// Moves the end of a token, which is not earlier than now.
    pub(crate) fn move_end(&mut self, at: usize, end: Option<Micros>) {
        let now = self.now;
        let token = &mut self.tokens[at];
        let revived = token.over(now) && end.is_none_or(|end| now < end);
        let live = token.live(now).is_some();
        token.end = end;
        if let (true, Some(end), Some(lease)) = (live, end, token.leases.last_mut())
            && end < lease.until
        {
            (lease.until, lease.lapse) = (end, LeaseEnd::Revoked);
        }
        if revived {
            token.beat(now);
        }
    }

    pub(crate) fn span(&mut self, at: usize, span: Option<Micros>) {
        let now = self.now;
        let token = &mut self.tokens[at];
        if token.span != span {
            token.span = span;
            token.beat(now);
        }
    }

    /// Lets time pass in which nobody could call.
    pub(crate) fn away(&mut self, time: Micros) {
        let gone = self.now;
        self.now += time;
        for token in self.tokens.iter_mut().filter(|token| !token.gone(gone)) {
            let again = token.span.map(|span| self.now + span);
            // One that was over before its time keeps it.
            let counting = token.goes.filter(|goes| gone < *goes);
            token.goes = counting.map_or(token.goes, |goes| again.max(Some(goes)));
        }
    }
}
