//! The token authority: issues opaque API tokens and answers whether a token may do something now.

// What all tests have in common names this crate as its users do.
#[cfg(test)]
extern crate self as token_authority;

pub mod authority;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod entropy;
pub mod metrics;
pub mod serve;
pub mod sharded;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trail;
pub mod transport;
