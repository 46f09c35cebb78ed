//! Attending: who waits for replicas looks together how far they have come.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::coherence::registry::Attendance;
use crate::store::Store;

/// Time between two looks: at first, since replicas answer within a millisecond as a rule, and at the
/// longest.
pub(super) const SOON: Duration = Duration::from_millis(1);
pub(super) const LATE: Duration = Duration::from_millis(16);
/// How old a look of another may be.
const SHARED: Duration = Duration::from_micros(500);

/// The last look, which many share.
#[derive(Default)]
pub(super) struct Attending(Mutex<Option<Look>>);

struct Look {
    /// Before it was asked for.
    begun: Instant,
    attendance: Arc<Attendance>,
}

impl Attending {
    /// Looks, or answers what another has just seen; `None` where the store does not answer within
    /// `limit`.
    pub(super) async fn look(
        &self,
        store: &Arc<dyn Store>,
        limit: Duration,
    ) -> Option<Arc<Attendance>> {
        let end = Instant::now() + limit;
        let mut last = tokio::time::timeout_at(end, self.0.lock()).await.ok()?;
        if let Some(look) = last.as_ref().filter(|look| look.begun.elapsed() <= SHARED) {
            return Some(look.attendance.clone());
        }
        let begun = Instant::now();
        let answer = tokio::time::timeout_at(end, store.attendance()).await;
        let attendance = Arc::new(answer.ok()?.ok()?);
        *last = Some(Look {
            begun,
            attendance: attendance.clone(),
        });
        Some(attendance)
    }
}
