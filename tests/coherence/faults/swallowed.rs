//! A replica whose connections to Redis go silent, and come back, or whose bytes come late.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{heated, is_right_in_time};
use crate::board::Numbered;
use crate::history::Way;
use crate::proxy::Proxy;
use crate::replicas::{REPLICAS, Replicas};
use crate::scene::Scene;
use crate::{millis, rounds};

/// The one behind the proxy.
const VICTIM: usize = REPLICAS - 1;
/// How many questions it is asked about each subject directly after its change.
const AFTERWARDS: usize = 5;
/// How long a caller waits for the victim before it asks elsewhere: it may have written the change, and
/// go on trying to make it known.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// How often bytes come through when they come in gusts.
const GUSTS: usize = 5;

/// What becomes of the bytes between the victim and Redis.
#[derive(Clone, Copy)]
enum Silence {
    /// They are lost, and so is whatever comes over these connections later.
    Swallowed,
    /// They come when it is over.
    Late,
    /// They come late, now and then.
    Gusts,
}

impl Silence {
    async fn lasts(self, proxy: &Proxy) {
        match self {
            Self::Swallowed => {
                proxy.swallow_everything();
                tokio::time::sleep(millis(1500, 3000)).await;
                proxy.swallow_the_old();
            }
            Self::Late => {
                proxy.hold(true);
                tokio::time::sleep(millis(1500, 3000)).await;
                proxy.hold(false);
            }
            Self::Gusts => {
                for _ in 0..GUSTS {
                    proxy.hold(true);
                    tokio::time::sleep(millis(100, 950)).await;
                    proxy.hold(false);
                    tokio::time::sleep(millis(1, 10)).await;
                }
            }
        }
    }
}

/// Changes a subject, and asks the victim about it; answers whether the change had to be repeated.
/// Where it is asked for at the victim first, which cannot reach the store, it is given up after a time.
async fn change_behind(scene: Scene, at_victim: bool, subject: Numbered) -> bool {
    tokio::time::sleep(millis(0, 300)).await;
    let first = async {
        let given_up = tokio::time::timeout(GIVEN_UP_AFTER, scene.change(VICTIM, &subject));
        matches!(given_up.await, Ok(Ok(())))
    };
    let repeated = at_victim && !first.await;
    if repeated || !at_victim {
        scene.insist(&scene.others(&[VICTIM]), &subject).await;
    }
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
        let silence = [Silence::Swallowed, Silence::Late, Silence::Gusts][round % 3];
        let mut changes = JoinSet::new();
        for (number, subject) in subjects.iter().enumerate() {
            let at_victim = number % 3 == 0;
            changes.spawn(change_behind(scene.clone(), at_victim, subject.clone()));
        }
        silence.lasts(&proxy).await;
        let changed = changes.join_all().await;
        repeated += changed.into_iter().filter(|repeated| *repeated).count();
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
