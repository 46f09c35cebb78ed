//! TLS of the server: its files are read at the start, from time to time, and on SIGHUP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::authority::certificates::CertificateCallers;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, TlsConfig};
use crate::domain::time::Timestamp;
use crate::metrics::Metrics;
use crate::tls::{Reloaded, ServerTls, TlsError, Validity};

use super::ServeError;

#[cfg(test)]
mod tests;

/// How often an end that comes near is told in the log.
const REMINDED_EVERY: Duration = Duration::from_secs(24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

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

/// Reads the certificates again from time to time, and whenever the answered value is notified;
/// `None` without TLS.
pub(super) fn keep_fresh(
    config: &Config,
    tls: Option<&Arc<ServerTls>>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Notify>> {
    let (tls, every) = (tls.cloned()?, config.tls.as_ref()?.reload_every);
    let metrics = metrics.clone();
    let look = Arc::new(Notify::new());
    let asked = look.clone();
    tokio::spawn(async move {
        let mut words = Words::default();
        loop {
            let certificate = tls.certificate();
            metrics.certificate_ends(certificate.validity.until);
            let now = SystemClock.now();
            words.remind(nearness(certificate.validity, now), certificate.validity);
            words.lists(tls.lists_end().is_some_and(|end| end < now));
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = asked.notified() => {}
            }
            match read_again(tls.clone()).await {
                Ok(Reloaded::Unchanged) => words.sound(),
                Ok(Reloaded::Exchanged) => {
                    words.sound();
                    tracing::info!(
                        subject = tls.certificate().subject,
                        "the certificates that were read are in use"
                    );
                }
                Err(error) => {
                    metrics.certificate_reloads_failed.inc();
                    words.failed(error);
                }
            }
        }
    });
    Some(look)
}

/// Reads on a thread of its own: a disk that hangs keeps neither calls nor the end of the process
/// waiting.
async fn read_again(tls: Arc<ServerTls>) -> Result<Reloaded, String> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name("certificates".to_owned())
        .spawn(move || {
            // Nobody listens any more when the process ends.
            let _ = tell.send(tls.reload());
        })
        .map_err(|error| error.to_string())?;
    let read = told.await.map_err(|error| error.to_string())?;
    read.map_err(|error: TlsError| error.to_string())
}

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    #[default]
    Far,
    /// Less than 30 days, or a quarter of its life where that is shorter: by then whoever renews
    /// certificates in time, which is at a third, has done so.
    Soon,
    /// Less than 7 days, or a twelfth of its life.
    Near,
    Over,
}

pub(super) fn nearness(validity: Validity, now: Timestamp) -> Nearness {
    let Some(left) = validity.left(now) else {
        return Nearness::Over;
    };
    let life = validity.life();
    if left < (7 * DAY).min(life / 12) {
        Nearness::Near
    } else if left < (30 * DAY).min(life / 4) {
        Nearness::Soon
    } else {
        Nearness::Far
    }
}

/// What was said in the log, so that the same is not said at each look.
#[derive(Default)]
struct Words {
    reminded: Option<(Nearness, Instant)>,
    lists: Option<Instant>,
    failure: Option<String>,
}

impl Words {
    fn remind(&mut self, nearness: Nearness, validity: Validity) {
        let said = self.reminded;
        let again =
            said.is_none_or(|(before, at)| nearness != before || at.elapsed() >= REMINDED_EVERY);
        if !again {
            return;
        }
        self.reminded = Some((nearness, Instant::now()));
        let left = validity.left(SystemClock.now()).unwrap_or_default();
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        match nearness {
            Nearness::Far => {}
            Nearness::Soon => tracing::warn!(%left, "the certificate ends soon"),
            Nearness::Near => tracing::error!(%left, "the certificate ends very soon"),
            Nearness::Over => tracing::error!("the certificate in use has ended"),
        }
    }

    fn lists(&mut self, ended: bool) {
        if !ended {
            self.lists = None;
        } else if self.lists.is_none_or(|at| at.elapsed() >= REMINDED_EVERY) {
            self.lists = Some(Instant::now());
            tracing::warn!(
                "a list of revoked certificates has ended: it still counts, but newer ones are missing"
            );
        }
    }

    fn sound(&mut self) {
        if self.failure.take().is_some() {
            tracing::info!("nothing is wrong with the certificates any more");
        }
    }

    fn failed(&mut self, error: String) {
        if self.failure.as_ref() != Some(&error) {
            tracing::error!(
                error,
                "the certificates are not exchanged; the old ones stay in use"
            );
            self.failure = Some(error);
        }
    }
}
