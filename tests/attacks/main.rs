//! The real binary under attack by peers that speak HTTP badly on purpose, while an honest client
//! calls all the time: each attack is cut off or contained, and the honest client hardly notices.
//!
//! Attackers come from 127.0.0.2 and beyond, so that bounds on one address are seen to leave room
//! for another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what was measured is told, too")]

mod crowds;
mod floods;
mod headers;
mod honest;
mod peer;
mod readers;
mod rotation;
mod silence;
mod target;

#[path = "../end_to_end/encrypted.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod encrypted;
#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../end_to_end/questions.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod questions;
#[path = "../end_to_end/scrape.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod scrape;
#[path = "../support/mod.rs"]
mod support;
