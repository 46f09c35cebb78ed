//! The way to a server, over TCP, TLS or a Unix socket, and in words why there is none.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::tls::{ClientTls, Mishap};

use super::failure::{Failure, root_cause};
use super::heard::{Ear, Heard, Overheard};
use super::server::{HostPort, Server, Trust};

/// How often the other end is asked whether it is there while a call is under way, and for how long.
const ALIVE_EVERY: Duration = Duration::from_secs(20);
const ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// A connection to a server, renewed where it breaks between two calls.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    server: Arc<Server>,
    ear: Ear,
}

impl Connection {
    /// Connects within `timeout`.
    pub(super) async fn open(server: Server, timeout: Duration) -> Result<Self, Failure> {
        let unreachable = |why: String| Failure::Unreachable {
            server: server.to_string(),
            why,
        };
        let endpoint = Endpoint::from_shared("http://localhost")
            .and_then(|endpoint| {
                endpoint.user_agent(concat!("token-authority/", env!("CARGO_PKG_VERSION")))
            })
            // A stream must not wait for ever on a connection that nobody ended.
            .map(|endpoint| {
                let asked = endpoint.http2_keep_alive_interval(ALIVE_EVERY);
                asked.keep_alive_timeout(ALIVE_WITHIN)
            })
            .map_err(|error| unreachable(root_cause(&error)))?;
        let origin = server.origin().parse();
        let origin = origin.map_err(|_| unreachable("its name is no authority".to_owned()))?;
        let tls = server.tls()?;
        let (target, ear) = (Arc::new(server.clone()), Ear::default());
        let connector = {
            let (target, ear) = (target.clone(), ear.clone());
            service_fn(move |_| dial(target.clone(), tls.clone(), ear.clone()))
        };
        let endpoint = endpoint.origin(origin);
        let connecting = endpoint.connect_with_connector(connector);
        let channel = match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| unreachable(root_cause(&error)))?,
            Err(_) => {
                let spent = humantime::format_duration(timeout);
                return Err(unreachable(format!("no connection within {spent}")));
            }
        };
        Ok(Self {
            channel,
            server: target,
            ear,
        })
    }

    /// Where it leads to.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Whether the server answered in TLS where plaintext was spoken.
    pub(super) fn heard_tls(&self) -> bool {
        self.ear.heard() == Some(Heard::Tls)
    }

    /// Why a call failed: what its server says, or that it is no server which could say something.
    pub(super) fn failure(&self, status: Status, hint: Option<String>) -> Failure {
        match self.ear.heard() {
            Some(heard) => Failure::Unreachable {
                server: self.server.to_string(),
                why: self.server.words_of_heard(&heard),
            },
            None => Failure::Call {
                status: Box::new(status),
                hint,
            },
        }
    }
}

/// Any kind of connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Dialled = TokioIo<Overheard<Box<dyn Stream>>>;

async fn dial(server: Arc<Server>, tls: Option<ClientTls>, ear: Ear) -> io::Result<Dialled> {
    let stream: Box<dyn Stream> = match (server.as_ref(), tls) {
        (Server::Unix(path), _) => {
            let connected = UnixStream::connect(path).await;
            Box::new(connected.map_err(|error| of_socket(path, error))?)
        }
        (Server::Tls { to, name, .. }, Some(tls)) => {
            let shaken = tls.connect(name, tcp(to).await?).await;
            Box::new(shaken.map_err(|error| server.of_handshake(error))?)
        }
        (Server::Plain(to) | Server::Tls { to, .. }, _) => Box::new(tcp(to).await?),
    };
    Ok(TokioIo::new(Overheard::new(stream, ear)))
}

async fn tcp(to: &HostPort) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
    // Calls are small; without it each would wait for the acknowledgement of the last.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The error of a Unix socket, with what a person can do about it.
fn of_socket(path: &Path, error: io::Error) -> io::Error {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let why = match error.kind() {
        NotFound => {
            "there is no such socket; a server makes it when it starts with this path in \
                     server.listen"
        }
        ConnectionRefused => "nobody listens there; a server that died left the socket behind",
        PermissionDenied => {
            "this user may not connect: it needs the right to write the socket \
                             (server.unix_mode) and to enter its folder"
        }
        _ => return error,
    };
    let kind = error.kind();
    // A link or a file of that name refuses connections, too.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| {
        use std::os::unix::fs::FileTypeExt;
        found.file_type().is_socket() || found.is_symlink()
    });
    match kind {
        ConnectionRefused if !is_socket => io::Error::new(kind, "that file is no socket"),
        _ => io::Error::new(kind, why),
    }
}

/// What a server's word about a client's certificate means, where more is known than the word.
fn words_of_refusal(why: &str) -> String {
    let meaning = match why {
        "UnsupportedCertificate" => "it is not for clients; it needs extendedKeyUsage clientAuth",
        "UnknownCA" => "it comes from no authority that the server accepts (tls.client_ca_file)",
        "CertificateExpired" => "it ended, or does not hold yet",
        "CertificateRevoked" => "it was revoked",
        _ => return why.to_owned(),
    };
    format!("{meaning} ({why})")
}

impl Server {
    fn of_handshake(&self, error: io::Error) -> io::Error {
        match Mishap::of(&error) {
            Some(mishap) => io::Error::new(error.kind(), self.words_of_mishap(&mishap)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                let why = "the server closed the connection while hands were shaken; it may be \
                           full, or speak no TLS";
                io::Error::new(error.kind(), why)
            }
            None => error,
        }
    }

    fn words_of_heard(&self, heard: &Heard) -> String {
        match (heard, self) {
            (Heard::Tls, Self::Plain(to)) => {
                format!("the server speaks TLS; write https://{to}")
            }
            (Heard::Http1 | Heard::Noise | Heard::Tls, _) => {
                "whoever listens there speaks no gRPC".to_owned()
            }
            (Heard::Nothing, _) => "the server closed the connection without a word; it may be \
                                    full, or expect something else than gRPC"
                .to_owned(),
            (Heard::Mishap(mishap), _) => self.words_of_mishap(mishap),
        }
    }

    /// What went wrong about TLS, and what can be done about it.
    fn words_of_mishap(&self, mishap: &Mishap) -> String {
        let Self::Tls {
            to,
            name,
            trust,
            own,
        } = self
        else {
            return "TLS went wrong where none is spoken".to_owned();
        };
        match mishap {
            Mishap::NotTls => format!(
                "the server speaks no TLS; http://{to} asks for plaintext, in which anybody on the \
                 way can read the caller's secret"
            ),
            Mishap::UnknownAuthority => match trust {
                Trust::File(path) => format!(
                    "its certificate comes from none of the authorities in {}",
                    path.display()
                ),
                Trust::System | Trust::Anyone => {
                    "its certificate comes from no authority that this machine trusts; give the \
                     authority's certificate by --ca-file"
                        .to_owned()
                }
            },
            Mishap::OtherNames(names) => {
                let names = match names.as_slice() {
                    [] => "others".to_owned(),
                    names => names.join(", "),
                };
                format!(
                    "its certificate is not for {name}, but for {names}; if one of these is meant, \
                     call it so or give --server-name"
                )
            }
            Mishap::Ended(at) => format!(
                "its certificate ended at {at}; the server needs a new one, unless this machine's \
                 clock is wrong"
            ),
            Mishap::NotYet(at) => format!(
                "its certificate holds only from {at} on; if that is past, this machine's clock is \
                 wrong"
            ),
            Mishap::Unsound(why) => format!("its certificate cannot be trusted: {why}"),
            Mishap::CertificateWanted => format!(
                "the server takes clients with a certificate only; give one by --cert-file and \
                 --key-file{}",
                self.or_a_socket()
            ),
            Mishap::CertificateRefused(why) => match own {
                Some((certificate, _)) => format!(
                    "the server refuses the certificate in {}: {}",
                    certificate.display(),
                    words_of_refusal(why)
                ),
                // TLS 1.2 has no word of its own for a missing one.
                None => self.words_of_mishap(&Mishap::CertificateWanted),
            },
            Mishap::NothingInCommon(why) => {
                format!("the server speaks no TLS that this program speaks: {why}")
            }
            Mishap::Other(why) => format!("TLS: {why}"),
        }
    }

    /// The other way that is open to whoever asks the server of its own machine.
    fn or_a_socket(&self) -> &'static str {
        match self {
            Self::Tls {
                trust: Trust::Anyone,
                ..
            } => ", or let the server listen on a Unix socket, too (server.listen)",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_refused_certificate_say_what_to_mend() {
        let said = words_of_refusal("UnsupportedCertificate");
        assert!(said.contains("needs extendedKeyUsage clientAuth"), "{said}");
        for known in ["UnknownCA", "CertificateExpired", "CertificateRevoked"] {
            let said = words_of_refusal(known);
            assert!(said.ends_with(&format!(" ({known})")), "{said}");
        }
        assert_eq!(words_of_refusal("DecryptError"), "DecryptError");
    }
}
