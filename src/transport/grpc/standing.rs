//! The caller of a stream: judged again with each message, and each second without one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::MissedTickBehavior;

use crate::authority::Authority;
use crate::authority::access::{Right, Session};
use crate::authority::act::Act;
use crate::authority::error::Error;

use super::caller::Shown;

/// How often it is asked who calls where no message asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who calls for a stream of `A`, and what is shown of it.
pub(super) struct Standing<A> {
    authority: Arc<Authority>,
    shown: Shown,
    /// As it was found with the last message.
    last: ArcSwapOption<Found<A>>,
}

/// The caller as it was found, and its right.
struct Found<A> {
    session: Session,
    right: Arc<Right<A>>,
}

/// Why a message is not answered as asked.
pub(super) enum Trouble {
    /// The caller lost its right, and with it the stream.
    Loss(Error),
    /// The stream goes on.
    Message(Error),
}

impl<A: Act> Standing<A> {
    /// Lets a caller in, or not.
    pub(super) async fn begin(authority: &Arc<Authority>, shown: Shown) -> Result<Self, Error> {
        let standing = Self::of(authority, shown);
        match standing.found().await {
            Ok(_) => Ok(standing),
            Err(Trouble::Loss(error) | Trouble::Message(error)) => Err(error),
        }
    }

    /// Of a caller who was let in already.
    pub(super) fn of(authority: &Arc<Authority>, shown: Shown) -> Self {
        Self {
            authority: authority.clone(),
            shown,
            last: ArcSwapOption::empty(),
        }
    }

    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    pub(super) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// The right of whoever calls by now, for one message more, where that takes no waiting.
    pub(super) fn right_at_once(&self) -> Option<Arc<Right<A>>> {
        let last = self.last.load();
        let last = last.as_ref()?;
        let is_known = self.authority.is_known_again(&last.session);
        is_known.then(|| last.right.clone())
    }

    /// The same, however long it takes.
    pub(super) async fn right(&self) -> Result<Arc<Right<A>>, Trouble> {
        match self.right_at_once() {
            Some(right) => Ok(right),
            None => Box::pin(self.found()).await,
        }
    }

    async fn found(&self) -> Result<Arc<Right<A>>, Trouble> {
        let session = self.shown.session(A::RPC, &self.authority);
        let session = session.await.map_err(Trouble::of)?;
        let right = self.authority.permit::<A>(&session).map_err(Trouble::of)?;
        let right = Arc::new(right);
        self.last.store(Some(Arc::new(Found {
            session,
            right: right.clone(),
        })));
        Ok(right)
    }

    /// Over when the caller has lost its right, though it sends no message; says how. A store that
    /// cannot say so takes nobody's right.
    pub(super) async fn lost(self: Arc<Self>) -> Error {
        self.lost_where(|_| Ok(())).await
    }

    /// The same where the right must also be `enough` by now.
    pub(super) async fn lost_where(
        self: Arc<Self>,
        enough: impl Fn(&Right<A>) -> Result<(), Error>,
    ) -> Error {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is over at once, and the caller was let in just now.
        looks.tick().await;
        loop {
            looks.tick().await;
            if let Err(Trouble::Loss(error)) = self.still_permitted(&enough).await {
                return error;
            }
        }
    }

    async fn still_permitted(
        &self,
        enough: impl Fn(&Right<A>) -> Result<(), Error>,
    ) -> Result<(), Trouble> {
        let (authority, call) = (&self.authority, &self.shown.call);
        let by_now = authority.caller_by_now(self.shown.proof(), call).await;
        let session = by_now.map_err(|error| match Trouble::of(error) {
            Trouble::Loss(error) => Trouble::Loss(authority.unknown_caller(A::RPC, call, error)),
            passing => passing,
        })?;
        let right = authority.permit::<A>(&session).map_err(Trouble::of)?;
        let still = enough(&right);
        right.conclude(still).map_err(Trouble::of)
    }
}

impl Trouble {
    /// What it means that a caller was not let in.
    fn of(error: Error) -> Self {
        match error {
            Error::Unauthenticated(_) | Error::PermissionMissing { .. } => Self::Loss(error),
            passing => Self::Message(passing),
        }
    }
}
