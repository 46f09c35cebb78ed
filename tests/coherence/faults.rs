//! Changes while something fails: whoever asks after a change was answered sees it all the same, and
//! it is answered soon.

mod killed_redis;
mod restarted;
mod stopped;
mod swallowed;

use std::time::Duration;

use crate::board::Numbered;
use crate::checker::is_right;
use crate::history::{History, Nanos, Spans, Way};
use crate::scene::Scene;

/// How many subjects are changed in each round.
const SUBJECTS: usize = 12;
/// How long a change may take: the cache lease and a tenth, which is 1.1 s, and what a busy machine
/// adds to it.
const CHANGED_WITHIN: Duration = Duration::from_secs(5);

/// Subjects that everybody asks about, made at these replicas, one for each of these ways by turns.
async fn heated(scene: &Scene, replicas: &[usize], ways: &[Way]) -> Vec<Numbered> {
    let mut subjects = Vec::new();
    for (place, way) in ways.iter().cycle().take(SUBJECTS).enumerate() {
        subjects.push(scene.heat(replicas, place, *way).await);
    }
    subjects
}

/// Checks a history that is closed, and that all changes were answered in time; those that were sent
/// before one of these moments and answered after it count from the last of them.
fn is_right_in_time(history: &History, excusing: &[Nanos]) -> Spans {
    is_right(history);
    let spans = history.lives.iter().map(|life| {
        let (sent, done) = (life.sent.expect("sent"), life.done.expect("answered"));
        let excuse = excusing.iter().filter(|moment| **moment < done).max();
        Duration::from_nanos(done - sent.max(excuse.copied().unwrap_or_default()))
    });
    let spans = Spans::of(spans.collect());
    assert!(spans.longest() < CHANGED_WITHIN, "{spans}");
    spans
}
