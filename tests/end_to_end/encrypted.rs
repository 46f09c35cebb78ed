//! An authority that speaks TLS, its certificates, and clients that show some of their own.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{WhoAmIRequest, WhoAmIResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::harness::{Authority, Client, Credential, PATIENCE, ROOT_TOKEN, until};
use crate::scrape::Scrape;
use crate::support::certificates::{Issued, TestAuthority, Wanted};

pub(crate) type Versions = &'static [&'static SupportedProtocolVersion];
pub(crate) const TLS12: Versions = &[&rustls::version::TLS12];
pub(crate) const TLS13: Versions = &[&rustls::version::TLS13];
const BOTH: Versions = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Settings with which a connection that was told to go, and whose peer does not care, is cut soon.
pub(crate) const AT_ONCE: [&str; 4] = [
    "--set",
    "limits.call_deadline=3s",
    "--set",
    "limits.stall_timeout=1s",
];

/// That nobody connects without a certificate.
pub(crate) const REQUIRED: [&str; 2] = ["--set", "tls.client_certificate_required=true"];

/// A running authority, and who made its certificates.
pub(crate) struct Encrypted {
    pub(crate) authority: Authority,
    /// Of the server's certificate.
    pub(crate) servers: TestAuthority,
    /// Of its clients' certificates.
    pub(crate) clients: TestAuthority,
}

impl Encrypted {
    /// One that speaks TLS, and is not yet started; the flags come last.
    pub(crate) fn before_start(flags: &[&str]) -> Self {
        let encrypted = Self {
            authority: Authority::before_sqlite_start(),
            servers: TestAuthority::new("authority of servers"),
            clients: TestAuthority::new("authority of clients"),
        };
        encrypted.put(&encrypted.servers.server());
        let file = |name: &str| encrypted.file(name).display().to_string();
        let settings = [
            format!("tls.certificate_file={}", file("server.pem")),
            format!("tls.key_file={}", file("server.key")),
            // A test looks when it says so.
            "tls.reload_every=1h".to_owned(),
            "server.metrics_listen=127.0.0.1:0".to_owned(),
        ];
        let said = |setting: &&String| {
            let (key, _) = setting.split_once('=').unwrap();
            !flags.iter().any(|flag| flag.starts_with(key))
        };
        let settings = settings.iter().filter(said);
        let settings = settings.flat_map(|setting| ["--set", setting]);
        let flags: Vec<&str> = settings.chain(flags.iter().copied()).collect();
        let authority = encrypted.authority.with(&flags);
        Self {
            authority,
            ..encrypted
        }
    }

    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::before_start(flags).started()
    }

    /// One that asks its clients for certificates.
    pub(crate) fn mutual(flags: &[&str]) -> Self {
        Self::before_mutual_start(flags).started()
    }

    /// One that is called by this DNS name and no other, and is not yet started.
    pub(crate) fn called(self, name: &str) -> Self {
        let wanted = Wanted::server().nameless().dns(name);
        self.put(&self.servers.issue(wanted));
        self
    }

    pub(crate) fn started(mut self) -> Self {
        self.authority.start();
        self
    }

    pub(crate) fn before_mutual_start(flags: &[&str]) -> Self {
        let mut encrypted = Self::before_start(&[]);
        encrypted.write("clients.pem", &encrypted.clients.pem());
        let authorities = encrypted.file("clients.pem");
        let setting = format!("tls.client_ca_file={}", authorities.display());
        encrypted.authority = encrypted.authority.with(&["--set", &setting]).with(flags);
        encrypted
    }

    /// Where it listens, on loopback.
    pub(crate) fn port(&self) -> &str {
        self.authority.address.rsplit_once(':').unwrap().1
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.authority.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// Writes a file and answers its path.
    pub(crate) fn kept(&self, name: &str, text: &str) -> String {
        self.write(name, text);
        self.file(name).display().to_string()
    }

    /// Writes a certificate and its key, and answers both paths.
    pub(crate) fn kept_pair(&self, name: &str, issued: &Issued) -> [String; 2] {
        let certificate = self.kept(&format!("{name}.pem"), &issued.chain);
        [certificate, self.kept(&format!("{name}.key"), &issued.key)]
    }

    /// The file with the authority of the server's certificate.
    pub(crate) fn ca_file(&self) -> String {
        self.kept("ca.pem", &self.servers.pem())
    }

    /// Exchanges a file as it should be done: whole, by its name, and for its owner only.
    pub(crate) fn exchange(&self, name: &str, text: &str) {
        let fresh = self.file(&format!("{name}.new"));
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(fresh, self.file(name)).unwrap();
    }

    /// The server's certificate and key.
    pub(crate) fn put(&self, issued: &Issued) {
        self.exchange("server.key", &issued.key);
        self.exchange("server.pem", &issued.chain);
    }

    /// Sends SIGHUP, and waits until the log has told once more `what`.
    pub(crate) async fn look(&self, what: &str) {
        let told = || self.authority.log().matches(what).count();
        let before = told();
        self.authority.signal("HUP");
        until(|| (told() > before).then_some(())).await;
    }

    pub(crate) fn stranger(&self) -> Visitor {
        Visitor::trusting(&self.servers)
    }

    pub(crate) fn visitor(&self, issued: &Issued) -> Visitor {
        self.stranger().showing(issued)
    }

    pub(crate) async fn connect(&self, visitor: &Visitor) -> io::Result<TlsStream<TcpStream>> {
        visitor.connect(&self.authority.address).await
    }

    /// A client over a connection of its own, once it is served.
    pub(crate) async fn client(&self, visitor: &Visitor, credential: Option<&str>) -> Client {
        let mut client = visitor.client(&self.authority.address, credential);
        let patience = Instant::now() + PATIENCE;
        loop {
            match client.who_am_i(WhoAmIRequest {}).await {
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    assert!(Instant::now() < patience, "{status:?}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                _ => return client,
            }
        }
    }

    pub(crate) async fn root(&self) -> Client {
        self.client(&self.stranger(), Some(ROOT_TOKEN)).await
    }

    /// Whom the authority takes the holder of a certificate for.
    pub(crate) async fn who(&self, visitor: &Visitor) -> Result<WhoAmIResponse, Status> {
        let mut client = self.client(visitor, None).await;
        let answer = client.who_am_i(WhoAmIRequest {}).await?;
        Ok(answer.into_inner())
    }

    /// Asserts that no connection comes about, and that this is counted as a failed handshake.
    pub(crate) async fn refuses(&self, visitor: &Visitor, why: &str) {
        let before = self.failed_handshakes();
        let error = greeted(self.connect(visitor).await).await.unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
        until(|| (self.failed_handshakes() > before).then_some(())).await;
    }

    fn failed_handshakes(&self) -> f64 {
        self.metrics()
            .value("connections_ended_total{reason=\"handshake\"}")
    }

    pub(crate) fn metrics(&self) -> Scrape {
        let patience = Instant::now() + PATIENCE;
        loop {
            // It stands there already, but for the thread that reads it.
            let said = self.authority.stdout();
            let mut lines = said.lines();
            match lines.find_map(|line| line.strip_prefix("metrics on ")) {
                Some(address) => return Scrape::at(address),
                None => assert!(Instant::now() < patience, "no listener of the metrics"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whom a client trusts, and what it shows of itself.
#[derive(Clone)]
pub(crate) struct Visitor {
    roots: RootCertStore,
    own: Option<(String, String)>,
    versions: Versions,
    protocols: Vec<Vec<u8>>,
    name: &'static str,
}

impl Visitor {
    pub(crate) fn trusting(authority: &TestAuthority) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        Self {
            roots,
            own: None,
            versions: BOTH,
            protocols: vec![b"h2".to_vec()],
            name: "localhost",
        }
    }

    pub(crate) fn showing(mut self, issued: &Issued) -> Self {
        self.own = Some((issued.chain.clone(), issued.key.clone()));
        self
    }

    pub(crate) fn speaking(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    pub(crate) fn offering(mut self, protocols: &[&[u8]]) -> Self {
        self.protocols = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    pub(crate) fn calling(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What several connections may share, sessions to resume included.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Arc::new(config)
    }

    pub(crate) async fn connect(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        shake(self.config(), self.name, address).await
    }

    pub(crate) fn shows_something(&self) -> bool {
        self.own.is_some()
    }

    /// A client over a connection of its own, which is not made yet.
    pub(crate) fn client(&self, address: &str, credential: Option<&str>) -> Client {
        let bearer = credential.map(|secret| format!("Bearer {secret}").parse().unwrap());
        TokenServiceClient::with_interceptor(self.channel(address), Credential(bearer))
    }

    fn channel(&self, address: &str) -> Channel {
        let (config, name, address) = (self.config(), self.name, address.to_owned());
        let connect = move |_: Uri| {
            let (config, address) = (config.clone(), address.clone());
            async move { shake(config, name, &address).await.map(TokioIo::new) }
        };
        Endpoint::from_static("https://localhost").connect_with_connector_lazy(service_fn(connect))
    }
}

/// Shakes hands by a config that may know earlier sessions.
pub(crate) async fn shake(
    config: Arc<ClientConfig>,
    name: &'static str,
    address: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

/// Begins HTTP/2 and waits for the server's first bytes: only then is it certain, with TLS 1.3,
/// that it took the client's certificate.
pub(crate) async fn greeted(
    stream: io::Result<TlsStream<TcpStream>>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = stream?;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(settings).await?;
    stream.flush().await?;
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await?;
    assert_eq!(frame[3], 4, "a SETTINGS frame comes first");
    Ok(stream)
}

/// Waits until the server has ended a connection, with or without a word.
pub(crate) async fn ended(mut stream: TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest));
    let _ = ended.await.expect("the connection ends");
}

/// The certificate that the server showed.
pub(crate) fn server_certificate(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    shown[0].to_vec()
}
