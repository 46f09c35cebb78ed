//! TLS of the server: its files are read at the start, from time to time, and on SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::authority::certificates::CertificateCallers;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, TlsConfig};
use crate::metrics::Metrics;
use crate::tls::{Reloaded, ServerTls};

use super::ServeError;

/// From when on a certificate's end is told in the log, at each reading.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads the certificates; `None` where plaintext is spoken.
pub(super) fn load(config: &Config) -> Result<Option<Arc<ServerTls>>, ServeError> {
    let Some(TlsConfig { files, .. }) = &config.tls else {
        return Ok(None);
    };
    let tls = ServerTls::load(files.clone(), Arc::new(SystemClock))
        .map_err(|error| ServeError::Config(format!("tls: {error}")))?;
    Ok(Some(Arc::new(tls)))
}

/// The callers that are known by their certificates.
pub(super) fn callers(config: &Config) -> CertificateCallers {
    let callers = config.certificate_callers.iter();
    CertificateCallers::new(callers.map(|caller| {
        let caller = caller.clone();
        (caller.name, caller.shows, caller.grants)
    }))
}

/// Reads the certificates again from time to time, and on SIGHUP.
pub(super) fn keep_fresh(
    config: &Config,
    tls: Option<&Arc<ServerTls>>,
    metrics: &Arc<Metrics>,
) -> Result<(), ServeError> {
    let (Some(tls), Some(TlsConfig { reload_every, .. })) = (tls.cloned(), &config.tls) else {
        return Ok(());
    };
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| ServeError::Failed(error.to_string()))?;
    let mut look = tokio::time::interval(*reload_every);
    let metrics = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = look.tick() => {}
                _ = hangup.recv() => {}
            }
            let reading = tls.clone();
            // Files may hang; calls do not wait for them.
            let read = tokio::task::spawn_blocking(move || reading.reload()).await;
            match read {
                Ok(Ok(Reloaded::Unchanged)) => {}
                Ok(Ok(Reloaded::Exchanged)) => {
                    tracing::info!(
                        subject = tls.certificate().subject,
                        "a new certificate is in use"
                    );
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "the certificates are not exchanged; the old ones stay in use");
                }
                Err(error) => tracing::error!(%error, "the certificates were not read again"),
            }
            let until = tls.certificate().validity.until;
            metrics.certificate_ends(until);
            let left = until.saturating_since(SystemClock.now());
            if left < ENDS_SOON {
                let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
                tracing::warn!(%left, "the certificate ends soon");
            }
        }
    });
    Ok(())
}
