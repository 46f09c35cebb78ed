//! What the machine is, and how much CPU a process has used, as Linux tells in /proc.

use std::fs;
use std::time::Duration;

/// `USER_HZ`: what Linux counts CPU time in for user space, on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// One line on the machine and on how this program was built.
pub(crate) fn facts() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let build = match cfg!(debug_assertions) {
        true => "built without optimization: the figures mean nothing",
        false => "optimized",
    };
    format!(
        "machine: {cores} cores ({model}), {} {}; {build}",
        std::env::consts::OS,
        kernel.trim()
    )
}

/// Bytes of a process that are in memory; `None` where there is no /proc.
pub(crate) fn resident_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// CPU time of a process and all its threads so far; `None` where there is no /proc.
pub(crate) fn cpu_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state after it is field 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(14 - 3);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    let seconds = (f64::from(user) + f64::from(system)) / TICKS_PER_SECOND;
    Some(Duration::from_secs_f64(seconds))
}
