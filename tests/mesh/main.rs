//! The authority in a mesh: a real Envoy in front of services, as `deploy/envoy/envoy.yaml` sets it up, asks it about
//! each request and tells it how each ended.
//!
//! `TOKEN_AUTHORITY_TEST_ENVOY` names the Envoy, and where it names several, separated by colons, all is tried with
//! each, over TCP and a Unix socket, and with both ways to encode headers. Where it names none, that is taken
//! which `scripts/test` installs below `target/test-tools`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod answers;
mod client;
mod envoy;
mod grpc_clients;
mod held;
mod kinds;
mod logs;
mod outages;
mod rotation;
mod scene;
mod spoofed;
mod stub;
mod tricks;
mod upstream;

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod harness;
#[path = "../end_to_end/scrape.rs"]
#[allow(dead_code, reason = "it is shared, and each program uses a part")]
mod scrape;
#[path = "../support/mod.rs"]
mod support;
