//! The authority as a child process, its store, and clients that carry a credential.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    self, CreateRequest, GetRequest, GetResponse, RotateRequest, UpdateRequest, ValidateRequest,
    ValidateResponse,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::child::OwnedChild;
use crate::support::redis_server::RedisServer;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_token-authority");
/// The root token of every test; its middle is what a secrecy dump looks for.
pub(crate) const ROOT_TOKEN: &str = "root-0123456789-canary-0123456789-root";
/// How long anything may take on a busy machine before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running authority with a store of its own.
pub(crate) struct Authority {
    child: Option<OwnedChild>,
    pub(crate) address: String,
    pub(crate) folder: TempDir,
    pub(crate) redis: Option<RedisServer>,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    starts: usize,
    stdout: Arc<Mutex<String>>,
}

impl Authority {
    pub(crate) fn on_sqlite() -> Self {
        let mut authority = Self::before_sqlite_start();
        authority.start();
        authority
    }

    /// With a database in its own folder, which is created by the first start.
    pub(crate) fn before_sqlite_start() -> Self {
        let authority = Self::stopped();
        let url = format!("sqlite:{}", authority.database().display());
        authority.with(&["--store", &url])
    }

    pub(crate) fn on_redis() -> Self {
        let mut authority = Self::before_redis_start();
        authority.start();
        authority
    }

    /// With a redis-server that carries its marker, and an authority that is not yet started.
    pub(crate) fn before_redis_start() -> Self {
        let redis = RedisServer::start();
        mark(&redis);
        let authority = Self::over(&redis.url());
        Self {
            redis: Some(redis),
            ..authority
        }
    }

    /// Over a store that somebody else keeps, such as one that several share; not yet started.
    pub(crate) fn over(url: &str) -> Self {
        Self::stopped().with(&["--store", url])
    }

    /// A second process over the same Redis.
    pub(crate) fn beside(other: &Self) -> Self {
        let mut authority = Self::over(&other.redis().url());
        authority.start();
        authority
    }

    fn stopped() -> Self {
        // Generous timeouts: many servers share the machine in a test run.
        let settings = [
            "store.read_timeout=5s",
            "store.write_timeout=5s",
            "log.filter=trace",
        ];
        let arguments = ["serve", "--listen", "127.0.0.1:0"]
            .map(str::to_owned)
            .into_iter();
        let settings = settings
            .iter()
            .flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        Self {
            child: None,
            address: String::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            redis: None,
            arguments: arguments.chain(settings).collect(),
            environment: Vec::new(),
            starts: 0,
            stdout: Arc::default(),
        }
    }

    /// Listens elsewhere at the next start.
    pub(crate) fn listening_on(mut self, place: &str) -> Self {
        let flag = self.arguments.iter().position(|word| word == "--listen");
        place.clone_into(&mut self.arguments[flag.expect("a flag") + 1]);
        self
    }

    /// Adds flags for the next start.
    pub(crate) fn with(mut self, flags: &[&str]) -> Self {
        self.arguments
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Adds a variable for the next start.
    pub(crate) fn with_variable(mut self, name: &'static str, value: &Path) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&mut self) {
        self.starts += 1;
        let log = File::create(self.log_path(self.starts)).expect("a log file");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = command(&arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = OwnedChild::spawn(command.stdout(Stdio::piped()).stderr(log))
            .expect("the binary starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.0.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        let rest = self.stdout.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut rest = rest.lock().expect("a sound lock");
                rest.push_str(&line);
                rest.push('\n');
            }
        });
        let address = line.trim_end().strip_prefix("listening on ");
        self.address = address
            .unwrap_or_else(|| panic!("{line:?}\n{}", self.log()))
            .to_owned();
        self.child = Some(child);
    }

    /// Sends a signal and waits for the exit; answers its code and how long it took.
    pub(crate) fn stop(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal(signal);
        (self.exited(), begun.elapsed())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Its process id.
    #[allow(dead_code, reason = "for programs that look at its memory")]
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().expect("a running authority").0.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.child
            .as_ref()
            .expect("a running authority")
            .signal(name);
    }

    /// Waits for the process to end by itself.
    pub(crate) fn exited(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("a running authority");
        let patience = Instant::now() + PATIENCE;
        loop {
            match child.0.try_wait().expect("the child can be asked") {
                Some(status) => return status.code(),
                None if Instant::now() > patience => panic!("it does not end:\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Everything logged since the first start.
    pub(crate) fn log(&self) -> String {
        let logs =
            (1..=self.starts).map(|start| fs::read(self.log_path(start)).expect("a log file"));
        logs.map(|log| String::from_utf8_lossy(&log).into_owned())
            .collect()
    }

    /// Whatever standard output said after the first line of each start.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().expect("a sound lock").clone()
    }

    fn log_path(&self, start: usize) -> PathBuf {
        self.folder.path().join(format!("log-{start}"))
    }

    /// Where the database is of an authority on SQLite.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("token-authority.db")
    }

    pub(crate) fn redis(&self) -> &RedisServer {
        self.redis.as_ref().expect("a test on Redis")
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_str(&format!("http://{}", self.address)).expect("a sound address")
    }

    pub(crate) fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    /// A client with the root token, once the authority serves.
    pub(crate) async fn root(&self) -> Client {
        self.serving(true).await;
        self.client_as_root()
    }

    /// The same over a connection of its own, whether it serves or not.
    pub(crate) fn client_as_root(&self) -> Client {
        self.client(Some(ROOT_TOKEN))
    }

    pub(crate) fn client(&self, credential: Option<&str>) -> Client {
        client_over(self.channel(), credential)
    }

    /// Waits until health says that Validate can answer, or that it cannot.
    pub(crate) async fn serving(&self, wanted: bool) {
        let patience = Instant::now() + PATIENCE;
        let wanted = if wanted {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        while self.health("").await != Some(wanted) {
            assert!(
                Instant::now() < patience,
                "never {wanted:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What health says of a name; `None` when it does not answer.
    pub(crate) async fn health(&self, service: &str) -> Option<ServingStatus> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(self.channel())
            .check(request)
            .await
            .ok()?;
        Some(answer.into_inner().status())
    }

    /// Runs the command line against this authority as root.
    pub(crate) fn cli(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = command(arguments);
        command
            .env("TOKEN_AUTHORITY_SERVER", &self.address)
            .env("TOKEN_AUTHORITY_TOKEN", ROOT_TOKEN);
        command.output().expect("the command line runs")
    }
}

/// Makes a store of an empty Redis.
pub(crate) fn mark(redis: &RedisServer) {
    let init = command(&["init", "--store", &redis.url()])
        .output()
        .expect("init runs");
    assert!(
        init.status.success(),
        "{}",
        String::from_utf8_lossy(&init.stderr)
    );
}

/// The binary in an environment of its own: none of our variables but the root token.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOKEN_AUTHORITY_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN);
    command
}

/// A client that carries a credential over a channel.
pub(crate) fn client_over(channel: Channel, credential: Option<&str>) -> Client {
    let bearer =
        credential.map(|secret| format!("Bearer {secret}").parse().expect("visible ASCII"));
    TokenServiceClient::with_interceptor(channel, Credential(bearer))
}

pub(crate) type Client = TokenServiceClient<InterceptedService<Channel, Credential>>;

/// Puts the caller's credential on every call.
#[derive(Clone)]
pub(crate) struct Credential(pub(crate) Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < patience, "what is waited for never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Creates a token and answers it with its secret.
pub(crate) async fn create(client: &mut Client, request: CreateRequest) -> (pb::Token, String) {
    let answer = client
        .create(request)
        .await
        .expect("a new token")
        .into_inner();
    (answer.token.expect("a token"), answer.secret)
}

pub(crate) async fn ask(client: &mut Client, request: ValidateRequest) -> ValidateResponse {
    client
        .validate(request)
        .await
        .expect("a verdict")
        .into_inner()
}

/// The verdict on a secret of which nothing else is asked.
pub(crate) async fn verdict(client: &mut Client, secret: &str) -> pb::Verdict {
    ask(client, presenting(secret)).await.verdict()
}

pub(crate) fn presenting(secret: &str) -> ValidateRequest {
    ValidateRequest {
        secret: secret.to_owned(),
        ..ValidateRequest::default()
    }
}

pub(crate) fn named(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.to_owned(),
        ..CreateRequest::default()
    }
}

/// What Get answers about a token.
pub(crate) async fn get(client: &mut Client, token_id: &str) -> GetResponse {
    let token_id = token_id.to_owned();
    let answer = client.get(GetRequest { token_id }).await;
    answer.expect("a token").into_inner()
}

/// A request to change what `paths` name to what `token` says.
pub(crate) fn change(token: &pb::Token, paths: &[&str]) -> UpdateRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    UpdateRequest {
        token: Some(token.clone()),
        update_mask: Some(prost_types::FieldMask { paths }),
        revision: None,
    }
}

/// Changes a token and answers it as it is then.
pub(crate) async fn update(client: &mut Client, token: &pb::Token, paths: &[&str]) -> pb::Token {
    let answer = client.update(change(token, paths)).await;
    answer
        .expect("a changed token")
        .into_inner()
        .token
        .expect("a token")
}

/// A request to rotate a token's secret, with so much grace for the present one.
pub(crate) fn rotation(token_id: &str, grace: Duration) -> RotateRequest {
    RotateRequest {
        token_id: token_id.to_owned(),
        grace_period: Some(span(grace)),
        ..RotateRequest::default()
    }
}

pub(crate) fn span(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).expect("a short span")
}

/// Code and reason of an error.
pub(crate) fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

/// The fields that an `INVALID_ARGUMENT` names; each once, and with a description.
pub(crate) fn fields(status: &Status) -> BTreeSet<String> {
    use tonic_types::StatusExt;
    let expected = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
    assert_eq!(told(status), expected, "{status:?}");
    let bad = status.get_details_bad_request().expect("violations");
    let mut fields = BTreeSet::new();
    for violation in bad.field_violations {
        assert!(!violation.description.is_empty(), "{}", violation.field);
        let new = fields.insert(violation.field.clone());
        assert!(new, "{} is named twice: {status:?}", violation.field);
    }
    fields
}

/// A set of names, to compare with [`fields`].
pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The name of the `ErrorReason` that a status carries.
pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    let info = status
        .get_details_error_info()
        .expect("every error carries ErrorInfo");
    assert_eq!(info.domain, "tokenauthority");
    info.reason.trim_start_matches("ERROR_REASON_").to_owned()
}

/// Asserts that a call failed for want of the store, and says when to try again.
pub(crate) fn is_outage<T: std::fmt::Debug>(rpc: &str, answer: Result<T, Status>) {
    use tonic_types::StatusExt;
    let status = answer.expect_err(rpc);
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "STORE_UNAVAILABLE"),
        "{rpc}"
    );
    assert!(status.get_details_retry_info().is_some(), "{rpc}");
}

/// Whether a call ended for want of time: by the server's word, or by the client's own clock, which
/// on a busy machine may be the first to notice and says `CANCELLED`.
pub(crate) fn out_of_time(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded)
        || (status.code() == Code::Cancelled && status.message() == "Timeout expired")
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_dir() {
            files.extend(files_below(&entry))
        } else {
            files.push(entry)
        }
    }
    files
}
