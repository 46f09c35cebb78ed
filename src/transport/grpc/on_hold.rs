//! A call that waits: it ends with its caller, its connection and the server, and takes no room from
//! others meanwhile.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tonic::Request;

use crate::authority::Authority;
use crate::authority::error::Error;
use crate::authority::waiting::{Interruption, OnHold};
use crate::domain::caller::Caller;
use crate::transport::connections::{Connection, Lasting};
use crate::transport::gate::Pass;

use super::call::Leaving;
use super::caller::Shown;

/// What a call that waits is bound to.
pub(super) struct HeldCall {
    shown: Shown,
    authority: Arc<Authority>,
    /// Over when nobody wants the answer any more.
    gone: oneshot::Receiver<()>,
    leaving: Leaving,
    pass: Option<Arc<Pass>>,
    lasting: Option<Lasting>,
}

/// Kept for as long as somebody wants the answer.
pub(super) struct Wanted(
    #[allow(dead_code, reason = "its end is the message")] oneshot::Sender<()>,
);

/// In the extensions of a call that may wait: whether its message was read, so that it is bound by
/// its wait from then on. A call that sends none must not last as long as a wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl HeldCall {
    /// For a call whose message was read, and what its caller shows.
    pub(super) fn of<T>(
        request: &Request<T>,
        shown: Shown,
        authority: &Arc<Authority>,
    ) -> (Self, Wanted) {
        let (alive, gone) = oneshot::channel();
        let extensions = request.extensions();
        if let Some(heard) = extensions.get::<Heard>() {
            heard.note();
        }
        let connection = extensions.get::<Arc<Connection>>().cloned();
        let held = Self {
            shown,
            authority: authority.clone(),
            gone,
            leaving: match connection {
                Some(connection) => Box::pin(connection.leaving()),
                None => Box::pin(pending()),
            },
            pass: extensions.get::<Arc<Pass>>().cloned(),
            lasting: extensions.get::<Lasting>().cloned(),
        };
        (held, Wanted(alive))
    }
}

#[tonic::async_trait]
impl OnHold for HeldCall {
    async fn hold(
        &mut self,
        over: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Result<(), Interruption> {
        let _aside = self.pass.as_ref().map(|pass| pass.aside());
        let _lasting = self.lasting.as_ref().map(Lasting::begin);
        tokio::select! {
            biased;
            _ = &mut self.gone => Err(Interruption::CallerGone),
            alone = &mut self.leaving => Err(Interruption::Leaving { alone }),
            () = over => Ok(()),
        }
    }

    async fn caller_by_now(&mut self) -> Result<Arc<Caller>, Error> {
        let (proof, call) = (self.shown.proof(), &self.shown.call);
        let session = self.authority.caller_by_now(proof, call).await?;
        Ok(session.caller)
    }

    fn has_gone(&mut self) -> bool {
        self.gone.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }
}
