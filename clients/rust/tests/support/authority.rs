//! The real server on a store of its own, and its management by the root credential.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use token_authority_client::{
    connect,
    pb::{
        CreateRequest, CreateResponse, ReleaseRequest, RevokeRequest, ValidateRequest,
        ValidateResponse, release_request, revoke_request,
        token_service_client::TokenServiceClient,
    },
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tonic::{Request, transport::Channel};

/// How long answers may be repeated in the namespace `brief`.
pub const BRIEF: Duration = Duration::from_secs(3);

const START_MAX: Duration = Duration::from_secs(30);

pub struct Authority {
    pub uri: String,
    pub credential: String,
    pub channel: Channel,
    process: Child,
    _home: TempDir,
}

impl Authority {
    pub async fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let root = home.path().join("root-token");
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOKEN_AUTHORITY_") {
                command.env_remove(name);
            }
        }
        let store = home.path().join("authority.db");
        let mut process = command
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", home.path())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg("--store")
            .arg(format!("sqlite:{}", store.display()))
            .arg("--root-token-file")
            .arg(&root)
            .arg("--set")
            .arg(format!("namespaces.brief.cache_ttl={}s", BRIEF.as_secs()))
            .args(["--set", "namespaces.long.cache_ttl=300s"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the server, of TOKEN_AUTHORITY_TEST_BINARY");
        let stdout = process.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(START_MAX, async {
            while let Some(line) = lines.next_line().await.expect("its output") {
                if let Some(address) = line.strip_prefix("listening on ") {
                    return address.trim().to_owned();
                }
            }
            panic!("the server does not listen")
        });
        let uri = format!("http://{}", address.await.expect("it listens in time"));
        let credential = fs::read_to_string(&root).expect("its root token");
        Self {
            channel: connect(uri.clone()).expect("a URI"),
            uri,
            credential: credential.trim().to_owned(),
            process,
            _home: home,
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.credential);
        let bearer = bearer.parse().expect("a header");
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    fn stub(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub async fn create(&self, asked: CreateRequest) -> CreateResponse {
        let made = self.stub().create(self.request(asked)).await;
        made.expect("a token").into_inner()
    }

    pub async fn revoke(&self, made: &CreateResponse) {
        let target = Some(revoke_request::Target::TokenId(id(made)));
        let reason = String::new();
        let request = self.request(RevokeRequest { target, reason });
        self.stub().revoke(request).await.expect("revoked");
    }

    /// Takes a lease from whoever holds it.
    pub async fn take(&self, token_id: String) {
        let target = Some(release_request::Target::TokenId(token_id));
        let request = self.request(ReleaseRequest {
            target,
            force: true,
        });
        self.stub().release(request).await.expect("released");
    }

    pub async fn validate(&self, asked: ValidateRequest) -> ValidateResponse {
        let answer = self.stub().validate(self.request(asked)).await;
        answer.expect("judged").into_inner()
    }

    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.process.wait().await.expect("it ends");
    }

    /// Lets the server answer nothing while something runs.
    pub async fn hanging<T>(&self, body: impl Future<Output = T>) -> T {
        self.signal(Signal::STOP);
        while !self.stopped() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let answer = body.await;
        self.signal(Signal::CONT);
        answer
    }

    /// Whether all its threads have.
    fn stopped(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.process.id().expect("it runs"));
        fs::read_dir(tasks).expect("threads").all(|thread| {
            let stat = thread.expect("a thread").path().join("stat");
            let stat = fs::read_to_string(stat).expect("its state");
            stat.rsplit_once(") ").expect("a name").1.starts_with('T')
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.id().expect("it runs");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
        kill_process(pid, signal).expect("a signal");
    }
}

/// The public name of what was made.
pub fn id(made: &CreateResponse) -> String {
    made.token.as_ref().expect("a token").token_id.clone()
}

fn binary() -> PathBuf {
    let debug = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/debug/token-authority"
    );
    std::env::var_os("TOKEN_AUTHORITY_TEST_BINARY").map_or_else(|| debug.into(), PathBuf::from)
}
