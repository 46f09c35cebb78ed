//! What is told of use against a count that the asking side keeps for itself: exact to the last request,
//! whatever is asked of how many servers; and what one that is killed takes with it.
//!
//! 20 000 requests by default; `TOKEN_AUTHORITY_TEST_ROUNDS=50` asks for a million.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod exact;
mod lost;
mod tally;

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../crashes/kit.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod kit;
#[path = "../end_to_end/scrape.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod scrape;
#[path = "../permits/sites.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod sites;
#[path = "../support/mod.rs"]
mod support;
