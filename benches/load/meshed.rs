//! What a check adds to a request through Envoy: the same request, answered by Envoy itself, with nobody asked
//! and with the authority asked about each.
//!
//! All clients ask one after the other, each over a connection of its own, and count what they see from the
//! request's first byte to the answer's last. Envoy has one worker.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_authority::transport::grpc::pb::CreateRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Fault;
use crate::asking::{self, Caller, Subject};
use crate::figures::{Figures, Used};
use crate::options::Options;
use crate::servers::{ROOT_TOKEN, Server};
use crate::support::child::OwnedChild;
use crate::support::redis_server::free_port;
use crate::table;

/// How long Envoy may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// A listener that asks, or does not, and answers each request by itself.
const LISTENER: &str = r#"
    - address: { socket_address: { address: 127.0.0.1, port_value: PORT } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: ingress
                http_filters:
FILTERS
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
                route_config:
                  virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: / }, direct_response: { status: 200 } }] }]
"#;

/// The check, as `deploy/envoy/envoy.yaml` has it.
const CHECK: &str = r#"
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      grpc_service:
                        envoy_grpc: { cluster_name: token_authority }
                        timeout: 0.5s
                        initial_metadata: [{ key: x-api-key, value: "%ENVIRONMENT(TOKEN_AUTHORITY_TOKEN)%" }]
                      encode_raw_headers: true
                      validate_mutations: true
"#;

const CLUSTER: &str = r#"
  clusters:
    - name: token_authority
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
      load_assignment:
        cluster_name: token_authority
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: PORT } } } }] }]
"#;

/// A running Envoy; ended when dropped.
struct Envoy {
    _child: OwnedChild,
    _folder: TempDir,
    plain: SocketAddr,
    checked: SocketAddr,
}

/// Measures both in turn, round by round; answers the table.
pub(crate) async fn run(options: &Options, program: &Path) -> Result<String, Fault> {
    let server = Server::on_sqlite(options.connections, &[]).await?;
    let root = Caller::bearing(ROOT_TOKEN);
    let over = &server.connections;
    let gateway = asking::create(over, &root, 1, 1, |_| asking::gateway_token()).await?;
    let subjects = asking::create(over, &root, options.callers(), options.tokens, client_token);
    let subjects: Arc<[Subject]> = subjects.await?.into();
    let envoy = Envoy::start(program, server.addresses[0], &gateway[0].secret)?;
    envoy.answers(&subjects[0]).await?;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let plain = measure(envoy.plain, &subjects, options).await?;
        let checked = measure(envoy.checked, &subjects, options).await?;
        rounds.push((plain, checked));
    }
    told(&rounds)
}

/// A token with an endpoint to judge.
fn client_token(number: usize) -> CreateRequest {
    CreateRequest {
        name: format!("client {number}"),
        allowed_endpoints: vec!["GET /orders/**".to_owned()],
        ..CreateRequest::default()
    }
}

impl Envoy {
    fn start(program: &Path, authority: SocketAddr, secret: &str) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let (plain, checked) = (free_port(), free_port());
        let listener = |port: u16, filters: &str| {
            let port = port.to_string();
            LISTENER.replace("PORT", &port).replace("FILTERS", filters)
        };
        let configuration = format!(
            "static_resources:\n  listeners:{}{}{}",
            listener(plain, ""),
            listener(checked, CHECK),
            CLUSTER.replace("PORT", &authority.port().to_string()),
        );
        let file = folder.path().join("envoy.yaml");
        fs::write(&file, configuration)?;
        let mut command = Command::new(program);
        command
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "-l",
                "warning",
                "-c",
            ])
            .arg(&file)
            .env("TOKEN_AUTHORITY_TOKEN", secret)
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?);
        let child = OwnedChild::spawn(&mut command)
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self {
            _child: child,
            _folder: folder,
            plain: local(plain),
            checked: local(checked),
        })
    }

    /// Waits until it does, on both listeners; nobody else's answer would be taken for its own.
    async fn answers(&self, subject: &Subject) -> Result<(), Fault> {
        let patience = Instant::now() + PATIENCE;
        for address in [self.plain, self.checked] {
            loop {
                let tried = async {
                    let mut stream = TcpStream::connect(address).await?;
                    ask(&mut stream, &request(subject)).await
                };
                match tried.await {
                    Ok(()) => break,
                    Err(fault) if Instant::now() > patience => {
                        return Err(format!("Envoy does not answer: {fault}").into());
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
        let refused = async {
            let mut stream = TcpStream::connect(self.checked).await?;
            let nobody = b"GET /orders/1 HTTP/1.1\r\nhost: shop\r\n\r\n";
            ask(&mut stream, nobody).await
        };
        match refused.await {
            Err(_) => Ok(()),
            Ok(()) => Err("a request without a token passed: it is not checked".into()),
        }
    }
}

fn request(subject: &Subject) -> Vec<u8> {
    let secret = &subject.secret;
    format!("GET /orders/1234 HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {secret}\r\n\r\n")
        .into()
}

/// Asks, and reads the whole answer; an error unless it is 200 and empty.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<(), Fault> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(512);
    // What is refused has a body, which is not waited for.
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > ANSWER_BYTES_MAX {
            return Err("the answer broke off, or does not end".into());
        }
    }
    let text = String::from_utf8_lossy(&answer);
    match text.starts_with("HTTP/1.1 200") && text.contains("content-length: 0\r\n") {
        true => Ok(()),
        false => Err(format!("it was answered {text:?}").into()),
    }
}

/// One window, with as many clients as there are connections.
async fn measure(
    address: SocketAddr,
    subjects: &Arc<[Subject]>,
    options: &Options,
) -> Result<Figures, Fault> {
    let begin = Instant::now() + options.warm_up();
    let end = begin + options.measured();
    let mut clients = JoinSet::new();
    for client in 0..options.connections {
        let (subjects, count) = (subjects.clone(), options.connections);
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut latencies = Vec::new();
            // Each asks about others, in an order of its own.
            for subject in subjects.iter().cycle().skip(client).step_by(count) {
                let request = request(subject);
                let since = Instant::now();
                ask(&mut stream, &request).await?;
                let now = Instant::now();
                if now >= end {
                    break;
                }
                if since >= begin {
                    latencies.push(now - since);
                }
            }
            Ok::<_, Fault>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(one) = clients.join_next().await {
        latencies.append(&mut one??);
    }
    Figures::of(latencies, options.measured(), Used::default())
}

fn told(rounds: &[(Figures, Figures)]) -> Result<String, Fault> {
    let median = |of: fn(&Figures) -> f64| {
        let plain = table::median(rounds.iter().map(|(plain, _)| of(plain)).collect());
        let checked = table::median(rounds.iter().map(|(_, checked)| of(checked)).collect());
        (plain, checked)
    };
    let mut text =
        String::from("through Envoy, one worker  | alone    | checked  | added    | ratio\n");
    for (name, of) in [
        ("p50, µs", (|one| one.p50) as fn(&Figures) -> f64),
        ("p99, µs", |one| one.p99),
        ("requests/s", |one| one.calls_per_second),
    ] {
        let (plain, checked) = median(of);
        let (added, ratio) = (checked - plain, checked / plain);
        writeln!(
            text,
            "{name:26} | {plain:8.0} | {checked:8.0} | {added:8.0} | {ratio:.2}"
        )?;
    }
    Ok(text)
}
