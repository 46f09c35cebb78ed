//! Flushing: what was counted is added to the store, again and again, each part of it once.
//!
//! A flush whose fate nobody knows is sent again as it was, under its mark, so that the store counts
//! it once; until it has arrived, or was given up, no other is sent, and what is counted meanwhile waits.
//! All of it stands here and not with whoever sends, so nothing is lost where that is cut.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use crate::domain::usage::Mark;
use crate::entropy::{self, EntropyError, jittered};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::usage::{Flush, UsageStore};

use super::gains::{Made, Making};
use super::{COUNTED_EVERY, Recorder};
use crate::authority::busiest::Busiest;

/// How long a flush is tried that does not arrive; then it is dropped.
const TRIED_FOR: Duration = Duration::from_secs(600);
/// Time between two attempts: at first, and at the most.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);
/// The same at the end, when there is little time.
const LAST_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Tokens whose gains are made before others get a turn.
const MADE_AT_ONCE: usize = 512;

/// Adds what a recorder counts to a store.
pub struct Flushing {
    recorder: Arc<Recorder>,
    store: Arc<dyn UsageStore>,
    every: Duration,
    sending: tokio::sync::Mutex<Sending>,
    /// What is on its way: since when its first was counted, and how many tokens it is about.
    on_its_way: Mutex<Option<(Instant, usize)>>,
    metrics: Arc<Metrics>,
}

/// What is to be added next, as far as it is made.
#[derive(Debug)]
struct Sending {
    /// Of the last flush that was begun.
    mark: Mark,
    making: Option<Making>,
    flush: Option<Sent>,
    /// `None` where no token is to be named.
    busiest: Option<Busiest>,
}

/// A flush that is sent until it has arrived.
#[derive(Debug)]
struct Sent {
    flush: Flush,
    requests: u64,
    /// When it was first sent.
    since: tokio::time::Instant,
}

impl Flushing {
    /// Adds to `store`, every so often, what `recorder` counts.
    pub fn new(
        recorder: Arc<Recorder>,
        store: Arc<dyn UsageStore>,
        every: Duration,
    ) -> Result<Self, EntropyError> {
        let [process] = entropy::draws()?;
        let metrics = recorder.metrics.clone();
        let mark = Mark {
            process,
            sequence: 0,
        };
        Ok(Self {
            recorder,
            store,
            every,
            sending: tokio::sync::Mutex::new(Sending {
                mark,
                making: None,
                flush: None,
                busiest: None,
            }),
            on_its_way: Mutex::default(),
            metrics,
        })
    }

    /// The same, which shows the busiest tokens among the metrics, too.
    pub fn naming_the_busiest(mut self) -> Self {
        let busiest = Busiest::new(self.metrics.clone());
        self.sending.get_mut().busiest = Some(busiest);
        self
    }

    /// Counts and flushes until it is dropped; then [`Flushing::finish`] goes on where this was.
    pub async fn keep(self: Arc<Self>) {
        tokio::join!(self.keep_counting(), self.keep_flushing());
    }

    async fn keep_counting(&self) {
        let mut clock = tokio::time::interval(COUNTED_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = clock.tick() => {}
                () = self.recorder.ends.many() => {}
            }
            let counted = self.recorder.counted().await;
            let (begun, tokens) = (counted.batch.begun, counted.batch.tokens.len());
            drop(counted);
            self.show(begun, tokens);
        }
    }

    /// Shows how much waits, and for how long.
    fn show(&self, begun: Option<Instant>, tokens: usize) {
        let on_its_way = *self.place();
        let (since, sent) = on_its_way.unzip();
        let oldest = since.into_iter().chain(begun).min();
        let age = oldest.map(|oldest| oldest.elapsed()).unwrap_or_default();
        self.metrics
            .usage
            .waits(tokens + sent.unwrap_or_default(), age);
    }

    async fn keep_flushing(&self) {
        let (mut wait, mut again_after) = (self.every, AGAIN_AFTER);
        let mut trouble: Option<StoreError> = None;
        loop {
            tokio::time::sleep(wait).await;
            let begun = Instant::now();
            let now = self.flush().await.err();
            match &now {
                Some(why) if trouble.is_none() => {
                    tracing::warn!(%why, "what was counted as usage cannot be added yet");
                }
                None if trouble.is_some() => tracing::info!("usage is added again"),
                _ => {}
            }
            (wait, again_after) = match &now {
                None => (self.every.saturating_sub(begun.elapsed()), AGAIN_AFTER),
                Some(_) => (
                    jittered(again_after),
                    (again_after * 2).min(AGAIN_AFTER_MAX),
                ),
            };
            trouble = now;
        }
    }

    /// Counts what was taken down to the last, and adds all of it, as far as that is done in time; what
    /// is not, is lost. For whoever stops.
    pub async fn finish(&self, within: Duration) {
        let all = async {
            loop {
                match self.flush().await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(_) => tokio::time::sleep(LAST_AGAIN_AFTER).await,
                }
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            let lost = self.give_up().await;
            tracing::warn!(lost, "requests were not added to usage before the end");
        }
    }

    /// Adds the flush that is on its way, else what was counted since; answers whether there was
    /// anything.
    async fn flush(&self) -> Result<bool, StoreError> {
        let mut sending = self.sending.lock().await;
        if sending.flush.is_none() {
            self.begin(&mut sending).await;
        }
        let Some(Sent { flush, since, .. }) = &sending.flush else {
            return Ok(false);
        };
        let (begun, since) = (Instant::now(), *since);
        let added = self.store.add_usage(flush).await;
        self.metrics.usage.flushed(begun.elapsed());
        match added {
            Ok(()) => drop(sending.flush.take()),
            Err(why) => {
                if since.elapsed() < TRIED_FOR {
                    return Err(why);
                }
                let lost = sending.flush.take().map_or(0, |sent| sent.requests);
                self.metrics.usage.lost.inc_by(lost);
                tracing::warn!(lost, %why, "requests are given up that could not be added to usage");
            }
        }
        *self.place() = None;
        Ok(true)
    }

    /// Makes a flush of what was counted, if anything was.
    async fn begin(&self, sending: &mut Sending) {
        let Sending {
            mark,
            making,
            flush,
            busiest,
        } = sending;
        if let Some(busiest) = busiest {
            busiest.show();
        }
        if making.is_none() {
            let batch = self.recorder.count().await;
            let (begun, tokens) = (batch.begun, batch.tokens.len());
            *self.place() = begun.map(|begun| (begun, tokens));
            *making = begun.map(|_| Making::of(batch));
        }
        while let Some(gains) = making
            && gains.go_on(MADE_AT_ONCE)
        {
            tokio::task::yield_now().await;
        }
        let Some(made) = making.take().map(Making::finish) else {
            return;
        };
        mark.sequence += 1;
        let Made { gains, requests } = made;
        if let Some(busiest) = busiest {
            busiest.note(&gains);
        }
        *flush = Some(Sent {
            flush: Flush { mark: *mark, gains },
            requests,
            since: tokio::time::Instant::now(),
        });
    }

    /// Counts all that is left as lost, and answers how much that is.
    async fn give_up(&self) -> u64 {
        let mut sending = self.sending.lock().await;
        let mut lost = sending.flush.take().map_or(0, |sent| sent.requests);
        let making = sending.making.take();
        for mut making in making
            .into_iter()
            .chain([Making::of(self.recorder.count().await)])
        {
            making.go_on(usize::MAX);
            lost += making.finish().requests;
        }
        self.metrics.usage.lost.inc_by(lost);
        lost
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<(Instant, usize)>> {
        self.on_its_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
