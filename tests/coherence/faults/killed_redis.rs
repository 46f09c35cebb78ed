//! A Redis that flushes before each answer, killed in the middle of changes and back at once.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{heated, is_right_in_time};
use crate::board::Numbered;
use crate::history::{Nanos, Spans, Way, now};
use crate::replicas::Replicas;
use crate::scene::Scene;
use crate::{millis, rounds};

/// Those that may be repeated as often as one likes.
const WAYS: [Way; 6] = [
    Way::Revoked,
    Way::Revoked,
    Way::Narrowed,
    Way::Disabled,
    Way::Deleted,
    Way::Released,
];

/// Changes a subject, a little earlier or later, wherever it is answered, and asks everywhere about
/// it; answers how often the change had to be repeated.
async fn change_amid(scene: Scene, subject: Numbered) -> usize {
    tokio::time::sleep(millis(0, 40)).await;
    let repeated = scene.insist(&scene.others(&[]), &subject).await;
    scene.look_everywhere(&subject).await;
    scene.look_everywhere(&subject).await;
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_in_the_middle_of_changes_brings_back_nothing_of_before() {
    let flags = ["--min-durability", "strict"];
    let mut replicas = Replicas::with(&["--appendfsync", "always"], &flags).await;
    let (scene, askers) = Scene::open(replicas.doors());
    let (mut all, mut repeated, mut backs, mut gone) = (Vec::new(), 0, Vec::<Nanos>::new(), vec![]);
    for _ in 0..rounds() {
        let everywhere = scene.others(&[]);
        let subjects = heated(&scene, &everywhere, &WAYS).await;
        let mut changes = JoinSet::new();
        for subject in &subjects {
            changes.spawn(change_amid(scene.clone(), subject.clone()));
        }
        tokio::time::sleep(millis(5, 30)).await;
        let killed = now();
        replicas.redis.kill();
        replicas.redis.restart();
        backs.push(now());
        gone.push(Duration::from_nanos(now() - killed));
        repeated += changes.join_all().await.iter().sum::<usize>();
        for subject in &subjects {
            scene.is_answered_everywhere(subject).await;
        }
        all.extend(subjects);
    }
    let history = scene.close(askers, all).await;
    let spans = is_right_in_time(&history, &backs);
    assert!(
        repeated > 0,
        "it was never killed in the middle of a change"
    );
    let gone = Spans::of(gone);
    eprintln!("Redis killed: {spans}; {repeated} repetitions; it was gone: {gone}");
}
