//! The options of a run, each within bounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

use crate::rows::Load;

/// What a server takes in hand at once unless configured otherwise; more would be refused.
const CALLS_IN_HAND_MAX: usize = 4096;

const SECONDS_MIN: f64 = 0.1;
const SECONDS_MAX: f64 = 60.0;

/// Measures the authority on each store against the ceiling of the gRPC stack
#[derive(Parser, Clone, Debug)]
#[command(name = "load")]
pub(crate) struct Options {
    /// Connections to a server, 1 to 256
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = range(256))]
    pub(crate) connections: usize,

    /// Calls in flight on each connection, 1 to 1024; at most 4096 in all
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = range(1024))]
    pub(crate) in_flight: usize,

    /// Tokens that are asked about, 1 to 1000000; 1000 with --flood
    #[arg(long, value_name = "N", default_value_t = 100_000, default_value_if("flood", "true", "1000"), value_parser = range(1_000_000))]
    pub(crate) tokens: usize,

    /// Rounds, in each of which each row is measured once, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 3, default_value_if("flood", "true", "5"), value_parser = range(100))]
    pub(crate) rounds: usize,

    /// How long a row is measured in each round, 0.1 to 60; a third of it goes before as warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5, default_value_if("flood", "true", "3"), value_parser = seconds)]
    seconds: f64,

    /// Measures the ceilings and the rows whose names contain this, and no sizes
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Fills stores with a million tokens for what is said of sizes, starts and growth: half an hour
    #[arg(long)]
    pub(crate) long: bool,

    /// Only shows that the driver works: 1 round of 0.3 seconds, 50 tokens, 2 connections
    #[arg(long)]
    pub(crate) smoke: bool,

    /// Measures how long one client waits while another one floods with wrong secrets, and nothing else
    #[arg(long)]
    pub(crate) flood: bool,

    /// Measures what a check adds to a request through this Envoy, and nothing else: one request at once on each
    /// connection
    #[arg(long, value_name = "PATH", conflicts_with = "flood")]
    pub(crate) envoy: Option<PathBuf>,

    /// Cargo adds it by itself
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// With what `--smoke` means; ends the process where the options do not fit together.
    pub(crate) fn settled(mut self) -> Self {
        if self.smoke {
            (self.rounds, self.seconds, self.tokens) = (1, 0.3, 50);
            (self.connections, self.in_flight) = (2, 4);
        }
        if self.callers() > CALLS_IN_HAND_MAX {
            let why = format!("more than {CALLS_IN_HAND_MAX} calls in flight are refused\n");
            let kind = clap::error::ErrorKind::ValueValidation;
            clap::Error::raw(kind, why).exit();
        }
        self
    }

    /// How many calls are in flight at once.
    pub(crate) fn callers(&self) -> usize {
        self.connections * self.in_flight
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            connections: self.connections,
            in_flight: self.in_flight,
        }
    }

    /// Whether a row of this name is measured.
    pub(crate) fn names(&self, row: &str) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|only| row.to_lowercase().contains(&only.to_lowercase()))
    }

    /// Whether sizes are measured, and starts.
    pub(crate) fn sizes(&self) -> bool {
        self.only.is_none()
    }

    /// How many tokens a store is filled with for that.
    pub(crate) fn filling(&self) -> usize {
        match self.long && !self.smoke {
            true => 1_000_000,
            false => self.tokens,
        }
    }

    /// How many of each kind that has more to keep.
    pub(crate) fn sample(&self) -> usize {
        self.filling().div_ceil(10)
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.measured() / 3
    }
}

/// As they would be typed.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--connections {} --in-flight {} --tokens {} --rounds {} --seconds {}",
            self.connections, self.in_flight, self.tokens, self.rounds, self.seconds
        )?;
        if let Some(only) = &self.only {
            write!(f, " --only {only:?}")?;
        }
        f.write_str(if self.long { " --long" } else { "" })?;
        if let Some(envoy) = &self.envoy {
            write!(f, " --envoy {}", envoy.display())?;
        }
        f.write_str(if self.flood { " --flood" } else { "" })
    }
}

fn range(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (SECONDS_MIN..=SECONDS_MAX).contains(&number) {
        return Ok(number);
    }
    Err(format!("must be {SECONDS_MIN} to {SECONDS_MAX}"))
}
