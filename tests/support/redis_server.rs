//! A redis-server of the test's own, on a free port of loopback, with its files in a temporary folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tempfile::TempDir;

use super::certificates::{Issued, TestAuthority};
use super::child::OwnedChild;

/// A running redis-server; ended when dropped. A missing program fails the test.
pub(crate) struct RedisServer {
    child: Option<OwnedChild>,
    arguments: Vec<String>,
    /// The door for tests of one that speaks TLS and nothing else on its port.
    socket: Option<PathBuf>,
    folder: TempDir,
    _reserved: ReservedPort,
    pub(crate) port: u16,
}

impl RedisServer {
    /// One that the authority accepts: append-only file flushed each second, never evicting.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further settings, such as `--requirepass x`.
    pub(crate) fn with(settings: &[&str]) -> Self {
        Self::launched(|| Self::prepared(settings))
    }

    /// One that speaks TLS only and shows a certificate; where `clients` are named, it wants one of
    /// theirs.
    pub(crate) fn over_tls(shown: &Issued, clients: Option<&TestAuthority>) -> Self {
        Self::launched(|| {
            let mut server = Self::prepared(&["--port", "0"]);
            server.write_certificate(shown);
            let file = |name: &str| path_in(&server.folder, name);
            let mut settings = vec![("tls-port", server.port.to_string())];
            settings.extend(TLS_FILES.map(|(setting, name)| (setting, file(name))));
            if let Some(clients) = clients {
                fs::write(file("ca.pem"), clients.pem()).expect("a file");
                settings.push(("tls-ca-cert-file", file("ca.pem")));
            }
            let wanted = if clients.is_some() { "yes" } else { "no" };
            settings.push(("tls-auth-clients", wanted.to_owned()));
            let socket = file("redis.sock");
            settings.push(("unixsocket", socket.clone()));
            let words = settings.into_iter();
            let words = words.flat_map(|(name, value)| [format!("--{name}"), value]);
            server.arguments.extend(words);
            server.socket = Some(PathBuf::from(socket));
            server
        })
    }

    fn write_certificate(&self, shown: &Issued) {
        let files = [&shown.chain, &shown.key];
        for ((_, file), text) in TLS_FILES.iter().zip(files) {
            fs::write(self.folder.path().join(file), text).expect("a file");
        }
    }

    /// From now on it shows this certificate to whoever connects.
    pub(crate) async fn show(&self, shown: &Issued) {
        self.write_certificate(shown);
        let paths = TLS_FILES.map(|(name, file)| (name, path_in(&self.folder, file)));
        let [(certificate, chain), (key, own)] = &paths;
        let words = ["CONFIG", "SET", certificate, chain, key, own];
        let () = self.ask(&words).await;
    }

    fn launched(prepared: impl Fn() -> Self) -> Self {
        for _ in 0..20 {
            let mut server = prepared();
            if server.launch() {
                return server;
            }
            // Somebody who reserves no ports took this one in between.
        }
        panic!("redis-server did not start on any of 20 ports");
    }

    fn prepared(settings: &[&str]) -> Self {
        let reserved = ReservedPort::new();
        let port = reserved.port;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut arguments: Vec<String> = format!(
            "--port {port} --bind 127.0.0.1 --dir {} --appendonly yes --appendfsync everysec --loglevel warning",
            folder.path().display()
        )
        .split(' ')
        .map(str::to_owned)
        .collect();
        arguments.extend(["--save".to_owned(), String::new()]);
        arguments.extend(settings.iter().map(|setting| (*setting).to_owned()));
        Self {
            child: None,
            arguments,
            socket: None,
            folder,
            _reserved: reserved,
            port,
        }
    }

    fn launch(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = OwnedChild::spawn(&mut command)
            .expect("redis-server must be installed; scripts/test installs it");
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience {
            if child
                .0
                .try_wait()
                .expect("the child can be asked")
                .is_some()
            {
                return false;
            }
            if self.answers() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Whether it answers a PING, also with an error about a missing password.
    fn answers(&self) -> bool {
        let patience = Some(Duration::from_secs(1));
        let answered = match &self.socket {
            Some(socket) => UnixStream::connect(socket).and_then(|stream| {
                stream.set_read_timeout(patience)?;
                greeted(stream)
            }),
            None => TcpStream::connect(("127.0.0.1", self.port)).and_then(|stream| {
                stream.set_read_timeout(patience)?;
                greeted(stream)
            }),
        };
        answered.unwrap_or(false)
    }

    /// Where the authority finds it; over TLS by the name that certificates of tests have.
    pub(crate) fn url(&self) -> String {
        match self.socket {
            Some(_) => format!("rediss://localhost:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again on the same port, with the files it left.
    pub(crate) fn restart(&mut self) {
        assert!(
            self.child.is_none() && self.launch(),
            "redis-server starts again on port {}",
            self.port
        );
    }

    pub(crate) fn signal(&self, name: &str) {
        self.child.as_ref().expect("a running server").signal(name);
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().expect("a running server").0.id()
    }

    /// A plain connection for looking into it and for breaking it.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let door = match &self.socket {
            Some(socket) => format!("unix:{}", socket.display()),
            None => self.url(),
        };
        let client = redis::Client::open(door).expect("a sound URL");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection")
    }

    /// Runs one command, such as `FLUSHALL`, whatever it answers.
    pub(crate) async fn run(&self, command: &str) -> Value {
        self.ask(&command.split(' ').collect::<Vec<_>>()).await
    }

    /// Sends one command over a connection of its own.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut call = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            call.arg(word);
        });
        let answer = call.query_async(&mut self.connection().await).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}

/// The settings for what a Redis shows over TLS, and the files of it in its folder.
const TLS_FILES: [(&str, &str); 2] = [
    ("tls-cert-file", "server.pem"),
    ("tls-key-file", "server.key"),
];

fn path_in(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// Whether a PING is answered.
fn greeted(mut stream: impl Read + Write) -> io::Result<bool> {
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n")?;
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG" || &answer == b"-NOAU")
}

/// A free port of loopback that no other test of this kind takes meanwhile, whichever process it
/// runs in: two servers that race for one port would be mistaken for each other.
pub(crate) struct ReservedPort {
    pub(crate) port: u16,
    _lock: File,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join("token-authority-test-ports");
        fs::create_dir_all(&folder).expect("a folder for locks");
        for _ in 0..1000 {
            let port = free_port();
            let lock = File::create(folder.join(port.to_string())).expect("a lock file");
            if lock.try_lock().is_ok() {
                return Self { port, _lock: lock };
            }
        }
        panic!("no free port");
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
