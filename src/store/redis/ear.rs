//! Hearing from other processes: scripts tell on one channel who should ask again for a lease, and on
//! another what was changed. A connection of its own listens to both, from the first call on that waits,
//! or that answers from memory.
//!
//! What is missed while it is interrupted, or where the user may not listen, only comes later.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{PubSub, PubSubSink};
use redis::{Client, ErrorKind, Msg, RedisError, ServerErrorKind, Value};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;

use super::background::Background;
use super::error::understand;
use super::keys::Keys;
use super::registry::read_nudge;
use super::watch::{PING_EVERY, backoff};
use crate::domain::lease::WaiterId;
use crate::store::StoreError;
use crate::store::bells::Bells;
use crate::store::registry::Heard;

/// News that may wait to be read by each who wants them.
const NEWS_MAX: usize = 64;

/// What listens, and its task once it was begun.
pub(super) struct Ear {
    client: Client,
    patience: Duration,
    audience: Audience,
    background: Background,
    task: Mutex<Task>,
}

/// Who is told what.
#[derive(Clone)]
struct Audience {
    wakes: String,
    bells: Bells,
    news: String,
    nudges: broadcast::Sender<Heard>,
}

enum Task {
    NotBegun,
    Running(JoinHandle<()>),
    Over,
}

impl Ear {
    pub(super) fn new(
        client: Client,
        keys: &Keys,
        patience: Duration,
        bells: Bells,
        background: Background,
    ) -> Self {
        let audience = Audience {
            wakes: keys.wake_channel(),
            bells,
            news: keys.news_channel(),
            nudges: broadcast::Sender::new(NEWS_MAX),
        };
        Self {
            client,
            patience,
            audience,
            background,
            task: Mutex::new(Task::NotBegun),
        }
    }

    /// What is heard of the registry from now on, once it listens.
    pub(super) fn nudges(&self) -> broadcast::Receiver<Heard> {
        self.audience.nudges.subscribe()
    }

    /// Listens from now on.
    pub(super) fn listen(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Task::NotBegun = *task {
            let (client, audience) = (self.client.clone(), self.audience.clone());
            let listening = keep(client, audience, self.patience);
            *task = Task::Running(self.background.spawn(listening));
        }
    }

    /// Listens no longer.
    pub(super) fn end(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Task::Running(running) = std::mem::replace(&mut *task, Task::Over) {
            running.abort();
        }
    }
}

/// Listens for ever, over one connection after the other.
async fn keep(client: Client, audience: Audience, patience: Duration) {
    let mut failures = 0;
    loop {
        if let Err(error) = hear(&client, &audience, patience, &mut failures).await {
            tracing::debug!(%error, "what others tell is not heard; it is asked for");
        }
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

/// Tells all that is heard, until the connection ends.
async fn hear(
    client: &Client,
    audience: &Audience,
    patience: Duration,
    failures: &mut u32,
) -> Result<(), StoreError> {
    let begin = async {
        let mut ear = client.get_async_pubsub().await?;
        audience.subscribe(&mut ear).await?;
        Ok(ear)
    };
    let begun = tokio::time::timeout(patience * 2, begin).await;
    let begun = begun.map_err(|_| StoreError::Slow(patience * 2))?;
    let understood = |error: RedisError| understand(&error, patience).0;
    let (sink, mut messages) = begun.map_err(understood)?.split();
    *failures = 0;
    audience.may_have_missed();
    let listen = async {
        while let Some(message) = messages.next().await {
            audience.tell(&message);
        }
        Ok(())
    };
    tokio::select! {
        ended = listen => ended,
        dead = watch(sink, patience) => Err(dead),
    }
}

/// Answers why a connection is dead: one that went silent looks like one that has nothing to tell.
async fn watch(mut sink: PubSubSink, patience: Duration) -> StoreError {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        match tokio::time::timeout(patience, sink.ping::<Value>()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return understand(&error, patience).0,
            Err(_) => return StoreError::Slow(patience),
        }
    }
}

impl Audience {
    /// Listens to both channels, or to the one that the user may listen to.
    async fn subscribe(&self, ear: &mut PubSub) -> Result<(), RedisError> {
        let mut refused = Vec::new();
        let channels = [&self.wakes, &self.news];
        for channel in channels {
            match ear.subscribe(channel).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
                    refused.push(error);
                }
                heard => heard?,
            }
        }
        match refused.pop() {
            Some(error) if refused.len() + 1 == channels.len() => Err(error),
            _ => Ok(()),
        }
    }

    /// Somebody may have been named, or something changed, before.
    fn may_have_missed(&self) {
        self.bells.ring_all();
        self.pass_on(Heard::Interrupted);
    }

    fn tell(&self, message: &Msg) {
        let payload = message.get_payload_bytes();
        if message.get_channel_name() == self.news {
            self.pass_on(read_nudge(payload).map_or(Heard::Interrupted, Heard::Nudge));
            return;
        }
        let named = std::str::from_utf8(payload).ok();
        if let Some(waiter) = named.and_then(|text| WaiterId::parse(text).ok()) {
            self.bells.ring(waiter);
        }
    }

    fn pass_on(&self, heard: Heard) {
        // It fails where nobody listens.
        let _ = self.nudges.send(heard);
    }
}
