//! Many futures of which most are over when they are first looked at: only the others become tasks.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinSet};

use crate::authority::call::CallId;

use super::call;

/// What is under way on behalf of one call. What became a task goes on whoever waits for it, so that
/// nobody who is slow to ask keeps what it holds; all end when this is dropped.
pub(super) struct Eager<F: Future> {
    id: CallId,
    /// Where the next future goes: one place for all of those that are over at once.
    place: Option<Pin<Box<F>>>,
    tasks: JoinSet<F::Output>,
}

impl<F> Eager<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    pub(super) fn of(id: CallId) -> Self {
        Self {
            id,
            place: None,
            tasks: JoinSet::new(),
        }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Begins a future, and answers what it answers if that is at once.
    pub(super) fn begin(&mut self, future: F, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut place = match self.place.take() {
            Some(mut place) => {
                place.set(future);
                place
            }
            None => Box::pin(future),
        };
        let polled = place.as_mut().poll(context);
        match &polled {
            Poll::Ready(_) => self.place = Some(place),
            Poll::Pending => drop(self.tasks.spawn(call::within(self.id.clone(), place))),
        }
        polled
    }

    /// The same within an async function.
    pub(super) async fn begun(&mut self, future: F) -> Poll<F::Output> {
        let mut future = Some(future);
        poll_fn(|context| {
            // It is polled once: the answer is ready either way.
            Poll::Ready(match future.take() {
                Some(future) => self.begin(future, context),
                None => Poll::Pending,
            })
        })
        .await
    }

    /// The next of those under way that is over; `None` where none is under way.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<F::Output, JoinError>>> {
        match self.tasks.is_empty() {
            true => Poll::Ready(None),
            false => self.tasks.poll_join_next(context),
        }
    }

    pub(super) async fn next(&mut self) -> Option<Result<F::Output, JoinError>> {
        self.tasks.join_next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use tokio::sync::oneshot;

    type Boxed = Pin<Box<dyn Future<Output = u32> + Send>>;

    #[tokio::test]
    async fn what_is_over_at_once_becomes_no_task_and_the_rest_goes_on_by_itself() {
        let mut eager = Eager::<Boxed>::of(CallId::for_test());
        assert_eq!(eager.begun(Box::pin(ready(1))).await, Poll::Ready(1));
        assert_eq!(eager.len(), 0);
        let (tell, told) = oneshot::channel();
        let (noted, note) = oneshot::channel();
        let waiting = async move {
            let told = told.await.unwrap();
            noted.send(()).unwrap();
            told
        };
        assert_eq!(eager.begun(Box::pin(waiting)).await, Poll::Pending);
        assert_eq!(eager.begun(Box::pin(ready(2))).await, Poll::Ready(2));
        assert_eq!(eager.len(), 1);
        tell.send(3).unwrap();
        // Nobody asks for it meanwhile.
        note.await.unwrap();
        assert_eq!(eager.next().await.unwrap().unwrap(), 3);
        assert!(eager.next().await.is_none());
    }
}
