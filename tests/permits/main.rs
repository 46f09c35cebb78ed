//! Limits as busy callers meet them at servers that take uses ahead: never exceeded, never in the way
//! of whoever keeps to 95 % of them, and obeyed at once when they change.
//!
//! Whoever asks writes down when each question began and when it was answered; what is judged is what
//! is true whenever in between the use was made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod changes;
mod checker;
mod exact;
mod paced;
mod quotas;
mod sites;
mod uses;

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../crashes/kit.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod kit;
#[path = "../end_to_end/scrape.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod scrape;
#[path = "../support/mod.rs"]
mod support;
