//! Renewing: the one task that keeps the lease, and applies what others changed.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::SteadyClock;
use crate::domain::coherence::registry::News;
use crate::domain::coherence::replica::Due;
use crate::domain::coherence::roll::Roll;
use crate::domain::coherence::{RENEW_EVERY, ROLL_EVERY};
use crate::domain::time::Steady;
use crate::store::StoreError;
use crate::store::registry::Heard;

use super::Coherence;

impl Coherence {
    /// Keeps the lease, the roll of those that have one, and records that are in use fresh, and gives back
    /// what was taken from limits ahead and is used no more, until it is aborted.
    pub async fn keep(self: Arc<Self>) {
        if !self.cache.is_on() {
            return;
        }
        self.store.settled().await;
        tokio::join!(
            self.keep_lease(),
            self.keep_roll(),
            self.cache.keep_fresh(),
            self.permits.clone().keep()
        );
    }

    /// Strikes off who is gone, though nothing is changed that would wait for it.
    async fn keep_roll(&self) {
        let mut roll = Roll::default();
        let mut clock = tokio::time::interval(ROLL_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let begun = self.awake.now();
            // A failure is that of the renewals, too, and told there.
            if let Ok(attendance) = self.store.attendance().await
                && let Some(absent) = roll.call(&attendance, begun, self.awake.now())
            {
                let servers = absent.members.len();
                tracing::warn!(
                    servers,
                    "servers are gone without a word; no change waits for them"
                );
                self.strike(&absent).await;
            }
        }
    }

    /// Renews again and again, and at once when somebody changed something. A failure is told once
    /// for as long as it lasts, and ends nothing.
    async fn keep_lease(&self) {
        let mut nudges = self.store.nudges();
        let mut trouble: Option<StoreError> = None;
        loop {
            let next = Instant::now() + RENEW_EVERY;
            let renewed = self.renew().await;
            match &renewed {
                Err(why) if trouble.is_none() => {
                    tracing::warn!(%why, "the lease to answer from memory is not renewed; once it has run out, each answer is read");
                }
                Ok(_) if trouble.is_some() => tracing::info!("answers come from memory again"),
                _ => {}
            }
            let again = renewed.as_ref().is_ok_and(|again| *again);
            trouble = renewed.err();
            if !again {
                self.until_nudged(&mut nudges, next).await;
            }
        }
    }

    /// Renews once; answers whether it should be done again at once, so that what was applied is
    /// known to those who wait for it.
    async fn renew(&self) -> Result<bool, StoreError> {
        let begun = self.cache.now();
        let renewal = self.replica().renewal(begun);
        let (answer, time) = self.store.renew(&renewal).await?;
        self.see(answer.epoch);
        let members = answer.members;
        let due = self.replica().renewed(begun, self.cache.now(), answer);
        let again = match &due.news {
            News::Entries(entries) => !entries.is_empty(),
            News::DropAll => true,
        };
        if let Some(until) = self.apply(due) {
            self.cache.grant(until, begun, time, members);
            let position = self.replica().position();
            self.metrics.cache.renewed(position, members);
        }
        Ok(again)
    }

    /// Applies what is due, and answers until when the lease then lasts.
    fn apply(&self, due: Due) -> Option<Steady> {
        self.cache.apply(&due.news);
        self.permits.apply(&due.news);
        let mut replica = self.replica();
        replica.applied(due);
        replica.lease()
    }

    /// Waits until the next renewal is due, or there is something to be acknowledged or asked for.
    async fn until_nudged(&self, nudges: &mut Receiver<Heard>, next: Instant) {
        loop {
            let heard = tokio::select! {
                () = tokio::time::sleep_until(next) => return,
                heard = nudges.recv() => heard,
            };
            match heard {
                Ok(Heard::Nudge(nudge)) => {
                    let replica = self.replica();
                    // Not that of an earlier renewal, nor of this process: there is nothing in it.
                    if replica.is_beyond(&nudge) {
                        continue;
                    }
                    let due = replica.nudged(nudge);
                    drop(replica);
                    if let Some(due) = due {
                        self.apply(due);
                    }
                    return;
                }
                Ok(Heard::Interrupted) | Err(RecvError::Lagged(_)) => return,
                // The store was closed.
                Err(RecvError::Closed) => return tokio::time::sleep_until(next).await,
            }
        }
    }

    /// Answers nothing from memory any more, and tells so: nobody needs to wait for this process. What
    /// was taken from limits ahead is given back.
    pub async fn give_up(&self) {
        self.cache.give_up();
        self.replica().give_up();
        let resign = async {
            if self.cache.is_on()
                && let Err(error) = self.store.resign(self.own).await
            {
                tracing::debug!(%error, "others wait once for this process");
            }
        };
        tokio::join!(resign, self.permits.close());
    }
}
