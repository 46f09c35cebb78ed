//! Leases as their users rely on them: against a model with a clock in its hand, under workers and
//! servers that die, and by the laws of chance.
//!
//! Small by default; `TOKEN_AUTHORITY_TEST_ROUNDS=100` makes the runs longer, and `PROPTEST_CASES`
//! sets how many sequences of acts are tried against the model.
//!
//! What is wrong on purpose is caught: a fence that counts over a lost restart, a release that
//! ignores its lease, a sweeper that decides, and a token that is counted twice by the judge of
//! histories; a draw by `SPOP` by its chi-square.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod acts;
mod chaos;
mod checker;
mod doors;
mod fairness;
mod fences;
mod history;
mod machine;
mod model;
mod sites;
mod statistics;
mod twin;
mod workers;

#[path = "../conformance/fixture.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod fixture;
#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../support/mod.rs"]
mod support;

use token_authority::entropy;

/// Rounds of a run at length, to the length of a usual one.
const ROUNDS: u32 = 20;
/// Sequences of acts, unless more or fewer are asked for.
const CASES: u32 = 40;

/// How many times the work of a usual run is to be done; `TOKEN_AUTHORITY_TEST_ROUNDS` can only ask
/// for more.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the tests' own variable, no configuration"
)]
pub(crate) fn repetitions() -> u32 {
    let asked = std::env::var("TOKEN_AUTHORITY_TEST_ROUNDS").ok();
    let asked = asked.map(|text| text.parse().expect("a number of rounds"));
    ROUNDS.max(asked.unwrap_or_default()).div_ceil(ROUNDS)
}

/// How many sequences of acts are tried against the model.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the tests' own variable, no configuration"
)]
pub(crate) fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.map_or(CASES, |text| text.parse().expect("a number of cases"))
}

/// One of the numbers below `count`, each as likely as every other; 0 where there is none.
pub(crate) fn draw(count: usize) -> usize {
    let [drawn] = entropy::draws::<1>().expect("random bytes");
    usize::try_from(entropy::rank(drawn, count as u64)).expect("less than the count")
}
