//! Running the program, alone or against the canned server.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use token_authority::transport::grpc::pb::token_service_server::TokenServiceServer;

use super::canned::{Asked, CALLER, Canned, LEASE_SECRET, Leases, SECRET};

/// A running server and a home directory without a root token.
pub(crate) struct Fixture {
    pub(crate) address: SocketAddr,
    asked: Asked,
    pub(crate) leases: Arc<Leases>,
    pub(crate) home: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let canned = Canned::default();
        let asked = canned.asked.clone();
        let leases = canned.leases.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tonic::transport::Server::builder()
                    .add_service(TokenServiceServer::new(canned))
                    .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener))
                    .await
            })
        });
        Self {
            address,
            asked,
            leases,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs the program as a known caller.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.program(line, "", &[("TOKEN_AUTHORITY_TOKEN", CALLER)])
    }

    /// Starts the program as a known caller, in the home directory, with these words.
    pub(crate) fn spawn(&self, words: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_token-authority"))
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("TOKEN_AUTHORITY_SERVER", self.address.to_string())
            .env("TOKEN_AUTHORITY_TOKEN", CALLER)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs the program with `input` on standard input and nothing but `variables` set.
    pub(crate) fn program(&self, line: &str, input: &str, variables: &[(&str, &str)]) -> Ran {
        let server = self.address.to_string();
        let server = [("TOKEN_AUTHORITY_SERVER", server.as_str())];
        program(
            line,
            input,
            &[&server, variables].concat(),
            self.home.path(),
        )
    }

    pub(crate) fn asked(&self) -> Vec<(Option<String>, Option<String>, String)> {
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let ran = Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.out.contains(CALLER), "{}", ran.out);
        assert!(
            !ran.err.contains(CALLER)
                && !ran.err.contains(SECRET)
                && !ran.err.contains(LEASE_SECRET),
            "{}",
            ran.err
        );
        ran
    }
}

pub(crate) fn program(line: &str, input: &str, variables: &[(&str, &str)], home: &Path) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_token-authority"))
        .args(line.split_whitespace())
        .env_clear()
        .env("HOME", home)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not want its input may close it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}
