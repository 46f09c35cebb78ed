//! The only door to the time of day, and to what passes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::{Steady, Timestamp};

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The operating system's clock. It may step in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> Timestamp {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }
}

/// A clock that a test sets.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.micros()))
    }

    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }

    pub fn advance(&self, span: Duration) {
        self.set(self.now().saturating_add(span));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Tells how much time passes. It never steps.
pub trait SteadyClock: Send + Sync + 'static {
    fn now(&self) -> Steady;
}

/// Goes on while the machine sleeps, and while the process is stopped.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl SteadyClock for BootClock {
    fn now(&self) -> Steady {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        // Where it counts sleep, as on macOS, it is as good; else a machine must not sleep.
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let since = Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        Steady::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Stands still while the machine sleeps: what is waited for by it is waited for longer.
#[derive(Clone, Copy, Debug)]
pub struct AwakeClock(Instant);

impl AwakeClock {
    pub fn begin() -> Self {
        Self(Instant::now())
    }
}

impl SteadyClock for AwakeClock {
    fn now(&self) -> Steady {
        Steady::default().saturating_add(self.0.elapsed())
    }
}

/// A steady clock that a test moves on.
#[derive(Debug, Default)]
pub struct ManualSteady(AtomicU64);

impl ManualSteady {
    pub fn advance(&self, span: Duration) {
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(span, Ordering::SeqCst);
    }
}

impl SteadyClock for ManualSteady {
    fn now(&self) -> Steady {
        Steady::from_micros(self.0.load(Ordering::SeqCst))
    }
}
