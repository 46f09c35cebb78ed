//! The real binary, and the Redis under it, ended or broken under load, again and again: what was
//! acknowledged is there afterwards, and nothing is there by halves.
//!
//! Twenty rounds by default; `TOKEN_AUTHORITY_TEST_ROUNDS` asks for more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audit;
mod callers;
mod forgotten_scripts;
mod full_memory;
mod half_open;
mod killed_authority;
mod killed_redis;
mod kit;
mod ledger;
mod proxy;

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../support/mod.rs"]
mod support;
