//! The pace of what is asked for again and again under load: some at once, and then one at a time, which
//! does for all that came meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How many follow one another at once: enough for a change that is alone.
const AT_ONCE: u32 = 5;
/// Time between two after that; the shortest that can be slept.
const APART: Duration = Duration::from_millis(1);

/// When the next may be, if they were evenly spaced from the first on.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Instant>);

impl Pace {
    /// Waits until it is time for one more, which counts even where the wait is given up.
    pub(super) async fn wait(&mut self) {
        let now = Instant::now();
        let turn = self.0.map_or(now, |turn| turn.max(now));
        self.0 = Some(turn + APART);
        let ahead = turn.saturating_duration_since(now);
        if ahead >= APART * AT_ONCE {
            sleep_until(turn - APART * (AT_ONCE - 1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_are_at_once_and_others_apart_until_there_was_a_pause() {
        let mut pace = Pace::default();
        for _ in 0..3 {
            let begun = Instant::now();
            for _ in 0..AT_ONCE {
                pace.wait().await;
            }
            assert_eq!(begun.elapsed(), Duration::ZERO);
            for more in 1..10 {
                pace.wait().await;
                assert_eq!(begun.elapsed(), APART * more);
            }
            tokio::time::sleep(APART * AT_ONCE).await;
        }
    }
}
