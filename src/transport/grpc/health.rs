//! `grpc.health.v1.Health`: truthful, and NOT_SERVING before ready and while draining.

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::authority::readiness::Readiness;

/// Whether Validate can answer.
const VALIDATES: [&str; 3] = [
    "",
    "envoy.service.auth.v3.Authorization",
    "tokenauthority.v1.TokenService",
];
/// Whether changes can be kept.
const MANAGES: &str = "tokenauthority.v1.TokenService.management";

/// Says NOT_SERVING of every name, so that none is unknown when the socket opens.
pub(super) async fn begin(reporter: &HealthReporter) {
    tell(reporter, Readiness::default()).await;
}

/// Reports readiness until `draining` turns true; then NOT_SERVING for good.
pub(super) async fn follow(
    reporter: HealthReporter,
    mut readiness: watch::Receiver<Readiness>,
    mut draining: watch::Receiver<bool>,
) {
    loop {
        let now = *readiness.borrow_and_update();
        tell(&reporter, now).await;
        tokio::select! {
            changed = readiness.changed() => if changed.is_err() { break },
            _ = draining.wait_for(|draining| *draining) => break,
        }
    }
    tell(&reporter, Readiness::default()).await;
}

async fn tell(reporter: &HealthReporter, readiness: Readiness) {
    let status = |serving| {
        if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    for name in VALIDATES {
        reporter
            .set_service_status(name, status(readiness.validate))
            .await;
    }
    reporter
        .set_service_status(MANAGES, status(readiness.manage))
        .await;
}
