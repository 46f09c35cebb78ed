//! Workers who share a pool, of whom some are late, some stall, and some die, and who disturbs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::doors::Door;
use crate::draw;
use crate::history::{History, Kind, Micros, Recorder, now};

/// How long a lease lasts: the shortest that the service gives, so that much happens in little time.
const LEASE: Duration = Duration::from_secs(1);
/// How often a worker dies.
const DEATHS: Duration = Duration::from_millis(80);
/// Leases and looks at the pool without which nothing is shown, and how long they may take.
const LEASES_MIN: usize = 200;
const LOOKS_MIN: usize = 50;
const ENOUGH_WITHIN: Duration = Duration::from_secs(120);
/// How long the pool may take to be whole again when all have gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A run: who works for how long.
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) tokens: u64,
    pub(crate) time: Duration,
    /// How many die between two disturbances.
    pub(crate) dying: u32,
}

/// One who works, until told to stop or killed.
struct Worker {
    door: Arc<dyn Door>,
    recorder: Recorder,
    stop: watch::Receiver<bool>,
}

fn millis(most: usize) -> Duration {
    Duration::from_millis(draw(most + 1) as u64)
}

/// Until the clock says that time, and a little longer.
async fn past(time: Micros, longer: Duration) {
    let left = Duration::from_micros(time.saturating_sub(now()));
    tokio::time::sleep(left + longer).await;
}

impl Worker {
    async fn work(self) {
        while !*self.stop.borrow() {
            let wait = [0, 0, 300, 1000][draw(4)];
            let sent = now();
            let wait = Duration::from_millis(wait);
            match self.door.acquire(LEASE, wait).await {
                Ok(Some(granted)) => {
                    let (lease, until) = (granted.lease.clone(), granted.until);
                    let hold = self.recorder.granted(sent, granted);
                    self.hold(hold, &lease, until).await;
                }
                Ok(None) => tokio::time::sleep(millis(50)).await,
                // Somebody else's process died.
                Err(_) => tokio::time::sleep(millis(100)).await,
            }
        }
    }

    async fn hold(&self, hold: usize, lease: &str, until: Micros) {
        match draw(20) {
            // It does its work and gives the token back, some twice.
            0..14 => {
                tokio::time::sleep(millis(15)).await;
                self.release(hold, lease).await;
                if draw(4) == 0 {
                    self.release(hold, lease).await;
                }
            }
            // It takes longer, and says so.
            14..16 => {
                tokio::time::sleep(LEASE.mul_f64(0.6)).await;
                let until = self.keep_alive(hold, lease).await.unwrap_or(until);
                tokio::time::sleep(LEASE.mul_f64(0.5)).await;
                if draw(2) == 0 {
                    past(until, millis(100)).await;
                }
                self.release(hold, lease).await;
            }
            // It stalls and comes back too late; by then somebody else may hold the token.
            16..19 => {
                past(until, millis(300)).await;
                self.keep_alive(hold, lease).await;
                self.release(hold, lease).await;
                self.release(hold, lease).await;
            }
            // It forgets.
            _ => {}
        }
    }

    async fn keep_alive(&self, hold: usize, lease: &str) -> Option<Micros> {
        let at = self.recorder.asks(hold, Kind::Beat);
        let until = self.door.keep_alive(lease).await.ok()?;
        self.recorder.answered(hold, Kind::Beat, at, until);
        until
    }

    async fn release(&self, hold: usize, lease: &str) {
        let at = self.recorder.asks(hold, Kind::Release);
        if let Ok(ended) = self.door.release(lease).await {
            self.recorder.answered(hold, Kind::Release, at, ended);
        }
    }
}

/// Lets workers work at these doors while `disturb` does what it likes, and answers what they knew.
pub(crate) async fn run(
    plan: &Plan,
    doors: &[Arc<dyn Door>],
    mut disturb: impl AsyncFnMut(),
) -> History {
    let (stopping, stop) = watch::channel(false);
    let recorder = Recorder::default();
    let hire = |number: usize| {
        let worker = Worker {
            door: doors[number % doors.len()].clone(),
            recorder: recorder.clone(),
            stop: stop.clone(),
        };
        tokio::spawn(worker.work())
    };
    let mut workers: Vec<JoinHandle<()>> = (0..plan.workers).map(hire).collect();
    let look = |door: &Arc<dyn Door>| sample(door.clone(), recorder.clone(), stop.clone());
    let samplers: Vec<_> = doors.iter().map(|door| tokio::spawn(look(door))).collect();
    let begun = Instant::now();
    while begun.elapsed() < plan.time || !recorder.has(LEASES_MIN, LOOKS_MIN) {
        assert!(
            begun.elapsed() < ENOUGH_WITHIN + plan.time,
            "too little happens"
        );
        let next = tokio::time::Instant::now() + DEATHS * plan.dying;
        disturb().await;
        for _ in 0..plan.dying {
            // Whatever it holds, and wherever it waits, it lets go of without a word.
            let dying = draw(workers.len());
            workers[dying].abort();
            workers[dying] = hire(dying);
            tokio::time::sleep(DEATHS).await;
        }
        tokio::time::sleep_until(next).await;
    }
    stopping.send_replace(true);
    for worker in workers {
        worker.await.expect("no worker panics");
    }
    for sampler in samplers {
        sampler.await.expect("no sampler panics");
    }
    let patience = Instant::now() + PATIENCE;
    let whole = [plan.tokens, 0, 0];
    loop {
        let counts = doors[0].counts().await.ok();
        if counts.is_some_and(|counts| counts == whole) {
            return recorder.take();
        }
        let late = Instant::now() > patience;
        assert!(!late, "when all have gone, the pool stands at {counts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Looks again and again how the pool stands.
async fn sample(door: Arc<dyn Door>, recorder: Recorder, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Ok(counts) = door.counts().await {
            recorder.sample(counts);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
