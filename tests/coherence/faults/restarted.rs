//! A replica that leaves, well or by `kill -9`, and comes back knowing nothing, or not at all.

use std::time::Duration;

use tokio::task::{JoinSet, block_in_place};

use super::{heated, is_right_in_time};
use crate::board::Numbered;
use crate::history::Way;
use crate::replicas::{REPLICAS, Replicas};
use crate::scene::Scene;
use crate::scrape::Scrape;
use crate::{draw, millis, rounds};

/// Two looks at the roll, and what a busy machine adds to them.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
/// How many questions the restarted one is asked about each subject.
const AFTERWARDS: usize = 5;

/// Changes a subject at any replica that answers, one in three first at the one that goes.
async fn change_amid(scene: Scene, victim: usize, subject: Numbered) {
    tokio::time::sleep(millis(0, 400)).await;
    let mut replicas = scene.others(&[victim]);
    if draw(3) == 0 {
        replicas.insert(0, victim);
    }
    scene.insist(&replicas, &subject).await;
    scene.look_everywhere(&subject).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_leaves_and_comes_back_shows_nothing_of_before() {
    let mut replicas = Replicas::start().await;
    let (scene, askers) = Scene::open(replicas.doors());
    let mut all = Vec::new();
    // Twice as many, for there are two ways to leave.
    for round in 0..2 * rounds() {
        let everywhere = scene.others(&[]);
        let subjects = heated(&scene, &everywhere, &Way::ALL).await;
        let victim = draw(REPLICAS);
        let mut changes = JoinSet::new();
        for subject in &subjects {
            changes.spawn(change_amid(scene.clone(), victim, subject.clone()));
        }
        tokio::time::sleep(millis(0, 200)).await;
        let leaving = &mut replicas.authorities[victim];
        block_in_place(|| match round % 2 {
            0 => leaving.kill(),
            _ => assert_eq!(leaving.stop("TERM").0, Some(0), "{}", leaving.log()),
        });
        block_in_place(|| leaving.start());
        changes.join_all().await;
        for subject in &subjects {
            scene.is_answered_everywhere(subject).await;
            for _ in 0..AFTERWARDS {
                scene.look(victim, subject).await;
            }
        }
        all.extend(subjects);
    }
    let history = scene.close(askers, all).await;
    let spans = is_right_in_time(&history, &[]);
    assert!(history.unanswered() > 0, "nobody noticed");
    eprintln!("a replica restarted: {spans}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_replica_that_died_a_while_ago() {
    let mut replicas = Replicas::start().await;
    let victim = draw(REPLICAS);
    block_in_place(|| replicas.authorities[victim].kill());
    let (scene, askers) = Scene::open(replicas.doors());
    let others = scene.others(&[victim]);
    let counted = |at: &usize| Scrape::of(&replicas.authorities[*at]).value("cache_replicas");
    let noticed = async {
        while !others.iter().all(|at| counted(at) == (REPLICAS - 1) as f64) {
            tokio::time::sleep(millis(50, 100)).await;
        }
    };
    tokio::time::timeout(NOTICED_WITHIN, noticed)
        .await
        .expect("somebody notices, though nothing is changed");
    let subjects = heated(&scene, &others, &Way::ALL).await;
    for subject in &subjects {
        scene.insist(&others, subject).await;
    }
    is_right_in_time(&scene.close(askers, subjects).await, &[]);
    for at in others {
        let log = replicas.authorities[at].log();
        assert!(!log.contains("a change waited for servers"), "{log}");
    }
}
