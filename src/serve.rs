//! The composition root: configuration, store, authority, listener, drain. Nothing else knows all of
//! them, and nothing else names a concrete store.

mod consoles;
mod counting;
pub mod doctor;
mod encryption;
mod hangup;
mod listening;
mod observing;
mod process;
mod root_token;
mod sidecars;
mod stop;
mod stores;
mod suggestions;
mod supervisor;
mod token_file;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::authority::access::Root;
use crate::authority::mint::Mint;
use crate::authority::readiness::{self, Readiness};
use crate::authority::{Authority, CacheBounds};
use crate::authority::{ending, heartbeat};
use crate::authority::{sweeper, telling};
use crate::config::args::ServeArgs;
use crate::config::{self, Config, ConfigError, Environment, LimitsConfig, RootToken};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::measured::Measured;
use crate::telemetry;
use crate::transport::connections::{Door, Homes, Place};
use crate::transport::gate::Gate;
use crate::transport::grpc::{self, Bounds, ReflectionError, Setup};
use crate::transport::http::console::Console;
use crate::transport::http::sidecar::ForwardAuth;

use counting::Counting;
use hangup::Hangups;
use observing::{Observation, Sights};
use sidecars::SideDoor;
use stop::{Caught, Signals};
use suggestions::Acquaintance;
use workers::Threads;

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Store(String),
    #[error("cannot listen on {place}: {error}")]
    Listen { place: Place, error: std::io::Error },
    #[error("{0}")]
    Failed(String),
    #[error(
        "worker {0} panicked and serves nobody any more, which is a bug; calls in hand were cut off"
    )]
    Lost(usize),
    #[error("stopped at once by a second {}; calls in hand were cut off", .0.name())]
    Cut(Caught),
}

impl ServeError {
    /// The process's exit code: 2 for configuration, 6 for the store and the socket, that of the
    /// signal where a second one ended it, else 7.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Store(_) | Self::Listen { .. } => 6,
            Self::Failed(_) | Self::Lost(_) => 7,
            Self::Cut(signal) => signal.exit_code(),
        }
    }
}

impl From<ConfigError> for ServeError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<ServeError> for ExitCode {
    fn from(error: ServeError) -> Self {
        Self::from(error.exit_code())
    }
}

/// Serves until SIGTERM or SIGINT, then drains. `init_store` first writes the marker of a Redis
/// store that has none.
pub fn serve(args: &ServeArgs, init_store: bool) -> Result<(), ServeError> {
    let memory = process::keep_memory_private();
    let (config, _) = checked(args, &config::environment()?)?;
    start_log(&config)?;
    memory.tell();
    process::make_room(&config);
    let Threads { main, mut workers } =
        Threads::start(&config.server).map_err(|error| ServeError::Failed(error.to_string()))?;
    let runtimes = workers.runtimes();
    let served = main.block_on(async {
        tokio::select! {
            served = run(config, init_store, runtimes) => served,
            number = workers.lost() => Err(ServeError::Lost(number)),
        }
    });
    match &served {
        // At once: nothing that still runs is waited for.
        Err(ServeError::Cut(_) | ServeError::Lost(_)) => {
            workers.end_at_once();
            main.shutdown_background();
        }
        _ => workers.end(),
    }
    served
}

/// Writes the identity marker of a Redis store and answers its id; where it stands already, only
/// answers it.
pub fn init(args: &ServeArgs) -> Result<String, ServeError> {
    let config = Config::load(args, &config::environment()?)?;
    start_log(&config)?;
    let id = runtime()?.block_on(stores::init(&config))?;
    Ok(id.to_string())
}

/// The effective configuration as TOML, with every secret redacted; an error where `serve` would
/// refuse it.
pub fn effective(args: &ServeArgs, environment: &Environment) -> Result<String, ServeError> {
    checked(args, environment).map(|(_, text)| text)
}

/// The configuration of a server, and its text: the one way of `serve` and `config`.
fn checked(args: &ServeArgs, environment: &Environment) -> Result<(Config, String), ServeError> {
    let (config, text) = Config::load_and_print(args, environment)?;
    stores::check(&config)?;
    Ok((config, text))
}

fn start_log(config: &Config) -> Result<(), ServeError> {
    telemetry::init(&config.log).map_err(ServeError::Config)
}

fn runtime() -> Result<tokio::runtime::Runtime, ServeError> {
    tokio::runtime::Runtime::new().map_err(|error| ServeError::Failed(error.to_string()))
}

/// Connections live on `workers`, or where there are none, on the runtime that this runs on.
async fn run(config: Config, init_store: bool, workers: Vec<Handle>) -> Result<(), ServeError> {
    // Before anybody can know of the server, and so tell it to stop.
    let mut signals = Signals::catch()?;
    let hangups = Hangups::catch()?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), store = %config.store.url, "starting");
    // Before the store, which may be made anew: a start that cannot succeed leaves nothing behind.
    let tls = encryption::load(&config)?;
    let mode = config.server.unix_mode;
    let listeners = listening::bind_places(&config.server.listen, mode).await?;
    let places = listening::places(&listeners)?;
    let forward = SideDoor::bind(&config, &config.forward_auth.listen).await?;
    let console = SideDoor::bind(&config, &config.console.listen).await?;
    let placed = |door: Option<&SideDoor>| door.map_or(Ok(Vec::new()), SideDoor::places);
    let mut further = vec![
        ("forward-auth", placed(forward.as_ref())?),
        ("console", placed(console.as_ref())?),
    ];
    let observation = Observation::begin(&config).await?;
    let fresh = encryption::keep_fresh(&config, tls.as_ref(), &observation.metrics);
    hangups.attend(observation.audit_file(&config), fresh);
    let (store, roots) = tokio::select! {
        opened = stores::open(&config, init_store) => opened?,
        signal = signals.next() => {
            tracing::info!(signal = signal.name(), "stopped before it served");
            return Ok(());
        }
    };
    // Else machines read standard error.
    let people = !config.log.json;
    let known = people.then(|| Acquaintance::of(&config, roots.file.clone(), tls.as_deref()));
    further.push(("metrics", observation.place().into_iter().collect()));
    listening::announce(&places, &further, known.as_ref());
    let store = Arc::new(Measured::new(store, observation.metrics.clone()));
    let door = Door {
        listeners,
        tls,
        bounds: listening::bounds(&config),
        homes: Homes::on(workers, &observation.metrics.connections),
        metrics: observation.metrics.clone(),
    };
    let doors = Doors {
        forward_auth: forward.map(|forward| forward.beside(&door)),
        console: console.map(|console| console.beside(&door)),
        grpc: door,
    };
    serve_store(config, store, roots.tokens, doors, observation, signals).await
}

/// Where calls come from.
struct Doors {
    grpc: Door,
    /// `None` where it is off.
    forward_auth: Option<Door>,
    /// The same.
    console: Option<Door>,
}

impl Doors {
    /// Answers at all of them until `stopped` is heard and every connection has gone.
    async fn serve(
        self,
        calls: Setup,
        (forwarding, console): (ForwardAuth, Console),
        (readiness, draining): (watch::Receiver<Readiness>, watch::Receiver<bool>),
        stopped: oneshot::Receiver<()>,
    ) -> Result<(), ReflectionError> {
        let leaving = stop::shared(stopped);
        let grpc = grpc::serve(self.grpc, calls, readiness, draining, leaving());
        let forwarding = sidecars::serve(forwarding, self.forward_auth, leaving());
        let console = consoles::serve(console, self.console, leaving());
        let (served, (), ()) = tokio::join!(grpc, forwarding, console);
        served
    }
}

/// The authority over a store, as the configuration says.
fn authority(
    config: &Config,
    store: &Arc<dyn Store>,
    roots: Vec<RootToken>,
) -> Result<Authority, ServeError> {
    let root = |RootToken { name, digest }| Root::new(name, digest);
    let roots = roots.into_iter().map(root).collect();
    let (brand, accepted) = (config.brand.clone(), config.accepted_brands.clone());
    let mint = Mint::new(brand, accepted, config.keyring.clone());
    let authority = Authority::new(store.clone(), roots, mint)
        .map_err(|error| ServeError::Failed(error.to_string()))?;
    Ok(authority
        .with_policies(config.policies.clone())
        .with_cache(CacheBounds {
            entries: config.cache.max_entries,
            bytes: config.cache.max_bytes,
        })
        .with_failure_budget(config.limits.failures_per_minute)
        .with_usage(config.usage.terms.clone())
        .with_leases(config.leases.terms, config.leases.waiting_max)
        .with_certificates(encryption::callers(config)))
}

/// What answers over HTTP at doors of its own.
fn over_http(
    config: &Config,
    authority: &Arc<Authority>,
    gate: &Arc<Gate>,
    sights: Arc<Sights>,
) -> (ForwardAuth, Console) {
    let forward_auth = sidecars::forward_auth(config, authority, gate);
    (
        forward_auth,
        consoles::console(config, authority, gate, sights),
    )
}

fn bounds(limits: &LimitsConfig) -> Bounds {
    Bounds {
        message_bytes: limits.message_bytes,
        call_deadline: limits.call_deadline,
        stream_messages: limits.stream_messages,
    }
}

/// What goes on as long as calls are taken: telling what happens, removing what ended long ago, and, where
/// tokens may be named, showing which end next.
fn tidying(
    authority: &Authority,
    store: &Arc<dyn Store>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Vec<JoinHandle<()>> {
    let every = config.retention.sweep_every;
    let mut tasks = vec![
        tokio::spawn(authority.watching().keep()),
        tokio::spawn(telling::tell(store.clone())),
        tokio::spawn(sweeper::sweep(store.clone(), every)),
    ];
    if config.usage.token_metrics {
        let showing = ending::show(store.clone(), metrics.clone());
        tasks.push(tokio::spawn(showing));
    }
    tasks
}

/// Serves what is in `store` until told to stop, and drains.
async fn serve_store(
    config: Config,
    store: Arc<dyn Store>,
    roots: Vec<RootToken>,
    doors: Doors,
    observation: Observation,
    mut signals: Signals,
) -> Result<(), ServeError> {
    let (metrics, trail) = (observation.metrics.clone(), observation.trail.clone());
    let authority = authority(&config, &store, roots)?.observed(metrics.clone(), trail.clone());
    let coherence = authority.coherence();
    let renewing = tokio::spawn(coherence.clone().keep());
    let counting = Counting::begin(&config, &authority, &store)?;
    let (ready, readiness) = watch::channel(Readiness::default());
    let watching = tokio::spawn(readiness::watch(store.clone(), authority.reserve(), ready));
    let beating = tokio::spawn(heartbeat::beat(store.clone()));
    let tidying = tidying(&authority, &store, &config, &metrics);
    let limits = &config.limits;
    let gate = Gate::of_calls(limits.calls_in_flight, limits.calls_per_address);
    let (drain, draining) = watch::channel(false);
    let (stop, stopped) = oneshot::channel::<()>();
    let sights = Sights {
        gate: gate.clone(),
        store: store.clone(),
        coherence: coherence.clone(),
        readiness: readiness.clone(),
        draining: draining.clone(),
    };
    let sights = Arc::new(sights);
    let (http, showing) = observation.show(&config, sights.clone());
    let authority = Arc::new(authority);
    let over_http = over_http(&config, &authority, &gate, sights);
    let setup = Setup {
        authority,
        metrics,
        gate: gate.clone(),
        streams: Gate::of_streams(limits.streams, limits.streams_per_address),
        bounds: bounds(limits),
        ext_authz: sidecars::ext_authz(&config.ext_authz),
        http,
    };
    let (supervision, homes) = (config.supervision.as_ref(), doors.grpc.homes.clone());
    supervisor::follow(supervision, readiness.clone(), drain.subscribe(), homes);
    let serving = doors.serve(setup, over_http, (readiness, draining), stopped);
    let mut serving = std::pin::pin!(serving);
    let failed = |error: ReflectionError| ServeError::Failed(error.to_string());
    tokio::select! {
        ended = &mut serving => return ended.map_err(failed),
        signal = signals.next() => tracing::info!(signal = signal.name(), "draining"),
    }
    drain.send_replace(true);
    let since = Instant::now();
    tidying.iter().for_each(JoinHandle::abort);
    let ending = async {
        let drained = stop::drained(&config.server, &gate, stop, serving).await;
        watching.abort();
        beating.abort();
        renewing.abort();
        // To its end: what it is just doing would else bring the lease back.
        let _ = renewing.await;
        coherence.give_up().await;
        counting.end(&config.server, since).await;
        store.close().await;
        trail.close().await;
        if let Some(showing) = showing {
            showing.abort();
        }
        drained
    };
    tokio::select! {
        drained = ending => tracing::info!(drained, "stopped"),
        signal = signals.next() => {
            // Calls are cut off; what was done is told all the same.
            trail.close().await;
            return Err(ServeError::Cut(signal));
        }
    }
    Ok(())
}
