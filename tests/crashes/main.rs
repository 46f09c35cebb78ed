//! The real binary, and the Redis under it, ended or broken under load, again and again: what was
//! acknowledged is there afterwards, and nothing is there by halves.
//!
//! Twenty rounds by default; `TOKEN_AUTHORITY_TEST_ROUNDS` asks for more.
//!
//! Each was seen to fail on purpose: `killed_authority` where SQLite answers before the commit,
//! `killed_redis` where Redis loses the end of its file, a change is answered before it is written, or
//! an index entry comes after its record, `half_open` where timeouts do not replace a connection or
//! end no call, `forgotten_scripts` where `NOSCRIPT` is an error, `full_memory` where a script that
//! takes rights away lacks `allow-oom` or one that creates has it. An outage that is taken for an
//! absence fails `half_open` and `killed_redis`.

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
mod told;

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../support/mod.rs"]
mod support;
