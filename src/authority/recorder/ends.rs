//! How requests ended, as it is told, until it is counted.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::Outcome;

/// Most of them: some 12 MB where all have the longest texts.
const ENDS_MAX: usize = 16 * 1024;
/// From so many on they are to be counted soon.
const MANY: usize = ENDS_MAX / 2;

/// How a request of a token ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::authority) struct End {
    pub(in crate::authority) token: TokenId,
    pub(in crate::authority) namespace: Namespace,
    pub(in crate::authority) at: Timestamp,
    /// `None` where nobody judged it.
    pub(in crate::authority) validation_id: Option<String>,
    pub(in crate::authority) method: String,
    /// As [`crate::domain::usage::endpoint`] tells; empty where none was named.
    pub(in crate::authority) path: String,
    pub(in crate::authority) outcome: Outcome,
    pub(in crate::authority) client: Option<IpAddr>,
}

/// Ends that are not counted yet. Who tells them waits for room, so none is lost here.
#[derive(Debug, Default)]
pub(super) struct Ends {
    list: Mutex<Vec<End>>,
    room: Notify,
    many: Notify,
}

impl Ends {
    pub(super) async fn put(&self, end: End) {
        let mut end = Some(end);
        loop {
            let mut room = pin!(self.room.notified());
            // Before it is looked, so that no room goes unnoticed.
            room.as_mut().enable();
            if self.try_put(&mut end) {
                return;
            }
            room.await;
        }
    }

    fn try_put(&self, end: &mut Option<End>) -> bool {
        let mut list = self.list();
        if list.len() >= ENDS_MAX {
            return false;
        }
        list.extend(end.take());
        if list.len() == MANY {
            self.many.notify_one();
        }
        true
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> Vec<End> {
        let taken = std::mem::take(&mut *self.list());
        if !taken.is_empty() {
            self.room.notify_waiters();
        }
        taken
    }

    /// Over when there are many.
    pub(super) async fn many(&self) {
        self.many.notified().await;
    }

    fn list(&self) -> MutexGuard<'_, Vec<End>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
