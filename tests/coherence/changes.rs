//! Changes while all is well, and while callers hang up in the middle of them.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::board::{Numbered, PLACES};
use crate::checker::{Wrong, is_right, judge};
use crate::doors::{Door, Wire};
use crate::harness::Authority;
use crate::history::{History, Spans, Way};
use crate::kit::{connect, quiet};
use crate::replicas::{NO_BUDGET, REPLICAS, Replicas, remembered};
use crate::scene::Scene;
use crate::streamed::Streamed;
use crate::twin::{Fault, Twin};
use crate::{draw, millis, rounds};

/// How many change subjects at once; each has the places of its own.
const CHANGERS: usize = 8;
const EACH: usize = PLACES / CHANGERS;
/// Changes in each round.
const REVOCATIONS: usize = 100;
const OTHERS: usize = 20;
/// Looks during or directly after changes, at each replica, without which nothing is shown: more than
/// those of who changed it.
const CLOSE_LOOKS_MIN: usize = REVOCATIONS + 5 * OTHERS;

/// How a change is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Patient,
    /// The first call is dropped at some moment, and the change asked for again elsewhere.
    HangingUp,
}

/// The changes of so many rounds, the kinds mixed.
fn changes(rounds: usize) -> Vec<Way> {
    let count = |way| match way {
        Way::Revoked => REVOCATIONS * rounds,
        _ => OTHERS * rounds,
    };
    let ways = Way::ALL.iter();
    let mut mixed: Vec<Way> = ways.flat_map(|way| vec![*way; count(*way)]).collect();
    for at in (1..mixed.len()).rev() {
        mixed.swap(at, draw(at + 1));
    }
    mixed
}

/// Carries out changes under load; answers what was seen.
async fn run(doors: Vec<Arc<dyn Door>>, ways: &[Way], manner: Manner) -> History {
    let (scene, askers) = Scene::open(doors);
    let mut changers = JoinSet::new();
    for (first, ways) in ways.chunks(ways.len().div_ceil(CHANGERS)).enumerate() {
        let places = first * EACH..(first + 1) * EACH;
        changers.spawn(keep_changing(
            scene.clone(),
            places.collect(),
            ways.to_vec(),
            manner,
        ));
    }
    let changed = changers.join_all().await.concat();
    scene.close(askers, changed).await
}

/// Lets subjects come, be asked about by everybody, be changed, be asked about some more, and go.
///
/// Half of them are known to all replicas for some time before they are changed; the others are asked
/// about for the first time while they are changed, so that what was read before comes in after.
async fn keep_changing(
    scene: Scene,
    places: Vec<usize>,
    ways: Vec<Way>,
    manner: Manner,
) -> Vec<Numbered> {
    let mut changed = Vec::new();
    let mut due = VecDeque::new();
    for turn in 0..ways.len() + EACH {
        if let Some(way) = ways.get(turn) {
            let place = places[turn % EACH];
            let known = match draw(2) {
                0 => Some(scene.heat(&scene.others(&[]), place, *way).await),
                _ => None,
            };
            due.push_back((place, *way, known));
        }
        // As many stay as there are places but one, where the last that was changed is asked about.
        if turn + 1 < EACH {
            continue;
        }
        let Some((place, way, known)) = due.pop_front() else {
            break;
        };
        let subject = match known {
            Some(known) => known,
            None => scene.make(scene.any(), way).await.expect("all is well"),
        };
        scene.board.put(place, subject.clone());
        scene.board.light(place);
        let beside = tokio::spawn(look_at_times(scene.clone(), subject.clone()));
        tokio::time::sleep(millis(0, 5)).await;
        if manner == Manner::HangingUp {
            // Dropped before the answer, or not.
            let first = scene.change(scene.any(), &subject);
            let _ = tokio::time::timeout(millis(0, 8), first).await;
        }
        let answered = scene.change(scene.any(), &subject).await;
        answered.expect("the change is answered");
        scene.look_everywhere(&subject).await;
        beside.await.expect("it does not panic");
        changed.push(subject);
    }
    changed
}

/// Asks everywhere about a subject at some moments, while it is changed.
async fn look_at_times(scene: Scene, subject: Numbered) {
    for _ in 0..2 {
        tokio::time::sleep(millis(0, 5)).await;
        scene.look_everywhere(&subject).await;
    }
}

/// Checks that a history is right, and that enough happened in it.
fn shows_enough(history: &History, rounds: usize, replicas: usize) {
    is_right(history);
    assert_eq!(history.done(Way::Revoked), REVOCATIONS * rounds);
    for way in &Way::ALL[1..] {
        assert_eq!(history.done(*way), OTHERS * rounds, "{way:?}");
    }
    for replica in 0..replicas {
        let close = history.close_looks(replica);
        assert!(close > CLOSE_LOOKS_MIN * rounds, "{close} at {replica}");
    }
}

async fn twin(fault: Fault, manner: Manner) -> Vec<Wrong> {
    let doors = Twin::replicas(fault, REPLICAS);
    let history = run(doors, &changes(1), manner).await;
    if fault == Fault::Nothing {
        shows_enough(&history, 1, REPLICAS);
    }
    let wrong = judge(&history);
    eprintln!("{fault:?}: {} wrongs", wrong.len());
    wrong
}

/// Whether what is wrong is that the state before was shown.
fn are_stale(wrong: &[Wrong]) -> bool {
    let stale = |wrong: &Wrong| matches!(wrong, Wrong::Stale(..));
    !wrong.is_empty() && wrong.iter().all(stale)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_twin_passes() {
    assert_eq!(twin(Fault::Nothing, Manner::Patient).await, []);
    assert_eq!(twin(Fault::Nothing, Manner::HangingUp).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_waits_for_nobody_is_caught() {
    let wrong = twin(Fault::NoBarrier, Manner::Patient).await;
    assert!(are_stale(&wrong), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_kept_though_it_was_read_before_the_change_is_caught() {
    let wrong = twin(Fault::StaleFill, Manner::Patient).await;
    assert!(are_stale(&wrong), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_that_waits_for_nobody_is_caught() {
    let wrong = twin(Fault::HastyRepeat, Manner::HangingUp).await;
    assert!(are_stale(&wrong), "{wrong:?}");
}

/// A change is seen by whoever asks after it was answered.
async fn across(doors: Vec<Arc<dyn Door>>, manner: Manner) {
    let count = doors.len();
    let history = run(doors, &changes(rounds()), manner).await;
    shows_enough(&history, rounds(), count);
    assert_eq!(history.unanswered(), 0, "all was well");
    let spans = Spans::of_changes(&history);
    let looks = history.looks.len();
    eprintln!("{manner:?}, {count} replicas: {spans}; {looks} looks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_after_a_change_sees_it_on_every_replica() {
    let replicas = Replicas::start().await;
    across(replicas.doors(), Manner::Patient).await;
    replicas.remembered();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_on_a_stream_after_a_change_sees_it_on_every_replica() {
    let replicas = Replicas::start().await;
    let mut doors: Vec<Arc<dyn Door>> = Vec::new();
    for authority in &replicas.authorities {
        doors.push(Arc::new(Streamed::over(Wire(connect(authority))).await));
    }
    across(doors, Manner::Patient).await;
    replicas.remembered();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_caller_hung_up_is_seen_once_its_repetition_is_answered() {
    let replicas = Replicas::start().await;
    across(replicas.doors(), Manner::HangingUp).await;
    replicas.remembered();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_after_a_change_sees_it_on_sqlite() {
    let mut authority = quiet(Authority::before_sqlite_start()).with(&NO_BUDGET);
    authority.start();
    authority.serving(true).await;
    let door = || -> Arc<dyn Door> { Arc::new(Wire(connect(&authority))) };
    across(vec![door()], Manner::Patient).await;
    across(vec![door()], Manner::HangingUp).await;
    let streamed: Arc<dyn Door> = Arc::new(Streamed::over(Wire(connect(&authority))).await);
    across(vec![streamed], Manner::Patient).await;
    remembered(&authority);
}
