//! The server under attack: how it is started, and what is looked at.

use std::time::{Duration, Instant};

use crate::harness::{Authority, PATIENCE};
use crate::scrape::Scrape;

/// How much more memory a server may take that is under any of these attacks. What an attacker can
/// make it keep is bounded by what one address may have in hand; twice that is room enough.
const GROWTH_MAX_MIB: usize = 96;

/// A server with these limits, such as `idle_timeout=1s`, once it serves.
pub(crate) async fn serving(limits: &[&str]) -> Authority {
    let mut authority = Authority::before_sqlite_start().with(&[
        "--set",
        "log.filter=info,token_authority::transport::connections=debug",
    ]);
    for limit in limits {
        authority = authority.with(&["--set", &format!("limits.{limit}")]);
    }
    authority.start();
    authority.serving(true).await;
    authority
}

/// How many connections this server ended for a reason.
pub(crate) fn ended(authority: &Authority, reason: &str) -> f64 {
    let series = format!("connections_ended_total{{reason=\"{reason}\"}}");
    Scrape::of(authority).value(&series)
}

/// Waits until at least so many were ended for these reasons.
pub(crate) async fn until_ended(authority: &Authority, reasons: &[&str], least: usize) {
    let patience = Instant::now() + 2 * PATIENCE;
    loop {
        let now: f64 = reasons.iter().map(|reason| ended(authority, reason)).sum();
        if now >= least as f64 {
            return;
        }
        assert!(
            Instant::now() < patience,
            "{now} of {least} connections were ended as {reasons:?}:\n{:?}\n{}",
            Scrape::of(authority).beginning("connections_ended"),
            authority.log(),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Memory of a server before an attack.
pub(crate) struct Memory {
    process: u32,
    before: usize,
}

impl Memory {
    pub(crate) fn of(authority: &Authority) -> Self {
        let process = authority.process();
        let before = resident_mib(process);
        Self { process, before }
    }

    /// Asserts that little was added.
    pub(crate) fn is_about_the_same(&self) {
        let grown = resident_mib(self.process).saturating_sub(self.before);
        eprintln!("{grown} MiB more than the {} before", self.before);
        assert!(grown < GROWTH_MAX_MIB, "it grew by {grown} MiB");
    }
}

fn resident_mib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.expect("its memory").trim().trim_end_matches(" kB");
    kib.parse::<usize>().expect("a number") / 1024
}
