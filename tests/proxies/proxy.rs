//! A proxy of the test's own: what lies in `deploy/`, with other addresses.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::PATIENCE;
use crate::support::child::OwnedChild;
use crate::support::redis_server::ReservedPort;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Caddy,
}

/// A running proxy; ended when dropped. A missing program fails the test.
pub(crate) struct Proxy {
    _child: OwnedChild,
    folder: TempDir,
    _reserved: ReservedPort,
    pub(crate) address: String,
}

impl Proxy {
    /// Before `service`, with the authority's forward-auth at that address.
    pub(crate) fn start(kind: Kind, authority: &str, service: &str) -> Self {
        for _ in 0..20 {
            if let Some(proxy) = Self::try_start(kind, authority, service) {
                return proxy;
            }
            // Somebody took the port in between.
        }
        panic!("{kind:?} did not start on any of 20 ports");
    }

    fn try_start(kind: Kind, authority: &str, service: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let reserved = ReservedPort::new();
        let port = format!(":{}", reserved.port);
        let address = format!("127.0.0.1{port}");
        let example = match kind {
            Kind::Nginx => include_str!("../../deploy/nginx/nginx.conf"),
            Kind::Caddy => include_str!("../../deploy/caddy/Caddyfile"),
        };
        let mut configuration = example.to_owned();
        for (example, own) in [
            (":8080", &*port),
            ("127.0.0.1:50052", authority),
            ("127.0.0.1:9090", service),
        ] {
            assert!(
                configuration.contains(example),
                "{example} is not in the example"
            );
            configuration = configuration.replace(example, own);
        }
        let file = folder.path().join("configuration");
        fs::write(&file, configuration).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut command = command(kind, folder.path(), &file);
        command.stdout(Stdio::null()).stderr(log);
        let mut child = OwnedChild::spawn(&mut command).unwrap_or_else(|error| {
            panic!("{kind:?} must be installed; scripts/test installs it: {error}")
        });
        let begun = Instant::now();
        while TcpStream::connect(&address).is_err() {
            if child
                .0
                .try_wait()
                .expect("the child can be asked")
                .is_some()
            {
                let log = fs::read_to_string(folder.path().join("log")).expect("a log");
                assert!(log.contains("in use"), "{kind:?} ended: {log}");
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "{kind:?} never listened");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self {
            _child: child,
            folder,
            _reserved: reserved,
            address,
        })
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }
}

/// One process each, so that its end is the end of all of it.
fn command(kind: Kind, folder: &Path, file: &Path) -> Command {
    match kind {
        Kind::Nginx => {
            // Debian keeps it where only root looks.
            let place = Path::new("/usr/sbin/nginx");
            let program = if place.exists() {
                place
            } else {
                Path::new("nginx")
            };
            let mut command = Command::new(program);
            command.arg("-p").arg(folder).arg("-c").arg(file);
            command.args(["-e", "stderr", "-g", "daemon off; master_process off;"]);
            command
        }
        Kind::Caddy => {
            let mut command = Command::new("caddy");
            command.args(["run", "--adapter", "caddyfile", "--config"]);
            command.arg(file);
            for home in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
                command.env(home, folder);
            }
            command
        }
    }
}
