//! The Redis store against real Redis servers: whom it trusts, what it survives, what it costs.
//!
//! `redis-server` must be installed; each test starts its own.
#![allow(clippy::unwrap_used, reason = "a failed expectation ends a test")]

mod acts;
mod alarms;
mod census;
mod event_kit;
mod events;
mod failover;
mod faults;
mod in_force;
mod inspect;
mod kit;
mod lease_events;
mod leases;
mod listing;
mod owners;
mod peppers;
mod permits;
mod proxies;
mod registry;
mod replays;
mod replication;
mod start;
mod sweep;
mod switch;
mod tls;
mod trust;
mod usage;
mod wide;

#[path = "../support/mod.rs"]
mod support;
