//! Where audit lines go: into the log, to standard output, or to the end of a file.
//!
//! A line is handed over before the answer of its call leaves. What cannot be written waits, in
//! order, and until it is written nothing more is begun that would need a line.

mod lines;
mod outlet;

use std::fmt::{self, Display};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::clock::Clock;
use crate::metrics::Metrics;

use lines::Lines;
use outlet::{FileOutlet, Outlet, StdoutOutlet};

/// `tracing` target of audit lines in the log.
pub const TARGET: &str = "audit";

/// Where audit lines go.
pub struct Trail(To);

enum To {
    Log,
    Lines { lines: Lines, clock: Arc<dyn Clock> },
}

/// What is told of one call.
pub struct Line<'a> {
    pub request_id: &'a dyn Display,
    pub rpc: &'static str,
    pub caller: &'a dyn Display,
    /// Empty where no token is known.
    pub token_id: &'a str,
    /// Empty where none is known.
    pub namespace: &'a str,
    pub peer: Option<IpAddr>,
    pub outcome: &'static str,
}

/// How much a line matters when there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Something may have been done: the line is kept. Calls in hand bound the number of these.
    Act,
    /// Nothing was done: the line is counted, not kept, when too many wait.
    Refusal,
}

/// A [`Line`] as JSON; what is not known is left out.
#[derive(Serialize)]
struct Entry<'a> {
    time: String,
    request_id: String,
    rpc: &'a str,
    caller: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    token_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    outcome: &'a str,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

impl Trail {
    /// Into the process's log.
    pub fn to_log() -> Self {
        Self(To::Log)
    }

    /// One JSON object a line to standard output.
    pub fn to_stdout(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::to(StdoutOutlet::new()?, clock, metrics)
    }

    /// The same to the end of a file, which is created, for its owner only, where there is none.
    pub fn to_file(path: &Path, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> io::Result<Self> {
        Self::to(FileOutlet::open(path)?, clock, metrics)
    }

    fn to(outlet: impl Outlet, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let lines = Lines::start(Box::new(outlet), metrics)?;
        Ok(Self(To::Lines { lines, clock }))
    }

    /// Whether lines can be written, as far as is known.
    pub fn available(&self) -> bool {
        match &self.0 {
            To::Log => true,
            To::Lines { lines, .. } => lines.available(),
        }
    }

    /// Hands a line over.
    pub fn record(&self, weight: Weight, line: &Line<'_>) {
        let Line {
            request_id,
            rpc,
            caller,
            token_id,
            namespace,
            peer,
            outcome,
        } = line;
        match &self.0 {
            To::Log => {
                let peer = peer.map(tracing::field::display);
                // Without the call's span, whose fields would stand here twice.
                tracing::info!(
                    target: TARGET, parent: None,
                    %rpc, %caller, %token_id, %namespace, peer, %outcome, %request_id,
                );
            }
            To::Lines { lines, clock } => {
                let now = UNIX_EPOCH + Duration::from_micros(clock.now().micros());
                let entry = Entry {
                    time: humantime::format_rfc3339_micros(now).to_string(),
                    request_id: request_id.to_string(),
                    rpc,
                    caller: caller.to_string(),
                    token_id,
                    namespace,
                    peer: *peer,
                    outcome,
                };
                match serde_json::to_vec(&entry) {
                    Ok(mut text) => {
                        text.push(b'\n');
                        lines.push(weight, text);
                    }
                    Err(error) => tracing::error!(%error, "an audit line cannot be put in words"),
                }
            }
        }
    }

    /// Waits until what was recorded so far is written, or is known not to be.
    pub async fn settled(&self) {
        if let To::Lines { lines, .. } = &self.0 {
            lines.settled().await;
        }
    }

    /// Opens the file by its name again, since the one that is open may have been moved away.
    pub fn reopen(&self) {
        if let To::Lines { lines, .. } = &self.0 {
            lines.reopen();
        }
    }

    /// Writes what waits, if that is possible, and what is not into the log.
    pub async fn close(&self) {
        if let To::Lines { lines, .. } = &self.0 {
            lines.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
