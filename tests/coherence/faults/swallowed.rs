//! A replica whose connections to Redis go silent, and come back, or whose bytes come late.

use tokio::task::JoinSet;

use super::{heated, is_right_in_time};
use crate::board::Numbered;
use crate::history::Way;
use crate::replicas::{REPLICAS, Replicas};
use crate::scene::Scene;
use crate::{draw, millis, rounds};

/// The one behind the proxy.
const VICTIM: usize = REPLICAS - 1;
/// How many questions it is asked about each subject directly after its change.
const AFTERWARDS: usize = 5;

/// Changes a subject, one in three first at the replica that cannot reach the store, and asks there
/// about it; answers how often the change had to be repeated.
async fn change_behind(scene: Scene, subject: Numbered) -> usize {
    tokio::time::sleep(millis(0, 300)).await;
    let mut replicas = scene.others(&[VICTIM]);
    if draw(3) == 0 {
        replicas.insert(0, VICTIM);
    }
    let repeated = scene.insist(&replicas, &subject).await;
    for _ in 0..AFTERWARDS {
        scene.look(VICTIM, &subject).await;
    }
    scene.look_everywhere(&subject).await;
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_connections_went_silent_shows_nothing_of_before() {
    let timeouts = [
        "--set",
        "store.read_timeout=1s",
        "--set",
        "store.write_timeout=1s",
    ];
    let (replicas, proxy) = Replicas::with_proxy(&timeouts).await;
    let (scene, askers) = Scene::open(replicas.doors());
    let (mut all, mut repeated) = (Vec::new(), 0);
    for round in 0..rounds() {
        let everywhere = scene.others(&[]);
        let subjects = heated(&scene, &everywhere, &Way::ALL).await;
        let comes_late = round % 2 == 1;
        match comes_late {
            true => proxy.hold(true),
            false => proxy.swallow_everything(),
        }
        let mut changes = JoinSet::new();
        for subject in &subjects {
            changes.spawn(change_behind(scene.clone(), subject.clone()));
        }
        tokio::time::sleep(millis(1500, 3000)).await;
        match comes_late {
            true => proxy.hold(false),
            false => proxy.swallow_the_old(),
        }
        repeated += changes.join_all().await.iter().sum::<usize>();
        for subject in &subjects {
            scene.is_answered_everywhere(subject).await;
        }
        all.extend(subjects);
    }
    let history = scene.close(askers, all).await;
    let spans = is_right_in_time(&history, &[]);
    assert!(history.unanswered() > 0, "it was noticed");
    assert!(repeated > 0, "none was asked for at the silent one");
    eprintln!("connections swallowed: {spans}; {repeated} repetitions");
}
