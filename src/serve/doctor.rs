//! Looks at everything that a server needs, or that is odd about one, and changes nothing.
//!
//! Each check is a function that answers findings; [`CHECKS`] is the table of them. They run at the
//! same time and end together, when the time that they may take is over.

mod certificates;
mod files;
mod finding;
mod listeners;
mod on_redis;
mod on_sqlite;
mod peppers;
mod process;
mod root_token;
mod settings;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, SystemClock};
use crate::config::args::ServeArgs;
use crate::config::{Config, Environment, Sources, StoreUrl};
use crate::domain::time::Timestamp;

use super::{ServeError, stores};

pub use finding::{Finding, Judgement};

/// How closely is looked.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// How long everything may take together.
    pub timeout: Duration,
    /// Whether an SQLite database is read from its first to its last page.
    pub deep: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Diagnosis {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// Whether there is a configuration that a server would start with; else the findings say
    /// what is wrong with it, and nothing else was looked at.
    pub configured: bool,
}

impl Diagnosis {
    /// The process's exit code: 2 without a configuration, 1 where something fails, else 0.
    pub fn exit_code(&self) -> u8 {
        let fails = |finding: &Finding| matches!(finding.judgement, Judgement::Fail { .. });
        match self.configured {
            false => 2,
            true => self.findings.iter().any(fails).into(),
        }
    }
}

/// What every check may look at.
struct Case {
    config: Config,
    sources: Sources,
    deep: bool,
    /// When a check should have ended by itself, somewhat before it is given up.
    until: Instant,
}

impl Case {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

type Findings = Vec<Finding>;
type Asking = Pin<Box<dyn Future<Output = Findings> + Send>>;

/// One check.
#[derive(Clone, Copy)]
enum Check {
    /// Files and the like: it may block.
    Reads(fn(&Case) -> Findings),
    /// What is asked over a network.
    Asks(fn(Arc<Case>) -> Asking),
}

/// All checks, in the order in which their findings are told; each with the subject of the finding
/// that it took too long.
const CHECKS: [(&str, Check); 8] = [
    ("settings", Check::Reads(settings::check)),
    ("files of secrets", Check::Reads(files::check_secrets)),
    ("audit", Check::Reads(files::check_audit)),
    ("tls", Check::Reads(certificates::check)),
    (
        "listeners",
        Check::Asks(|case| Box::pin(listeners::check(case))),
    ),
    ("store", Check::Asks(|case| Box::pin(check_store(case)))),
    ("root token file", Check::Reads(root_token::check)),
    ("process", Check::Reads(process::check)),
];

/// Looks at all that a server with these arguments would need.
pub fn examine(
    args: &ServeArgs,
    environment: &Environment,
    look: Look,
) -> Result<Diagnosis, ServeError> {
    let runtime = super::runtime()?;
    let diagnosis = runtime.block_on(diagnose(args, environment, look));
    // A file that hangs is left to hang.
    runtime.shutdown_background();
    Ok(diagnosis)
}

async fn diagnose(args: &ServeArgs, environment: &Environment, look: Look) -> Diagnosis {
    let deadline = tokio::time::Instant::now() + look.timeout;
    let (config, sources) = match configuration(args, environment, look.timeout).await {
        Ok(found) => found,
        Err(findings) => {
            return Diagnosis {
                findings,
                configured: false,
            };
        }
    };
    let left = deadline.duration_since(tokio::time::Instant::now());
    let case = Arc::new(Case {
        config,
        sources,
        deep: look.deep,
        until: Instant::now() + left * 9 / 10,
    });
    let running: Vec<_> = CHECKS
        .iter()
        .map(|(subject, check)| (*subject, tokio::spawn(carried_out(*check, case.clone()))))
        .collect();
    let mut findings = Vec::new();
    for (subject, check) in running {
        match tokio::time::timeout_at(deadline, check).await {
            Ok(Ok(found)) => findings.extend(found),
            Ok(Err(_)) => findings.push(Finding::fail(
                subject,
                "the check broke off",
                "report this as a mistake of this program",
            )),
            Err(_) => findings.push(late(subject, look.timeout)),
        }
    }
    Diagnosis {
        findings,
        configured: true,
    }
}

async fn carried_out(check: Check, case: Arc<Case>) -> Findings {
    match check {
        Check::Reads(check) => {
            let reading = tokio::task::spawn_blocking(move || check(&case));
            reading.await.unwrap_or_else(|_| {
                let advice = "report this as a mistake of this program";
                vec![Finding::fail("doctor", "a check broke off", advice)]
            })
        }
        Check::Asks(check) => check(case).await,
    }
}

fn late(subject: &str, timeout: Duration) -> Finding {
    let spent = humantime::format_duration(timeout);
    Finding::fail(
        subject,
        format!("no answer within {spent}"),
        "look at the disk or the network behind it; --timeout waits longer",
    )
}

/// Reads the configuration as `serve` does, or answers all that is wrong with it.
async fn configuration(
    args: &ServeArgs,
    environment: &Environment,
    timeout: Duration,
) -> Result<(Config, Sources), Findings> {
    const SUBJECT: &str = "configuration";
    let (args, environment) = (args.clone(), environment.clone());
    let reading = tokio::task::spawn_blocking(move || Config::examine(&args, &environment));
    let (config, sources) = match tokio::time::timeout(timeout, reading).await {
        Ok(Ok(Ok(found))) => found,
        Ok(Ok(Err(problems))) => {
            let advice = "mend it; config.default.toml explains each key";
            let finding = |problem: &crate::config::ConfigError| {
                Finding::fail(SUBJECT, problem.to_string(), advice)
            };
            return Err(problems.iter().map(finding).collect());
        }
        Ok(Err(_)) => {
            return Err(vec![Finding::fail(
                SUBJECT,
                "it cannot be read",
                "try again",
            )]);
        }
        Err(_) => return Err(vec![late(SUBJECT, timeout)]),
    };
    match stores::check(&config) {
        Ok(()) => Ok((config, sources)),
        Err(error) => {
            let advice = "mend it; the README says how stores are configured";
            Err(vec![Finding::fail(SUBJECT, error.to_string(), advice)])
        }
    }
}

async fn check_store(case: Arc<Case>) -> Findings {
    match &case.config.store.url {
        StoreUrl::Redis(url) => {
            let advice = "correct the files for TLS to Redis";
            match stores::redis_options(&case.config, url) {
                Ok(options) => on_redis::check(&case, options).await,
                Err(error) => vec![Finding::fail("store", error.to_string(), advice)],
            }
        }
        StoreUrl::Sqlite(path) => {
            let (path, case) = (path.clone(), case.clone());
            let reading = tokio::task::spawn_blocking(move || on_sqlite::check(&case, &path));
            reading.await.unwrap_or_default()
        }
    }
}
