//! A redis-server of the test's own, on a free port of loopback, with its files in a temporary folder.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Value};
use tempfile::TempDir;

use super::child::OwnedChild;

/// A running redis-server; ended when dropped. A missing program fails the test.
pub(crate) struct RedisServer {
    child: Option<OwnedChild>,
    arguments: Vec<String>,
    _folder: TempDir,
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
        let mut server = Self::prepared(settings);
        for _ in 0..20 {
            if server.launch() {
                return server;
            }
            // Somebody who reserves no ports took this one in between.
            server = Self::prepared(settings);
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
            _folder: folder,
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
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut answer = [0; 5];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (&answer == b"+PONG" || &answer == b"-NOAU")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
        let client = redis::Client::open(self.url()).expect("a sound URL");
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

/// A free port of loopback that no other test of this kind takes meanwhile, whichever process it
/// runs in: two servers that race for one port would be mistaken for each other.
struct ReservedPort {
    port: u16,
    _lock: File,
}

impl ReservedPort {
    fn new() -> Self {
        let folder = std::env::temp_dir().join("token-authority-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for locks");
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
