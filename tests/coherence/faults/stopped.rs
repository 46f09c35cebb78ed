//! A replica that is stopped, knows nothing of it, and goes on.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{heated, is_right_in_time};
use crate::board::Numbered;
use crate::history::{Way, now};
use crate::replicas::{REPLICAS, Replicas};
use crate::scene::Scene;
use crate::{draw, millis, rounds};

/// How many questions about each subject lie in the socket of the stopped one, and how many are
/// asked as soon as one is answered.
const WAITING: usize = 3;
const AFTERWARDS: usize = 5;

/// How long it is stopped: longer than any cache lease, or sometimes about as long.
fn stop(round: usize) -> Duration {
    match round % 3 {
        1 => millis(200, 1300),
        _ => millis(1500, 3000),
    }
}

/// Changes a subject at one of the others, and asks the stopped one about it from then on. One in
/// two is asked for at the victim first, which is stopped in the middle of it, and goes on with it
/// when it is done already.
async fn change_behind(scene: Scene, victim: usize, subject: Numbered) {
    if draw(2) == 0 {
        let given_up = scene.change(victim, &subject);
        let _ = tokio::time::timeout(millis(20, 400), given_up).await;
    }
    let (others, subject) = (scene.others(&[victim]), &subject);
    let repeated = scene.insist(&others, subject).await;
    assert_eq!(repeated, 0, "the others are well");
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        let (scene, subject) = (scene.clone(), subject.clone());
        waiting.spawn(async move {
            for _ in 0..AFTERWARDS {
                assert!(scene.look(victim, &subject).await, "the store is well");
            }
        });
    }
    waiting.join_all().await;
    scene.look_everywhere(subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_shows_nothing_of_before_when_it_goes_on() {
    let replicas = Replicas::start().await;
    let (scene, askers) = Scene::open(replicas.doors());
    let mut all = Vec::new();
    let mut asked_while_stopped = 0;
    for round in 0..rounds() {
        let everywhere = scene.others(&[]);
        let subjects = heated(&scene, &everywhere, &Way::ALL).await;
        let victim = draw(REPLICAS);
        let mut changes = JoinSet::new();
        for subject in &subjects {
            changes.spawn(change_behind(scene.clone(), victim, subject.clone()));
        }
        tokio::time::sleep(millis(0, 10)).await;
        replicas.authorities[victim].signal("STOP");
        tokio::time::sleep(stop(round)).await;
        let resumed = now();
        replicas.authorities[victim].signal("CONT");
        changes.join_all().await;
        asked_while_stopped += scene.done_before(resumed, &subjects);
        all.extend(subjects);
    }
    let history = scene.close(askers, all).await;
    let spans = is_right_in_time(&history, &[]);
    assert_eq!(history.unanswered(), 0, "the store was well");
    assert!(asked_while_stopped > 0, "nothing was changed meanwhile");
    eprintln!("a replica stopped: {spans}; {asked_while_stopped} changed meanwhile");
}
