//! A real Envoy, with the configuration that is shipped but for its addresses.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client;
use crate::harness::PATIENCE;
use crate::kinds::Kind;
use crate::support::child::OwnedChild;

const SHIPPED: &str = include_str!("../../deploy/envoy/envoy.yaml");

/// Who is asked about requests.
pub(crate) enum Authority<'a> {
    Tcp(&'a str),
    Unix(&'a Path),
}

/// What stands for what in the configuration that is shipped.
#[derive(Clone, Debug)]
pub(crate) struct Changes(Vec<(String, String)>);

impl Changes {
    /// The least: where the others are, and how headers are encoded.
    pub(crate) fn of(
        kind: &Kind,
        authority: &Authority<'_>,
        shop: SocketAddr,
        shop_grpc: SocketAddr,
    ) -> Self {
        let mut changes = Self(Vec::new());
        changes.add(&port(9901), &port(0));
        changes.add(&port(10000), &port(0));
        changes.add(&port(8080), &port(shop.port()));
        changes.add(&port(8081), &port(shop_grpc.port()));
        let tcp = format!(
            "- endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}",
            50051
        );
        match authority {
            Authority::Tcp(address) => {
                let (_, own) = address.rsplit_once(':').expect("a port");
                let theirs = tcp.replace("50051", own);
                changes.add(&tcp, &theirs);
            }
            Authority::Unix(path) => {
                let pipe =
                    "- endpoint: { address: { pipe: { path: /run/token-authority/grpc.sock } } }";
                changes.add(&format!("# {pipe}\n"), "\n");
                let own = pipe.replace(
                    "/run/token-authority/grpc.sock",
                    &path.display().to_string(),
                );
                changes.add(&tcp, &own);
            }
        }
        if !kind.raw_headers {
            changes.add("encode_raw_headers: true", "encode_raw_headers: false");
        }
        changes
    }

    pub(crate) fn add(&mut self, shipped: &str, own: &str) {
        self.0.push((shipped.to_owned(), own.to_owned()));
    }

    fn applied(&self) -> String {
        let mut text = SHIPPED.to_owned();
        for (shipped, own) in &self.0 {
            assert_eq!(text.matches(shipped.as_str()).count(), 1, "{shipped:?}");
            text = text.replace(shipped.as_str(), own);
        }
        text
    }
}

fn port(number: u16) -> String {
    format!("address: 127.0.0.1, port_value: {number} ")
}

/// A running Envoy; ended when dropped.
pub(crate) struct Envoy {
    _child: OwnedChild,
    folder: TempDir,
    admin: SocketAddr,
    /// Where clients ask.
    pub(crate) ingress: SocketAddr,
}

impl Envoy {
    /// Starts one that shows this secret of its own to the authority, and waits until it takes requests.
    pub(crate) async fn start(kind: &Kind, changes: &Changes, secret: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = folder.path().join("envoy.yaml");
        fs::write(&configuration, changes.applied()).expect("a configuration");
        let place = folder.path().join("admin");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(&kind.program);
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "-l", "info"])
            .arg("-c")
            .arg(&configuration)
            .arg("--admin-address-path")
            .arg(&place)
            .env("TOKEN_AUTHORITY_TOKEN", secret)
            .stdout(Stdio::null())
            .stderr(log);
        let child = OwnedChild::spawn(&mut command).expect("Envoy starts");
        let mut envoy = Self {
            _child: child,
            folder,
            admin: ([127, 0, 0, 1], 0).into(),
            ingress: ([127, 0, 0, 1], 0).into(),
        };
        envoy.admin = envoy
            .once("an admin address", async || {
                fs::read_to_string(&place).ok()?.parse().ok()
            })
            .await;
        envoy.ingress = envoy
            .once("a listener", async || {
                if envoy.admin("/ready").await != "LIVE\n" {
                    return None;
                }
                let listeners = envoy.admin("/listeners").await;
                let own = listeners
                    .lines()
                    .find_map(|line| line.strip_prefix("ingress::"))?;
                own.parse()
                    .ok()
                    .filter(|place: &SocketAddr| place.port() != 0)
            })
            .await;
        envoy
    }

    /// Waits until Envoy's own checks find the authority well, or not.
    pub(crate) async fn finds_authority(&self, well: bool) {
        self.once("the health of the authority", async || {
            let clusters = self.admin("/clusters").await;
            let mut flags = clusters
                .lines()
                .filter(|line| line.starts_with("token_authority::"))
                .filter_map(|line| line.split_once("::health_flags::"));
            let (_, flag) = flags.next()?;
            ((flag == "healthy") == well).then_some(())
        })
        .await;
    }

    /// A counter of Envoy's.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let told = self.admin(&format!("/stats?filter=^{name}$")).await;
        let value = told
            .trim()
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(": "));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    async fn admin(&self, path: &str) -> String {
        let answer = client::ask(self.admin, "GET", path, &[]).await;
        // Chunks: their sizes stand in lines of their own, which no caller takes for anything.
        let body = answer.body;
        if answer
            .headers
            .iter()
            .any(|(name, _)| name == "transfer-encoding")
        {
            dechunked(&body)
        } else {
            body
        }
    }

    /// Waits until `look` finds something.
    pub(crate) async fn once<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < patience, "never {what}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// A body out of its chunks.
fn dechunked(body: &str) -> String {
    let mut whole = String::new();
    let mut rest = body;
    while let Some((size, more)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else {
            break;
        };
        if size == 0 || more.len() < size {
            break;
        }
        whole.push_str(&more[..size]);
        rest = more[size..].trim_start_matches("\r\n");
    }
    whole
}
