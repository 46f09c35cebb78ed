//! Hearing from other processes who should ask again: scripts name them on one channel, and a
//! connection of its own listens to it from the first call on that waits.
//!
//! What is missed while it is interrupted, or where the user may not listen, only comes later.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::{Client, Msg};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;

use super::error::understand;
use super::watch::backoff;
use crate::domain::lease::WaiterId;
use crate::store::StoreError;
use crate::store::bells::Bells;

/// What listens, and its task once it was begun.
pub(super) struct Wakes {
    client: Client,
    channel: String,
    patience: Duration,
    bells: Bells,
    task: Mutex<Task>,
}

enum Task {
    NotBegun,
    Running(JoinHandle<()>),
    Over,
}

impl Wakes {
    pub(super) fn new(client: Client, channel: String, patience: Duration, bells: Bells) -> Self {
        Self {
            client,
            channel,
            patience,
            bells,
            task: Mutex::new(Task::NotBegun),
        }
    }

    /// Listens from now on.
    pub(super) fn listen(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Task::NotBegun = *task {
            let (client, bells) = (self.client.clone(), self.bells.clone());
            let (channel, patience) = (self.channel.clone(), self.patience);
            *task = Task::Running(tokio::spawn(keep(client, channel, patience, bells)));
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
async fn keep(client: Client, channel: String, patience: Duration, bells: Bells) {
    let mut failures = 0;
    loop {
        if let Err(error) = hear(&client, &channel, patience, &bells, &mut failures).await {
            tracing::debug!(%error, "who waits for a lease asks by itself");
        }
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

/// Rings for all that are named, until the connection ends.
async fn hear(
    client: &Client,
    channel: &str,
    patience: Duration,
    bells: &Bells,
    failures: &mut u32,
) -> Result<(), StoreError> {
    let begin = async {
        let mut ear = client.get_async_pubsub().await?;
        ear.subscribe(channel).await?;
        Ok(ear)
    };
    let begun = tokio::time::timeout(patience * 2, begin).await;
    let begun = begun.map_err(|_| StoreError::Slow(patience * 2))?;
    let mut messages = begun
        .map_err(|error: redis::RedisError| understand(&error, patience).0)?
        .into_on_message();
    *failures = 0;
    // Somebody may have been named before.
    bells.ring_all();
    while let Some(message) = messages.next().await {
        ring(bells, &message);
    }
    Ok(())
}

fn ring(bells: &Bells, message: &Msg) {
    let named = std::str::from_utf8(message.get_payload_bytes()).ok();
    if let Some(waiter) = named.and_then(|text| WaiterId::parse(text).ok()) {
        bells.ring(waiter);
    }
}
