//! The console, as the configuration says.

use std::sync::Arc;

use crate::authority::Authority;
use crate::config::{Config, StoreUrl};
use crate::transport::connections::Door;
use crate::transport::gate::Gate;
use crate::transport::http::console::{Console, Setup, Terms};

use super::observing::Sights;

pub(super) fn console(
    config: &Config,
    authority: &Arc<Authority>,
    gate: &Arc<Gate>,
    sights: Arc<Sights>,
) -> Console {
    Console::new(Setup {
        authority: authority.clone(),
        gate: gate.clone(),
        deadline: config.limits.call_deadline,
        terms: Terms {
            idle: config.console.session_idle,
            longest: config.console.session_max,
        },
        tls: config.tls.is_some(),
        store: match config.store.url {
            StoreUrl::Sqlite(_) => "SQLite",
            StoreUrl::Redis(_) => "Redis",
        },
        look: Box::new(move || sights.now()),
    })
}

/// Answers at that door until `stop` is over; nothing where there is none.
pub(super) async fn serve(console: Console, door: Option<Door>, stop: impl Future<Output = ()>) {
    if let Some(door) = door {
        console.serve(door, stop).await;
    }
}
