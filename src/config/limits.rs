//! Bounds on what callers may ask at once, and on their connections.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, span, within};

/// Bounds on calls and connections; the default configuration says what each is.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    pub message_bytes: usize,
    pub calls_in_flight: usize,
    pub calls_per_address: usize,
    pub calls_per_connection: u32,
    pub streams: usize,
    pub streams_per_address: usize,
    pub stream_messages: usize,
    pub call_deadline: Duration,
    pub connections: usize,
    pub connections_per_address: usize,
    pub handshake_timeout: Duration,
    pub idle_timeout: Duration,
    pub connection_age: Duration,
    pub stall_timeout: Duration,
    /// Zero for no bound.
    pub failures_per_minute: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    message_bytes: i64,
    calls_in_flight: i64,
    calls_per_address: i64,
    calls_per_connection: i64,
    streams: i64,
    streams_per_address: i64,
    stream_messages: i64,
    call_deadline: String,
    connections: i64,
    connections_per_address: i64,
    handshake_timeout: String,
    idle_timeout: String,
    connection_age: String,
    stall_timeout: String,
    failures_per_minute: i64,
}

impl LimitsTable {
    pub(super) fn parse(self) -> Result<LimitsConfig, ConfigError> {
        let Self {
            message_bytes,
            calls_in_flight,
            calls_per_address,
            calls_per_connection,
            streams,
            streams_per_address,
            stream_messages,
            call_deadline,
            connections,
            connections_per_address,
            handshake_timeout,
            idle_timeout,
            connection_age,
            stall_timeout,
            failures_per_minute,
        } = self;
        let number = |key: &str, value: i64| within(key, value, 1, 1 << 20);
        let lasting = |key: &str, text: &str| span(key, text, Duration::from_millis(100));
        let of_connection = "limits.calls_per_connection";
        let of_failures = "limits.failures_per_minute";
        Ok(LimitsConfig {
            message_bytes: within("limits.message_bytes", message_bytes, 1024, 16 << 20)?,
            calls_in_flight: number("limits.calls_in_flight", calls_in_flight)?,
            calls_per_address: number("limits.calls_per_address", calls_per_address)?,
            streams: number("limits.streams", streams)?,
            streams_per_address: number("limits.streams_per_address", streams_per_address)?,
            stream_messages: within("limits.stream_messages", stream_messages, 1, 1 << 16)?,
            calls_per_connection: within(of_connection, calls_per_connection, 1, 1 << 20)?,
            call_deadline: span(
                "limits.call_deadline",
                &call_deadline,
                Duration::from_millis(1),
            )?,
            connections: number("limits.connections", connections)?,
            connections_per_address: number(
                "limits.connections_per_address",
                connections_per_address,
            )?,
            handshake_timeout: lasting("limits.handshake_timeout", &handshake_timeout)?,
            idle_timeout: lasting("limits.idle_timeout", &idle_timeout)?,
            connection_age: lasting("limits.connection_age", &connection_age)?,
            stall_timeout: lasting("limits.stall_timeout", &stall_timeout)?,
            failures_per_minute: within(of_failures, failures_per_minute, 0, 1_000_000)?,
        })
    }
}
