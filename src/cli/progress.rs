//! Telling people that long work goes on: one line on standard error, where that is a terminal.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Session;

/// How long work may take before anything is said, and the time between two lines.
const PATIENCE: Duration = Duration::from_millis(700);
const EVERY: Duration = Duration::from_millis(200);

/// When work began, and when the next line is due.
pub(super) struct Progress {
    began: Instant,
    due: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        let began = Instant::now();
        let due = began + PATIENCE;
        Self { began, due }
    }
}

impl Progress {
    /// The line about what is being done, if it is time for one.
    fn line(&mut self, doing: &str) -> Option<String> {
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.due = now + EVERY;
        let spent = (now - self.began).as_secs();
        Some(format!("{doing} … {spent} s"))
    }
}

impl Session<'_> {
    /// Waits for `work`, and says what is `doing` while it takes long.
    pub(super) async fn meanwhile<T>(&mut self, doing: &str, work: impl Future<Output = T>) -> T {
        if !self.output.shows_progress() {
            return work.await;
        }
        let mut work = pin!(work);
        // The line stays until the next words, so that it does not flicker between two pages.
        loop {
            if let Some(line) = self.progress.line(doing) {
                self.output.progress(&line);
            }
            tokio::select! {
                done = &mut work => return done,
                () = sleep_until(self.progress.due) => {}
            }
        }
    }

    /// Waits for one more page of a list of which `count` entries are there.
    pub(super) async fn listing<T>(&mut self, count: usize, work: impl Future<Output = T>) -> T {
        self.meanwhile(&format!("listing, {count} so far"), work)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn short_work_is_not_told_of_and_long_work_now_and_then() {
        let mut progress = Progress::default();
        assert_eq!(progress.line("listing"), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(progress.line("listing").as_deref(), Some("listing … 2 s"));
        assert_eq!(progress.line("listing"), None);
        tokio::time::advance(EVERY).await;
        assert!(progress.line("listing").is_some());
    }
}
