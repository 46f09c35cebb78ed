//! The processes that are measured: each of its own, on a free port of loopback, ended when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use tempfile::TempDir;
use token_authority::transport::grpc::pb::ValidateResponse;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::child::OwnedChild;
use crate::support::redis_server::RedisServer;
use crate::{Fault, ceiling, machine};

/// The root token of the authorities, configured.
pub(crate) const ROOT_TOKEN: &str = "root-of-the-load-driver-0123456789-0123456789";

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, or several over one store. The fields are dropped in this order: the processes
/// before what they work on.
pub(crate) struct Server {
    children: Vec<OwnedChild>,
    pub(crate) connections: Vec<Channel>,
    /// Of each process, for connections beside those.
    pub(crate) endpoints: Vec<Endpoint>,
    redis: Option<RedisServer>,
    /// Kept until then.
    folders: Vec<TempDir>,
}

impl Server {
    /// The ceiling, in a process of its own, which is this very program.
    pub(crate) async fn ceiling(
        answer: &ValidateResponse,
        connections: usize,
    ) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("answer");
        fs::write(&file, answer.encode_to_vec())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ceiling::COMMAND).arg(file);
        Self::start(command, folder, None, connections).await
    }

    /// The real program on an SQLite file of its own.
    pub(crate) async fn on_sqlite(connections: usize) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let store = format!("sqlite:{}", folder.path().join("load.db").display());
        let command = authority(&["--store", &store], folder.path());
        Self::serving(Self::start(command, folder, None, connections).await?).await
    }

    /// The real program on a redis-server of its own, in so many processes, which share the
    /// connections.
    pub(crate) async fn on_redis(replicas: usize, connections: usize) -> Result<Self, Fault> {
        let redis = RedisServer::start();
        let each = connections.div_ceil(replicas);
        let mut all = Self {
            children: Vec::new(),
            connections: Vec::new(),
            endpoints: Vec::new(),
            redis: None,
            folders: Vec::new(),
        };
        for _ in 0..replicas {
            let folder = tempfile::tempdir()?;
            let command = authority(&["--store", &redis.url(), "--init-store"], folder.path());
            let one = Self::serving(Self::start(command, folder, None, each).await?).await?;
            all.children.extend(one.children);
            all.connections.extend(one.connections);
            all.endpoints.extend(one.endpoints);
            all.folders.extend(one.folders);
        }
        all.redis = Some(redis);
        Ok(all)
    }

    async fn start(
        mut command: Command,
        folder: TempDir,
        redis: Option<RedisServer>,
        connections: usize,
    ) -> Result<Self, Fault> {
        let log = folder.path().join("log");
        command.stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = OwnedChild::spawn(&mut command)?;
        let stdout = child.0.stdout.take().ok_or("no pipe to standard output")?;
        let first_line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, first_line).await???;
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.ok_or_else(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("a server did not start:\n{log}")
        })?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(endpoint.connect().await?);
        }
        Ok(Self {
            children: vec![child],
            connections: channels,
            endpoints: vec![endpoint],
            redis,
            folders: vec![folder],
        })
    }

    /// Waits until it says that it can answer Validate.
    async fn serving(self) -> Result<Self, Fault> {
        let mut health = HealthClient::new(self.connections[0].clone());
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            let answer = health.check(HealthCheckRequest::default()).await?;
            if answer.into_inner().status() == ServingStatus::Serving {
                return Ok(self);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("a server listens, but its health never says SERVING".into())
    }

    /// CPU time that the processes have used so far, and that their redis-server has.
    pub(crate) fn cpu(&self) -> (Option<Duration>, Option<Duration>) {
        let redis = self.redis.as_ref().map(RedisServer::process);
        let children = self.children.iter().map(|child| child.0.id());
        (
            children.map(machine::cpu_of).sum(),
            redis.and_then(machine::cpu_of),
        )
    }
}

/// `serve` with a configured root token, and nothing of the environment of whoever runs this.
fn authority(flags: &[&str], home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-authority"));
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(flags)
        .env_clear()
        .env("HOME", home)
        .env("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN);
    command
}
