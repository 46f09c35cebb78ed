//! Changes as callers rely on them: a question that began after a change was acknowledged is
//! answered by it, at each of four replicas, whatever fails meanwhile.
//!
//! Small by default; `TOKEN_AUTHORITY_TEST_ROUNDS=100` asks for 10 000 revocations.
//!
//! What is wrong on purpose is caught: a change that waits for nobody, an answer that is kept though
//! it was read before the change, and a repetition that waits for nobody because nothing was left to
//! do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what was measured is told, too")]

mod board;
mod changes;
mod checker;
mod degraded;
mod doors;
mod faults;

mod history;
mod outages;
mod own_changes;
mod replicas;
mod scene;
mod streamed;
mod streams;
mod twin;

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../crashes/kit.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod kit;
#[path = "../crashes/proxy.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod proxy;
#[path = "../end_to_end/questions.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod questions;
#[path = "../end_to_end/scrape.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod scrape;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use token_authority::entropy;

/// Rounds of a usual run.
const ROUNDS: usize = 3;

/// How often the work of one round is done; `TOKEN_AUTHORITY_TEST_ROUNDS` can only ask for more.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the tests' own variable, no configuration"
)]
pub(crate) fn rounds() -> usize {
    let asked = std::env::var("TOKEN_AUTHORITY_TEST_ROUNDS").ok();
    let asked = asked.map(|text| text.parse().expect("a number of rounds"));
    ROUNDS.max(asked.unwrap_or_default())
}

/// One of the numbers below `count`, each as likely as every other.
pub(crate) fn draw(count: usize) -> usize {
    let [drawn] = entropy::draws::<1>().expect("random bytes");
    usize::try_from(entropy::rank(drawn, count as u64)).expect("less than the count")
}

/// Any time from the one to the other, in whole milliseconds.
pub(crate) fn millis(least: usize, most: usize) -> Duration {
    Duration::from_millis((least + draw(most - least + 1)) as u64)
}
