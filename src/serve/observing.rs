//! What tells of the server: its metrics, where they are read, and where audit lines go.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::authority::act;
use crate::authority::coherence::Coherence;
use crate::authority::readiness::Readiness;
use crate::clock::SystemClock;
use crate::config::{AuditPlace, Config, MetricsPlace, StoreUrl};
use crate::metrics::{About, Exposition, Metrics, Now};
use crate::store::Store;
use crate::trail::Trail;
use crate::transport::connections::{Door, Homes, Listener, Place};
use crate::transport::gate::Gate;
use crate::transport::http::{Pages, Probes};

use super::{ServeError, listening};

/// All of it, made before anything else may fail.
pub(super) struct Observation {
    pub(super) metrics: Arc<Metrics>,
    pub(super) trail: Arc<Trail>,
    /// The metrics' own listener, where they have one.
    listener: Option<Listener>,
}

/// What is looked at when somebody reads the metrics.
pub(super) struct Sights {
    pub(super) gate: Arc<Gate>,
    pub(super) store: Arc<dyn Store>,
    pub(super) coherence: Arc<Coherence>,
    pub(super) readiness: watch::Receiver<Readiness>,
    pub(super) draining: watch::Receiver<bool>,
}

impl Sights {
    /// Readiness as health tells it.
    pub(super) fn now(&self) -> Now {
        let ready = match *self.draining.borrow() {
            true => Readiness::default(),
            false => *self.readiness.borrow(),
        };
        Now {
            calls_in_hand: self.gate.in_hand(),
            validates: ready.validate,
            manages: ready.manage,
            cache: self.coherence.remembered(),
            durability: self.store.durability().map(|class| class.as_str()),
        }
    }
}

impl Observation {
    pub(super) async fn begin(config: &Config) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::new(act::methods()));
        let listener = match &config.server.metrics {
            MetricsPlace::Own(addresses) => Some(listening::bind(addresses).await?),
            MetricsPlace::Beside | MetricsPlace::Off => None,
        };
        let trail = Arc::new(trail(&config.audit, &metrics)?);
        Ok(Self {
            metrics,
            trail,
            listener,
        })
    }

    /// The trail, where it leads to a file.
    pub(super) fn audit_file(&self, config: &Config) -> Option<Arc<Trail>> {
        matches!(config.audit, AuditPlace::File(_)).then(|| self.trail.clone())
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.listener.as_ref()?.place().ok()
    }

    /// Begins to serve the metrics where they have a listener of their own, until the answered task
    /// is aborted, and answers the pages that stand beside gRPC.
    pub(super) fn show(
        self,
        config: &Config,
        sights: Arc<Sights>,
    ) -> (Pages, Option<JoinHandle<()>>) {
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            store: match config.store.url {
                StoreUrl::Sqlite(_) => "sqlite",
                StoreUrl::Redis(_) => "redis",
            },
        };
        let probes = Pages::of_probes(Probes {
            readiness: sights.readiness.clone(),
            draining: sights.draining.clone(),
        });
        let exposition = Exposition::new(&self.metrics, about, move || sights.now());
        let metrics = probes.clone().with_metrics(Arc::new(exposition));
        match (self.listener, &config.server.metrics) {
            (Some(listener), _) => {
                let door = Door {
                    listeners: vec![listener],
                    tls: None,
                    bounds: listening::bounds(config),
                    metrics: self.metrics,
                    homes: Homes::default(),
                };
                let serving = tokio::spawn(metrics.serve(door, std::future::pending()));
                (probes, Some(serving))
            }
            (None, MetricsPlace::Beside) => (metrics, None),
            (None, _) => (probes, None),
        }
    }
}

fn trail(place: &AuditPlace, metrics: &Arc<Metrics>) -> Result<Trail, ServeError> {
    let (clock, metrics) = (Arc::new(SystemClock), metrics.clone());
    let refused = |place: String| {
        move |error: std::io::Error| ServeError::Config(format!("audit.to: {place}: {error}"))
    };
    match place {
        AuditPlace::Log => Ok(Trail::to_log()),
        AuditPlace::Stdout => {
            Trail::to_stdout(clock, metrics).map_err(refused("standard output".to_owned()))
        }
        AuditPlace::File(path) => {
            Trail::to_file(path, clock, metrics).map_err(refused(path.display().to_string()))
        }
    }
}
