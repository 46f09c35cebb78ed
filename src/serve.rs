//! The composition root: configuration, store, authority, listener, drain. Nothing else knows all of
//! them, and nothing else names a concrete store.

mod root_token;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::authority::Authority;
use crate::authority::access::Root;
use crate::authority::readiness::{self, Readiness};
use crate::clock::SystemClock;
use crate::config::args::ServeArgs;
use crate::config::{self, Config, ConfigError, RootToken, ServerConfig, StoreConfig, StoreUrl};
use crate::store::redis::{RedisOptions, RedisStore};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Durability, Store, StoreId};
use crate::telemetry;
use crate::transport::grpc::gate::Gate;
use crate::transport::grpc::{self, Bounds};

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Store(String),
    #[error("cannot listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("{0}")]
    Failed(String),
}

impl ServeError {
    /// The process's exit code: 2 for configuration, 6 for the store and the socket, else 7.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Store(_) | Self::Listen { .. } => 6,
            Self::Failed(_) => 7,
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
    let config = prepare(args)?;
    runtime()?.block_on(run(config, init_store))
}

/// Writes the identity marker of a Redis store and answers its id; where it stands already, only
/// answers it.
pub fn init(args: &ServeArgs) -> Result<String, ServeError> {
    let config = prepare(args)?;
    runtime()?.block_on(async {
        match &config.store.url {
            StoreUrl::Sqlite(_) => Err(ServeError::Config(
                "a SQLite store needs no init: serve creates it".to_owned(),
            )),
            StoreUrl::Redis(url) => init_redis(&config.store, url)
                .await
                .map(|id| id.to_string()),
        }
    })
}

fn prepare(args: &ServeArgs) -> Result<Config, ServeError> {
    let config = Config::load(args, &config::environment())?;
    telemetry::init(&config.log).map_err(ServeError::Config)?;
    Ok(config)
}

fn runtime() -> Result<tokio::runtime::Runtime, ServeError> {
    tokio::runtime::Runtime::new().map_err(|error| ServeError::Failed(error.to_string()))
}

async fn run(config: Config, init_store: bool) -> Result<(), ServeError> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), store = %config.store.url, "starting");
    let (store, roots) = open(&config, init_store).await?;
    let address = config.server.listen;
    let listen_error = |error| ServeError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    announce(listener.local_addr().map_err(listen_error)?, &config);

    let roots = roots
        .into_iter()
        .map(|RootToken { name, digest }| Root::new(name, digest))
        .collect();
    let mut brands = config.accepted_brands.into_iter();
    let authority = Authority::new(store.clone(), roots, config.brand, brands.by_ref().skip(1))
        .map_err(|error| ServeError::Failed(error.to_string()))?;
    let (ready, readiness) = watch::channel(Readiness::default());
    let watching = tokio::spawn(readiness::watch(store.clone(), ready));
    let bounds = Bounds {
        message_bytes: config.limits.message_bytes,
        calls_per_connection: config.limits.calls_per_connection,
        call_deadline: config.limits.call_deadline,
    };
    let gate = Gate::new(config.limits.calls_in_flight);
    let (drain, draining) = watch::channel(false);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = async {
        // An error means that the sender is gone: time to stop all the same.
        let _ = stopped.await;
    };
    let authority = Arc::new(authority);
    let serving = grpc::serve(
        listener,
        authority,
        gate.clone(),
        bounds,
        readiness,
        draining,
        stopping,
    );
    let mut serving = std::pin::pin!(serving);
    let failed =
        |error: Box<dyn std::error::Error + Send + Sync>| ServeError::Failed(error.to_string());
    tokio::select! {
        ended = &mut serving => return ended.map_err(failed),
        signal = asked_to_stop() => tracing::info!(signal = signal?, "draining"),
    }
    drain.send_replace(true);
    let drained = drained(&config.server, &gate, stop, serving).await;
    watching.abort();
    store.close().await;
    tracing::info!(drained, "stopped");
    Ok(())
}

/// Lets calls in hand finish; answers whether they did before the deadline.
///
/// Connections that stay open, idle, silent or with endless streams, are not waited for: once no
/// call is in hand, only their last bytes are.
async fn drained<T>(
    server: &ServerConfig,
    gate: &Gate,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: impl Future<Output = T> + Unpin,
) -> bool {
    let last_bytes = std::time::Duration::from_millis(200);
    let mut serving = serving;
    let drain = async {
        tokio::select! {
            // Connections are served by their own tasks; this keeps accepting during the delay.
            _ = &mut serving => return,
            () = tokio::time::sleep(server.drain_delay) => {}
        }
        gate.close();
        let _ = stop.send(());
        // Both, since a call may outlive its connection, and a connection its calls.
        let served = tokio::select! {
            _ = &mut serving => true,
            () = gate.emptied() => false,
        };
        if served {
            gate.emptied().await;
        } else {
            let _ = tokio::time::timeout(last_bytes, &mut serving).await;
        }
    };
    tokio::time::timeout(server.drain_delay + server.drain_deadline, drain)
        .await
        .is_ok()
}

async fn asked_to_stop() -> Result<&'static str, ServeError> {
    let failed = |error: std::io::Error| ServeError::Failed(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Opens the store and settles who is root.
async fn open(
    config: &Config,
    init_store: bool,
) -> Result<(Arc<dyn Store>, Vec<RootToken>), ServeError> {
    match &config.store.url {
        StoreUrl::Sqlite(path) => {
            let options = SqliteOptions {
                path: path.clone(),
                require_existing: config.store.require_existing,
                clock: Arc::new(SystemClock),
            };
            let store =
                SqliteStore::open(options).map_err(|error| ServeError::Store(error.to_string()))?;
            let roots = root_token::settle(config, &store).await?;
            Ok((Arc::new(store), roots))
        }
        StoreUrl::Redis(url) => {
            if config.root_tokens.is_empty() {
                return Err(ServeError::Config(
                    "with Redis a root token must be configured: set TOKEN_AUTHORITY_ROOT_TOKEN, \
                     TOKEN_AUTHORITY_ROOT_TOKEN_FILE or access.root_tokens"
                        .to_owned(),
                ));
            }
            if init_store {
                let id = init_redis(&config.store, url).await?;
                tracing::info!(store_id = %id, "the store carries its marker");
            }
            let store = RedisStore::start(redis_options(&config.store, url)?)
                .map_err(|error| ServeError::Config(error.to_string()))?;
            Ok((Arc::new(store), config.root_tokens.clone()))
        }
    }
}

async fn init_redis(config: &StoreConfig, url: &str) -> Result<StoreId, ServeError> {
    let options = redis_options(config, url)?;
    crate::store::redis::init(&options)
        .await
        .map_err(|error| ServeError::Store(error.to_string()))
}

fn redis_options(config: &StoreConfig, url: &str) -> Result<RedisOptions, ServeError> {
    let invalid = |key: &str, why: String| ServeError::Config(format!("{key}: {why}"));
    let store_id = config.id.as_deref().map(StoreId::parse).transpose();
    let class = Durability::ALL
        .into_iter()
        .find(|class| class.as_str() == config.min_durability);
    let demandable = class.filter(|class| *class < Durability::Embedded);
    Ok(RedisOptions {
        url: url.to_owned(),
        prefix: config.redis_prefix.clone(),
        store_id: store_id.map_err(|flaw| invalid("store.id", flaw.to_string()))?,
        min_durability: demandable.ok_or_else(|| {
            invalid(
                "store.min_durability",
                "must be \"none\", \"1s\" or \"strict\"".to_owned(),
            )
        })?,
        accept_eviction: config.accept_eviction,
        connections: config.redis_connections,
        read_timeout: config.read_timeout,
        write_timeout: config.write_timeout,
        clock: None,
    })
}

/// Says on standard output, alone on a line, where the socket is; and, for people, how to call it.
fn announce(address: SocketAddr, config: &Config) {
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop.
    let _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
    let token = match &config.root_token_file {
        Some(path) if config.root_tokens.is_empty() => format!("$(cat {})", path.display()),
        _ => "YOUR_ROOT_TOKEN".to_owned(),
    };
    let _ = write!(
        std::io::stderr().lock(),
        "\nTry it:\n  \
           token-authority token create --name hello\n  \
           grpcurl -plaintext {address} describe tokenauthority.v1.TokenService\n  \
           grpcurl -plaintext -H \"authorization: Bearer {token}\" -d '{{\"name\":\"hello\"}}' \\\n    \
             {address} tokenauthority.v1.TokenService/Create\n\n"
    );
}
