//! The processes that are measured: each of its own, on a free port of loopback, ended when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use tempfile::TempDir;
use token_authority::transport::grpc::pb::ValidateResponse;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::ceiling::{self, Shape};
use crate::support::child::OwnedChild;
use crate::support::redis_server::RedisServer;
use crate::{Fault, machine};

/// The root token of the authorities, configured.
pub(crate) const ROOT_TOKEN: &str = "root-of-the-load-driver-0123456789-0123456789";

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, or several over one store. The fields are dropped in this order: the processes
/// before what they work on.
pub(crate) struct Server {
    children: Vec<OwnedChild>,
    /// Where each process listens.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) connections: Vec<Channel>,
    /// Of each process, for connections beside those.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) redis: Option<RedisServer>,
    /// Kept until then.
    folders: Vec<TempDir>,
    /// From before the last process was started until it said that it serves.
    pub(crate) started_in: Duration,
}

impl Server {
    /// The ceiling, in a process of its own, which is this very program.
    pub(crate) async fn ceiling(
        shape: Shape,
        answer: &ValidateResponse,
        connections: usize,
    ) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("answer");
        fs::write(&file, answer.encode_to_vec())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ceiling::COMMAND, shape.word()]).arg(file);
        Self::start(command, folder, None, connections).await
    }

    /// The real program on an SQLite file of its own, with more flags.
    pub(crate) async fn on_sqlite(connections: usize, flags: &[&str]) -> Result<Self, Fault> {
        Self::on_sqlite_in(tempfile::tempdir()?, connections, flags).await
    }

    /// The same on the file that lies in a folder, if one does.
    pub(crate) async fn on_sqlite_in(
        folder: TempDir,
        connections: usize,
        flags: &[&str],
    ) -> Result<Self, Fault> {
        let begun = Instant::now();
        let store = format!("sqlite:{}", database_in(&folder).display());
        let flags = [&["--store", &store], flags].concat();
        let command = authority(&flags, folder.path());
        let started = Self::start(command, folder, None, connections).await?;
        started.serving(begun).await
    }

    /// The real program on a redis-server of its own, in so many processes, which share the
    /// connections.
    pub(crate) async fn on_redis(
        replicas: usize,
        connections: usize,
        flags: &[&str],
    ) -> Result<Self, Fault> {
        Self::over(RedisServer::start(), replicas, connections, flags).await
    }

    /// The same over one that runs already.
    pub(crate) async fn over(
        redis: RedisServer,
        replicas: usize,
        connections: usize,
        flags: &[&str],
    ) -> Result<Self, Fault> {
        let each = connections.div_ceil(replicas);
        let mut all = Self {
            children: Vec::new(),
            addresses: Vec::new(),
            connections: Vec::new(),
            endpoints: Vec::new(),
            redis: None,
            folders: Vec::new(),
            started_in: Duration::ZERO,
        };
        for _ in 0..replicas {
            let (folder, begun) = (tempfile::tempdir()?, Instant::now());
            let url = redis.url();
            let flags = [&["--store", &url, "--init-store"], flags].concat();
            let command = authority(&flags, folder.path());
            let one = Self::start(command, folder, None, each).await?;
            let one = one.serving(begun).await?;
            all.started_in = one.started_in;
            all.addresses.extend(one.addresses);
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
            addresses: vec![address.parse()?],
            connections: channels,
            endpoints: vec![endpoint],
            redis,
            folders: vec![folder],
            started_in: Duration::ZERO,
        })
    }

    /// Waits until it says that it can answer Validate; it was started at `begun`.
    async fn serving(mut self, begun: Instant) -> Result<Self, Fault> {
        let mut health = HealthClient::new(self.connections[0].clone());
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            let answer = health.check(HealthCheckRequest::default()).await?;
            if answer.into_inner().status() == ServingStatus::Serving {
                self.started_in = begun.elapsed();
                return Ok(self);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
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

impl Server {
    /// Bytes that the processes have in memory, together.
    pub(crate) fn resident(&self) -> Option<u64> {
        let children = self.children.iter().map(|child| child.0.id());
        children.map(machine::resident_of).sum()
    }

    /// How often the processes have asked their store so far about a token: what `find` and `take` count.
    pub(crate) fn looks(&self) -> Result<Option<u64>, Fault> {
        let mut looks = None;
        // A ceiling has no metrics, and started in no time that would be told.
        let telling = self.addresses.iter().filter(|_| !self.started_in.is_zero());
        for address in telling {
            for line in metrics(*address)?.lines() {
                let asks = ["find", "take"].map(|name| format!("{{operation=\"{name}\"}} "));
                let value = line.strip_prefix("token_authority_store_duration_seconds_count");
                let value =
                    value.and_then(|rest| asks.iter().find_map(|ask| rest.strip_prefix(ask)));
                if let Some(value) = value {
                    *looks.get_or_insert(0) += value.parse::<u64>()?;
                }
            }
        }
        Ok(looks)
    }

    /// What the processes counted that went wrong, for people.
    pub(crate) fn failures(&self) -> Result<String, Fault> {
        let mut failures = Vec::new();
        for address in &self.addresses {
            let counted = ["token_authority_store_errors_total", "token_authority_rpc_"];
            for line in metrics(*address)?.lines() {
                let is_count = line.starts_with(counted[0])
                    || (line.starts_with(counted[1]) && line.contains("_count{"));
                if is_count && !line.contains("code=\"OK\"") && !line.ends_with(" 0") {
                    failures.push(line.to_owned());
                }
            }
        }
        Ok(failures.join("; "))
    }

    /// Ends the processes as an operator would, and waits for it; answers what they worked on.
    pub(crate) async fn stopped(self) -> Result<(Option<RedisServer>, Vec<TempDir>), Fault> {
        let Self {
            mut children,
            redis,
            folders,
            connections,
            ..
        } = self;
        drop(connections);
        for child in &mut children {
            child.signal("TERM");
        }
        let ending = tokio::task::spawn_blocking(move || {
            children
                .iter_mut()
                .try_for_each(|child| child.0.wait().map(drop))
        });
        tokio::time::timeout(PATIENCE, ending).await???;
        Ok((redis, folders))
    }
}

/// The database of an authority in a folder.
pub(crate) fn database_in(folder: &TempDir) -> PathBuf {
    folder.path().join("load.db")
}

/// What stands at `/metrics`.
fn metrics(address: SocketAddr) -> Result<String, Fault> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    Ok(page)
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
