//! Random acts on a pool, each answered by the store as the model has it, whatever came before.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};
use token_authority::domain::caller::Reach;
use token_authority::domain::lease::{LeaseEnd, LeaseId, LeaseMark, WaiterId};
use token_authority::domain::name::{Namespace, Reason};
use token_authority::domain::page::PageSize;
use token_authority::domain::pool::Pool;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Expiration, Refusal, Ruling, Token, TokenId};
use token_authority::store::leases::{Acquired, KeptAlive, LeaseTarget, Released};
use token_authority::store::{Change, Deletion, Rule};

use crate::acts::{Act, SECOND, WAITERS, acts};
use crate::cases;
use crate::fixture::{self, Bench};
use crate::history::Micros;
use crate::model::{Model, ModelLease};
use crate::support::drafts::{pooled, within};
use crate::support::leases::{asking_for, beat_for, beat_of, pool, waiter};

/// Longest step in which time passes in sight of the store.
const STEP: Micros = 4 * SECOND;

fn time(micros: Micros) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a store and the model have in common: the same tokens, leases and clock.
struct Play<'a> {
    bench: &'a mut Bench,
    model: Model,
    pool: Pool,
    ids: Vec<TokenId>,
    leases: Vec<LeaseId>,
    waiters: [WaiterId; WAITERS],
}

impl Play<'_> {
    async fn act(&mut self, act: &Act) {
        match act.clone() {
            Act::Create(end, span) => self.create(end, span).await,
            Act::Acquire(duration) => {
                let before = self.model.waiting();
                self.acquire(duration, None, before).await;
            }
            Act::Wait(slot, duration) => {
                if !self.model.waits(slot) {
                    // Who was taken to be gone does not come back.
                    self.waiters[slot] = waiter();
                }
                let before = self.model.wait(slot);
                self.acquire(duration, Some(slot), before).await;
            }
            Act::Leave(slot) => self.leave(slot).await,
            Act::Release(at) => self.release(at).await,
            Act::Force(at) => self.force(at).await,
            Act::KeepAlive(at, duration) => self.keep_alive(at, duration).await,
            Act::Beat(at) => self.beat(at).await,
            Act::Switch(at, off) => {
                let rule = changing(move |token, _| token.profile.disabled = off);
                if let Some(at) = self.change(at, rule).await {
                    self.model.switch(at, off);
                }
            }
            Act::Revoke(at) => {
                let rule: Rule = Arc::new(|token, now| token.revoke(now, Reason::default()));
                if let Some(at) = self.change(at, rule).await {
                    self.model.revoke(at);
                }
            }
            Act::MoveEnd(at, end) => {
                let end = end.map(|end| self.millis(end));
                let rule = changing(move |token, _| token.expire_time = end.map(time));
                if let Some(at) = self.change(at, rule).await {
                    self.model.move_end(at, end);
                }
            }
            Act::Span(at, span) => {
                let rule =
                    changing(move |token, _| token.profile.keep_alive_ttl = span.map(seconds));
                if let Some(at) = self.change(at, rule).await {
                    self.model.span(at, span.map(|span| span * SECOND));
                }
            }
            Act::Delete(at) => self.delete(at).await,
            Act::Pass(time) => self.pass(time).await,
            Act::Away(time) => {
                self.bench.pass(seconds(time));
                self.model.away(time * SECOND);
            }
            Act::Reopen => {
                // A queue may live in the process.
                for slot in 0..WAITERS {
                    self.leave(slot).await;
                }
                self.bench.store.close().await;
                self.bench.reopen().await;
            }
            Act::Sweep => {
                self.bench.store.sweep().await.unwrap();
            }
        }
    }

    /// So many seconds from now, as ends of tokens are: to the millisecond, and not before now.
    fn millis(&self, seconds: u64) -> Micros {
        (self.model.now + seconds * SECOND).div_ceil(1000) * 1000
    }

    async fn create(&mut self, end: Option<u64>, span: Option<u64>) {
        // No two tokens of a namespace are equally old, so each begins when it is made.
        self.pass(1).await;
        let end = end.map(|end| self.millis(end));
        let mut draft = within(self.pool.namespace.as_str());
        draft.profile.keep_alive_ttl = span.map(seconds);
        draft.expiration = end.map_or(Expiration::Never, |end| Expiration::At(time(end)));
        let draft: Draft = pooled(draft, self.pool.name.as_str());
        let token = self.bench.create(draft).await;
        self.ids.push(token.id);
        assert_eq!(token.create_time.micros(), self.model.now);
        self.model.create(end, span.map(|span| span * SECOND));
    }

    async fn leave(&mut self, slot: usize) {
        let left = self.bench.store.leave(&self.pool, self.waiters[slot]).await;
        left.unwrap();
        self.model.leave(slot);
    }

    /// Asks behind so many who wait.
    async fn acquire(&mut self, duration: u64, slot: Option<usize>, before: usize) {
        let mut asked = asking_for(&self.pool, seconds(duration));
        asked.waiter = slot.map(|slot| self.waiters[slot]);
        let before = before as u64;
        let available = self.model.counts()[0];
        match self.bench.store.acquire(&asked).await.unwrap() {
            Acquired::Granted {
                token,
                lease,
                now,
                replayed,
            } => {
                assert!(
                    before < available,
                    "{before} wait, {available} are available"
                );
                if let Some(slot) = slot {
                    self.model.leave(slot);
                }
                let at = self.at(token.id);
                let own = self.model.grant(at, duration * SECOND);
                assert_eq!(own.fence, lease.fence);
                assert_eq!(own.until, lease.expire_time.micros());
                assert_eq!((now.micros(), replayed), (self.model.now, false));
                assert_eq!(lease.mark, asked.grant.mark);
                self.leases.push(LeaseId {
                    token: token.id,
                    mark: lease.mark,
                });
                self.agrees(at, &token);
            }
            Acquired::Busy { now, turn } => {
                assert!(
                    available <= before,
                    "{available} are available, {before} wait"
                );
                assert_eq!(now.micros(), self.model.now);
                let rank = usize::try_from(before - available).unwrap();
                let turn = turn.map(Timestamp::micros);
                assert_eq!(turn, self.model.ends().get(rank).copied());
            }
            Acquired::Empty => {
                assert_eq!(self.model.counts(), [0, 0, 0]);
                if let Some(slot) = slot {
                    self.leave(slot).await;
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn at(&self, id: TokenId) -> usize {
        let at = self.ids.iter().position(|known| *known == id);
        at.expect("a token of this pool")
    }

    async fn release(&mut self, at: usize) {
        if self.leases.is_empty() {
            return;
        }
        let number = at % self.leases.len();
        let target = LeaseTarget::Lease(self.leases[number]);
        let released = self.bench.store.release(target, &Reach::All).await;
        let Some(at) = self.model.find(number) else {
            assert_eq!(released, Ok(Released::Absent));
            return;
        };
        let before = !self.model.is_live(at, number);
        if !before {
            self.model.release(at, LeaseEnd::Released);
        }
        let own = self.model.lease(at, number).clone();
        self.ended(released.unwrap(), at, &own, before);
    }

    fn ended(&self, released: Released, at: usize, own: &ModelLease, expected: bool) {
        let Released::Ended {
            token,
            lease,
            now,
            before,
        } = released
        else {
            panic!("expected {own:?}, got {released:?}");
        };
        assert_eq!((now.micros(), before), (self.model.now, expected));
        self.same(own, &lease);
        self.agrees(at, &token);
    }

    async fn force(&mut self, at: usize) {
        let Some(at) = self.token(at) else { return };
        let target = LeaseTarget::Token(self.ids[at]);
        let released = self.bench.store.release(target, &Reach::All).await;
        let released = released.unwrap();
        let token = &self.model.tokens[at];
        let now = self.model.now;
        let live = token.live(now).is_some();
        if token.gone(now) {
            assert_eq!(released, Released::Absent);
        } else if token.remembered(now).is_empty() {
            assert!(matches!(released, Released::Idle(_)), "{released:?}");
        } else {
            if live {
                self.model.release(at, LeaseEnd::Forced);
            }
            let own = self.model.tokens[at].remembered(now)[0].clone();
            self.ended(released, at, &own, !live);
        }
    }

    async fn keep_alive(&mut self, at: usize, duration: Option<u64>) {
        if self.leases.is_empty() {
            return;
        }
        let number = at % self.leases.len();
        let beat = beat_for(self.leases[number], duration.map(seconds));
        let kept = self.bench.store.keep_alive(&beat).await.unwrap();
        let Some(at) = self.model.find(number) else {
            assert_eq!(kept, KeptAlive::Absent);
            return;
        };
        let live = self.model.is_live(at, number);
        if live {
            let duration = duration.map(|duration| duration * SECOND);
            self.model.keep_alive(at, duration);
        }
        let own = self.model.lease(at, number).clone();
        match kept {
            KeptAlive::Kept { token, now } => {
                assert!(live, "{own:?} was over");
                assert_eq!(now.micros(), self.model.now);
                self.agrees(at, &token);
            }
            KeptAlive::Over { token, lease } => {
                assert!(!live, "{own:?} was in force");
                self.same(&own, &lease);
                self.agrees(at, &token);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    async fn beat(&mut self, at: usize) {
        let Some(at) = self.token(at) else { return };
        let kept = self.bench.store.keep_alive(&beat_of(self.ids[at])).await;
        let token = &self.model.tokens[at];
        match kept.unwrap() {
            KeptAlive::Absent => assert!(token.gone(self.model.now)),
            KeptAlive::Refused(Refusal::Over { .. }) => {
                assert!(!token.gone(self.model.now) && token.is_over(self.model.now));
            }
            KeptAlive::Kept { token, now: _ } => {
                let own = &self.model.tokens[at];
                assert!(!own.gone(self.model.now) && !own.is_over(self.model.now));
                self.model.beat(at);
                self.agrees(at, &token);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Changes a token that is not revoked; answers which, where there was something to change.
    async fn change(&mut self, at: usize, rule: Rule) -> Option<usize> {
        let at = self.token(at)?;
        let gone = self.model.tokens[at].gone(self.model.now);
        match self.bench.store.change(self.ids[at], rule).await.unwrap() {
            Change::Absent => assert!(gone),
            Change::Kept(..) => assert!(!gone),
            Change::Changed(_) => {
                assert!(!gone);
                return Some(at);
            }
            Change::Refused(why) => panic!("unexpected {why:?}"),
        }
        None
    }

    async fn delete(&mut self, at: usize) {
        let Some(at) = self.token(at) else { return };
        let rule: Rule = Arc::new(|_, _| Ruling::Keep);
        let expected = match self.model.tokens[at].gone(self.model.now) {
            true => Deletion::Absent,
            false => Deletion::Deleted,
        };
        let deleted = self.bench.store.delete(self.ids[at], rule).await;
        assert_eq!(deleted, Ok(expected.clone()));
        if expected == Deletion::Deleted {
            self.model.delete(at);
        }
    }

    fn token(&self, at: usize) -> Option<usize> {
        at.checked_rem(self.ids.len())
    }

    async fn pass(&mut self, time: Micros) {
        let end = self.model.now + time;
        while self.model.now < end {
            let step = STEP.min(end - self.model.now);
            self.bench.pass(Duration::from_micros(step));
            self.model.now += step;
            self.bench.store.be_seen().await.unwrap();
        }
    }

    fn same(&self, own: &ModelLease, lease: &token_authority::domain::lease::Lease) {
        let (end, why) = own.end();
        assert_eq!(own.fence, lease.fence);
        assert_eq!(self.leases[own.number].mark, lease.mark);
        assert_eq!(end, lease.over_at().micros());
        if end <= self.model.now {
            assert_eq!(lease.end(time(self.model.now)), Some((time(end), why)));
        }
    }

    /// Checks a token that was answered.
    fn agrees(&self, at: usize, token: &Token) {
        let own = &self.model.tokens[at];
        let tenure = token.tenure.as_ref().unwrap();
        assert_eq!(own.fence(), tenure.fence, "token {at}");
        let goes = tenure.deadline.map(Timestamp::micros);
        assert_eq!(own.goes(), goes, "token {at}");
        let remembered = own.remembered(self.model.now);
        let marks: Vec<LeaseMark> = tenure.leases.iter().map(|lease| lease.mark).collect();
        let expected = remembered
            .iter()
            .map(|lease| self.leases[lease.number].mark);
        assert_eq!(marks, expected.collect::<Vec<_>>(), "token {at}");
        for (own, lease) in remembered.iter().zip(&tenure.leases) {
            self.same(own, lease);
        }
    }

    /// Checks everything that can be seen.
    async fn compare(&self) {
        for (at, id) in self.ids.iter().enumerate() {
            let found = self.bench.found(*id).await;
            let gone = self.model.tokens[at].gone(self.model.now);
            assert_eq!(found.is_none(), gone, "token {at}");
            if let Some(token) = found {
                self.agrees(at, &token);
            }
        }
        let reach = Reach::only(self.pool.namespace.clone());
        let pools = self.bench.store.pools(&reach, None, PageSize::asked(9));
        let pools = pools.await.unwrap().pools;
        let counts = pools.first().map_or([0; 3], |(_, standing)| {
            assert_eq!(standing.waiting, self.model.waiting() as u64);
            [standing.available, standing.leased, standing.unavailable]
        });
        assert_eq!(counts, self.model.counts());
        assert_eq!(pools.len(), usize::from(counts != [0; 3]));
    }
}

/// A rule that changes a token that is not revoked.
fn changing(how: impl Fn(&mut Token, Timestamp) + Send + Sync + 'static) -> Rule {
    Arc::new(move |token, now| {
        if token.revoked.is_some() {
            return Ruling::Keep;
        }
        let mut changed = token.clone();
        how(&mut changed, now);
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

/// Plays acts in a namespace of their own.
async fn play(bench: &mut Bench, number: usize, acts: &[Act]) {
    bench.store.be_seen().await.unwrap();
    let now = bench.now().micros();
    let namespace = Namespace::parse(&format!("play-{number}")).unwrap();
    let pool = Pool {
        namespace,
        ..pool("gpu")
    };
    let mut play = Play {
        bench,
        model: Model::new(now),
        pool,
        ids: Vec::new(),
        leases: Vec::new(),
        waiters: std::array::from_fn(|_| waiter()),
    };
    for act in acts {
        play.act(act).await;
        play.compare().await;
        play.bench.store.be_seen().await.unwrap();
    }
}

/// Acts, told one in a line.
struct Told<'a>(&'a [Act]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|act| writeln!(f, "  {act:?}"))
    }
}

fn agrees_with_the_model(opening: impl Future<Output = Bench>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = std::cell::RefCell::new(runtime.block_on(opening));
    let number = std::cell::Cell::new(0);
    let config = Config {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let ran = TestRunner::new(config).run(&vec(acts(), 1..60), |acts| {
        number.set(number.get() + 1);
        runtime.block_on(play(&mut bench.borrow_mut(), number.get(), &acts));
        Ok(())
    });
    if let Err(proptest::test_runner::TestError::Fail(why, acts)) = ran {
        panic!("{why}\nafter\n{}", Told(&acts));
    }
    ran.unwrap();
}

#[test]
fn sqlite_agrees_with_the_model() {
    agrees_with_the_model(fixture::on_sqlite());
}

#[test]
fn redis_agrees_with_the_model() {
    agrees_with_the_model(fixture::on_redis());
}
