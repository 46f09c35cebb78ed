//! The Redis store against real Redis servers: whom it trusts, what it survives, what it costs.
//!
//! `redis-server` must be installed; each test starts its own.
#![allow(clippy::unwrap_used, reason = "a failed expectation ends a test")]

#[path = "redis_store/acts.rs"]
mod acts;
#[path = "redis_store/faults.rs"]
mod faults;
#[path = "redis_store/kit.rs"]
mod kit;
#[path = "redis_store/listing.rs"]
mod listing;
#[path = "redis_store/trust.rs"]
mod trust;
