//! Batches against histories of several replicas: limits hold at every instant, and whoever keeps to
//! 95 % of one is never refused. Rules that are broken on purpose are found out by the same histories.

use std::time::Duration;

use crate::domain::limit::{Quota, RateLimit};
use crate::domain::permits::{Ahead, Back, Batch, BatchId, TERM, Wish};
use crate::domain::spending::tests::{limited, micros, named, never_exceeded};
use crate::domain::spending::{Demand, Exceeded, Left, Outcome, Scope, Spending};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;
use crate::domain::token::tests::at;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const REPLICAS: usize = 4;
/// For so long a replica uses a batch, from when it was asked for.
const USED_FOR: u64 = 90_000;

/// How a store decides.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Sound,
    /// What a batch holds drains while it lives.
    DrainsHeld,
    /// What is unused of a batch that ended is free again.
    CreditsEnded,
    /// A batch is not forgotten when it comes back.
    CreditsTwice,
    /// A batch is forgotten when it ends, as if nothing of it had been used.
    ForgetsEnded,
}

impl Rule {
    fn take(self, token: &Token, before: &Spending, demand: Demand, now: Timestamp) -> Outcome {
        let mut before = before.clone();
        let ended = |batch: &Batch| batch.settled || !batch.is_live(now);
        if self == Self::ForgetsEnded {
            before.batches.list.retain(|batch| !ended(batch));
        }
        let known = |back: Back| {
            let mut list = before.batches.list.iter();
            list.find(|batch| batch.id == back.batch).copied()
        };
        let back = demand.ahead.back;
        let returned = back.and_then(|back| Some((back, known(back)?)));
        if let (Self::CreditsEnded, Some((back, batch))) = (self, returned)
            && ended(&batch)
        {
            let settle = Demand {
                cost: 0,
                ahead: Ahead::default(),
                ..demand
            };
            before = before.take(token, settle, now).kept.unwrap_or(before);
            for backlog in before
                .rates
                .iter_mut()
                .flat_map(|rates| &mut rates.backlogs)
            {
                let unused = back.unused.min(batch.uses);
                backlog.units = backlog.units.saturating_sub(unused * backlog.step);
            }
        }
        let mut outcome = before.take(token, demand, now);
        if let Some(kept) = &mut outcome.kept {
            if let (Self::CreditsTwice, Some((_, batch))) = (self, returned) {
                kept.batches.list.push(batch);
            }
            if self == Self::DrainsHeld {
                let live = kept.batches.list.iter_mut().filter(|batch| !batch.settled);
                for batch in live {
                    batch.settled = true;
                    let backlogs = kept.rates.iter_mut().flat_map(|rates| &mut rates.backlogs);
                    backlogs.for_each(|backlog| backlog.units += batch.uses * backlog.step);
                }
            }
        }
        outcome
    }
}

/// A batch in the hand of a replica.
#[derive(Clone, Copy)]
struct Held {
    id: BatchId,
    left: u64,
    granted: Timestamp,
}

/// A store and its replicas.
struct World {
    rule: Rule,
    token: Token,
    spending: Spending,
    now: u64,
    held: [Option<Held>; REPLICAS],
    /// Returns that were made.
    returned: Vec<Back>,
    batches: u64,
    /// When how many uses were made.
    admitted: Vec<(u64, u64)>,
}

impl World {
    fn new(rule: Rule, token: Token) -> Self {
        Self {
            rule,
            token,
            spending: Spending::default(),
            now: at(100).micros(),
            held: [None; REPLICAS],
            returned: Vec::new(),
            batches: 0,
            admitted: Vec::new(),
        }
    }

    fn take(&mut self, cost: u64, ahead: Ahead) -> Result<u64, Exceeded> {
        let demand = Demand {
            cost,
            scope: Scope::All,
            dry_run: false,
            ahead,
        };
        let now = micros(self.now);
        let outcome = self.rule.take(&self.token, &self.spending, demand, now);
        if let Some(kept) = outcome.kept {
            self.spending = kept;
        }
        if outcome.verdict.is_ok() && cost > 0 {
            self.admitted.push((self.now, cost));
        }
        outcome.verdict
    }

    /// Takes a use from the store; a replica's batch goes back, and it wishes for another.
    fn take_by(&mut self, replica: usize, cost: u64, uses: u64) -> Result<u64, Exceeded> {
        let back = self.held[replica].take().map(Held::back);
        self.returned.extend(back);
        self.batches += 1;
        let wish = Wish {
            batch: BatchId(self.batches),
            uses,
        };
        let wish = Some(wish).filter(|_| uses > 0);
        let verdict = self.take(cost, Ahead { back, wish });
        if let Ok(left @ 1..) = verdict {
            self.held[replica] = Some(Held {
                id: BatchId(self.batches),
                left,
                granted: micros(self.now),
            });
        }
        verdict
    }

    /// Makes a use of what a replica holds, in its term and of the quota's period only.
    fn use_ahead(&mut self, replica: usize, uses: u64, term: u64) -> bool {
        let window = |time| match self.token.profile.quota {
            Some(quota) => quota.window(self.token.create_time, time),
            None => 0,
        };
        let now = micros(self.now);
        let Some(held) = &mut self.held[replica] else {
            return false;
        };
        let in_time = self.now < held.granted.micros() + term;
        if uses > held.left || !in_time || window(held.granted) != window(now) {
            return false;
        }
        held.left -= uses;
        self.admitted.push((self.now, uses));
        true
    }

    /// Uses of cost 1 that pass now.
    fn left(&self) -> u64 {
        let left = Left::of(&self.token, &self.spending, micros(self.now));
        let statuses = left.statuses(&self.token, None).into_iter();
        let rates = statuses.map(|status| status.remaining);
        rates.chain(left.quota).min().unwrap_or(0)
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Wait(span) => self.now += span,
            Act::Use(cost) => drop(self.take(cost, Ahead::default())),
            Act::Exhaust => drop(self.take(self.left(), Ahead::default())),
            Act::Wish(replica, cost, uses) => drop(self.take_by(replica, cost, uses)),
            Act::UseAhead(replica, uses) => {
                self.use_ahead(replica, uses, TERM.as_micros() as u64);
            }
            Act::UseAll(replica) => {
                let left = self.held[replica].map_or(0, |held| held.left);
                self.use_ahead(replica, left, TERM.as_micros() as u64);
            }
            Act::GiveBack(replica) => drop(self.take_by(replica, 0, 0)),
            Act::Lose(replica) => self.held[replica] = None,
            Act::Repeat(number) => {
                if let Some(at) = number.checked_rem(self.returned.len()) {
                    let back = Some(self.returned[at]);
                    let _ = self.take(0, Ahead { back, wish: None });
                }
            }
        }
    }

    /// Whether no interval saw more uses than a rate limit allows, and no period more than the quota.
    fn keeps_all_limits(&self) -> bool {
        let mut limits = self.token.profile.rate_limits.iter();
        limits.all(|limit| never_exceeded(limit, &self.admitted)) && self.keeps_quota()
    }

    fn keeps_quota(&self) -> bool {
        let Some(quota) = self.token.profile.quota else {
            return true;
        };
        let window = |time| quota.window(self.token.create_time, micros(time));
        let mut spent = std::collections::HashMap::new();
        for (time, uses) in &self.admitted {
            *spent.entry(window(*time)).or_insert(0) += uses;
        }
        spent.into_values().all(|uses: u64| uses <= quota.limit())
    }
}

impl Held {
    fn back(self) -> Back {
        Back {
            batch: self.id,
            unused: self.left,
        }
    }
}

/// What happens in a history.
#[derive(Clone, Copy, Debug)]
enum Act {
    Wait(u64),
    Use(u64),
    /// Takes all that is left.
    Exhaust,
    /// A use that gives back what the replica holds, and wishes for more.
    Wish(usize, u64, u64),
    UseAhead(usize, u64),
    UseAll(usize),
    GiveBack(usize),
    /// A replica dies.
    Lose(usize),
    /// A return comes once more.
    Repeat(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let replica = 0..REPLICAS;
    prop_oneof![
        2 => (0u64..130_000).prop_map(Act::Wait),
        2 => (0u64..2_000).prop_map(Act::Wait),
        1 => (0u64..3_000_000).prop_map(Act::Wait),
        2 => (1u64..30).prop_map(Act::Use),
        2 => Just(Act::Exhaust),
        6 => (replica.clone(), 0u64..4, 2u64..40).prop_map(|(r, c, n)| Act::Wish(r, c, n)),
        3 => (replica.clone(), 1u64..4).prop_map(|(r, n)| Act::UseAhead(r, n)),
        3 => replica.clone().prop_map(Act::UseAll),
        1 => replica.clone().prop_map(Act::GiveBack),
        1 => replica.prop_map(Act::Lose),
        1 => (0usize..100).prop_map(Act::Repeat),
    ]
}

/// Limits at which batches are granted, and what happens to them.
fn history() -> impl Strategy<Value = (Token, Vec<Act>)> {
    let rate = || (20u64..5_000, 160u64..1_200);
    let second = Duration::from_secs(1);
    let rates = prop::collection::vec(rate(), 0..3).prop_map(move |rates| {
        let limit = |(at, (requests, burst)): (usize, &(u64, u64))| {
            named(&format!("r{at}"), *requests, second, *burst)
        };
        rates.iter().enumerate().map(limit).collect::<Vec<_>>()
    });
    let period = prop::option::of(150_000u64..2_000_000);
    let quota = (200u64..2_000, period)
        .prop_map(|(limit, period)| Quota::new(limit, period.map(Duration::from_micros)).unwrap());
    let token = (rates, prop::option::of(quota));
    let token = token.prop_map(|(rates, quota)| limited(&rates, quota));
    (token, prop::collection::vec(act(), 1..120))
}

fn keeps_all_limits(rule: Rule, token: Token, acts: &[Act]) -> bool {
    let mut world = World::new(rule, token);
    acts.iter().for_each(|act| world.act(*act));
    world.keeps_all_limits()
}

/// Whether a history of some thousand shows what is wrong with a rule.
fn is_found_out(rule: Rule) -> bool {
    let config = Config {
        cases: 2_000,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let found = runner.run(&history(), |(token, acts)| {
        prop_assert!(keeps_all_limits(rule, token, &acts));
        Ok(())
    });
    found.is_err()
}

proptest! {
    #[test]
    fn no_limit_is_exceeded_whatever_is_taken_ahead_given_back_lost_or_repeated(
        (token, acts) in history(),
    ) {
        prop_assert!(keeps_all_limits(Rule::Sound, token, &acts));
    }
}

#[test]
fn a_rule_that_drains_what_live_batches_hold_is_found_out() {
    assert!(is_found_out(Rule::DrainsHeld));
}

#[test]
fn a_rule_that_credits_a_batch_that_ended_is_found_out() {
    assert!(is_found_out(Rule::CreditsEnded));
}

#[test]
fn a_rule_that_credits_a_batch_twice_is_found_out() {
    assert!(is_found_out(Rule::CreditsTwice));
}

#[test]
fn a_rule_that_forgets_a_batch_when_it_ends_is_found_out() {
    assert!(is_found_out(Rule::ForgetsEnded));
}

/// A client that keeps to 95 % of a limit, in units of which a use is 100 times the period.
struct Client {
    limit: RateLimit,
    backlog: u128,
    time: u64,
}

impl Client {
    fn may_use(&mut self, now: u64) -> bool {
        let (period, requests) = (self.limit.period().as_micros(), self.limit.requests());
        let drained = u128::from(now - self.time) * u128::from(requests) * 95;
        self.backlog = self.backlog.saturating_sub(drained);
        self.time = now;
        let after = self.backlog + 100 * period;
        let may = after <= u128::from(self.limit.burst()) * 95 * period;
        if may {
            self.backlog = after;
        }
        may
    }
}

/// What a client does at once: it waits, then makes uses by a replica that wishes for so many more.
type Turn = (u64, usize, u64, u64);

/// Whether no use was refused, of replicas that give back in time what they do not use, or never.
fn is_never_refused(limit: &RateLimit, turns: &[Turn], gives_back: bool) -> bool {
    let token = limited(std::slice::from_ref(limit), None);
    let mut world = World::new(Rule::Sound, token);
    let mut client = Client {
        limit: limit.clone(),
        backlog: 0,
        time: world.now,
    };
    for (wait, replica, uses, wish) in turns {
        let until = world.now + wait;
        world.give_back_in_time(until, gives_back);
        world.now = until;
        for _ in 0..*uses {
            if !client.may_use(world.now) {
                break;
            }
            let ahead = world.use_ahead(*replica, 1, USED_FOR);
            if !ahead && world.take_by(*replica, 1, *wish).is_err() {
                return false;
            }
        }
    }
    true
}

impl World {
    /// Lets each replica end its batch when it may not use it any more.
    fn give_back_in_time(&mut self, until: u64, gives_back: bool) {
        let over = |held: &Held| held.granted.micros() + USED_FOR;
        let mut ends: Vec<(u64, usize)> = (0..REPLICAS)
            .filter_map(|replica| Some((over(self.held[replica].as_ref()?), replica)))
            .filter(|(end, _)| *end <= until)
            .collect();
        ends.sort_unstable();
        for (end, replica) in ends {
            self.now = end;
            if gives_back {
                let _ = self.take_by(replica, 0, 0);
            } else {
                self.held[replica] = None;
            }
        }
    }
}

fn client() -> impl Strategy<Value = (RateLimit, Vec<Turn>)> {
    let limit = (20u64..20_000, 1u64..1_200);
    let limit =
        limit.prop_map(|(requests, burst)| named("", requests, Duration::from_secs(1), burst));
    let wait = prop_oneof![0u64..300, 0u64..30_000, 0u64..200_000];
    let turn = (wait, 0..REPLICAS, 1u64..60, 0u64..40);
    (limit, prop::collection::vec(turn, 1..300))
}

proptest! {
    #[test]
    fn whoever_keeps_to_95_percent_is_never_refused_though_replicas_take_ahead(
        (limit, turns) in client(),
    ) {
        prop_assert!(is_never_refused(&limit, &turns, true));
    }
}

#[test]
fn a_client_suffers_from_replicas_that_keep_what_they_do_not_use() {
    let limit = named("", 200, Duration::from_secs(1), 400);
    // At its pace for a while, and then all at once that its burst still allows.
    let turn = |turn| (100_000, turn % REPLICAS, 19, 40);
    let mut turns: Vec<Turn> = (0..200).map(turn).collect();
    turns.push((100_000, 0, 400, 0));
    assert!(is_never_refused(&limit, &turns, true));
    assert!(!is_never_refused(&limit, &turns, false));
}
