//! The coherence of answers from memory, followed through all interleavings of two processes and two who
//! change: the rules of `domain::coherence` themselves, between a small model of a store, of a memory and
//! of messages.
//!
//! Each scenario is sound, and what it is about does come about in it; each step of the protocol, left out
//! in one of them, lets an answer be older than a change that had returned. The store's clock, which
//! decides deadlines, is followed in `clock` by itself, since nothing else in coherence reads it.
//!
//! `TOKEN_AUTHORITY_TEST_ROUNDS=100` follows each scenario for longer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "how much was followed is to be seen")]

mod asking;
mod changing;
mod clock;
mod clock_scenarios;
mod model;
mod omission;
mod omissions;
mod process;
mod renewing;
mod scenario;
mod scenarios;
mod shelf;
mod world;

use stateright::{Checker, HasDiscoveries, Model};

use model::Run;
use omission::Omission;
use scenario::Scenario;

/// Follows a run to its end, or to where it goes wrong.
fn follow(scenario: Scenario, omission: Option<Omission>) -> impl Checker<Run> {
    let checker = Run::new(scenario, omission).checker();
    let checker = checker.finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let states = checker.unique_state_count();
    let (steps, longest) = (checker.state_count(), checker.max_depth());
    eprintln!("{omission:?}: {states} states by {steps} steps, {longest} at the longest");
    checker
}

/// Whether scenarios are to be followed for longer than usual.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the tests' own variable, no configuration"
)]
fn at_length() -> bool {
    const USUAL: u32 = 20;
    let asked = std::env::var("TOKEN_AUTHORITY_TEST_ROUNDS").ok();
    let asked: Option<u32> = asked.map(|text| text.parse().expect("a number of rounds"));
    asked.is_some_and(|rounds| rounds > USUAL)
}
