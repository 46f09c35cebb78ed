//! SIGHUP: whatever lies in files and may have been exchanged there is looked at again.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::trail::Trail;

use super::ServeError;

/// SIGHUP, which no longer ends the process once this exists.
pub(super) struct Hangups(Signal);

impl Hangups {
    pub(super) fn catch() -> Result<Self, ServeError> {
        signal(SignalKind::hangup())
            .map(Self)
            .map_err(|error| ServeError::Failed(error.to_string()))
    }

    /// Attends to each until the process ends: opens the file of audit lines again, and has the
    /// certificates looked at, as far as there are any.
    pub(super) fn attend(self, audit_file: Option<Arc<Trail>>, certificates: Option<Arc<Notify>>) {
        let Self(mut hangups) = self;
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                if let Some(trail) = &audit_file {
                    trail.reopen();
                    tracing::info!("SIGHUP: the audit file is opened again");
                }
                if let Some(look) = &certificates {
                    look.notify_one();
                    tracing::info!("SIGHUP: the certificates are read again");
                }
                if audit_file.is_none() && certificates.is_none() {
                    tracing::info!("SIGHUP: there is nothing to read again");
                }
            }
        });
    }
}
