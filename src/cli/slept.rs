//! How long the machine has slept, which no timer tells: their clock stands still meanwhile.

use std::time::Duration;

/// The time asleep since the machine was started, as far as the operating system tells.
#[cfg(target_os = "linux")]
pub(super) fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order, so that what is between the two does not count.
    let with_sleep = read(ClockId::Boottime);
    with_sleep.saturating_sub(read(ClockId::Monotonic))
}

/// This operating system does not tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn slept() -> Duration {
    Duration::ZERO
}
