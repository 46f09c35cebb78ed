//! Which server is called, how it is spoken to, and whom it must prove to be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::Environment;
use crate::domain::flaw::quoted;
use crate::tls::{ClientFiles, ClientTls, TlsError};

use super::args::ClientArgs;
use super::failure::Failure;

const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

/// A server, and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// In plaintext over TCP.
    Plain(HostPort),
    Tls {
        to: HostPort,
        /// Whom its certificate must name.
        name: String,
        trust: Trust,
        /// The certificate that is shown to it, and the key of it.
        own: Option<(PathBuf, PathBuf)>,
    },
    Unix(PathBuf),
}

/// Whose word is taken for a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// That of the authorities in a file.
    File(PathBuf),
    /// That of the authorities which this machine trusts.
    System,
    /// Nobody's: any certificate will do.
    Anyone,
}

/// A host, without brackets, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    /// The server that flags and variables name, or the default one.
    pub(super) fn find(args: &ClientArgs, environment: &Environment) -> Result<Self, Failure> {
        let choices = Choices::of(args, environment);
        let text = choices.server.clone();
        Self::parse(text.as_deref().unwrap_or(DEFAULT_SERVER), choices)
    }

    /// The server of that name, called as it is called where nothing else is said.
    pub(super) fn named(text: &str) -> Result<Self, Failure> {
        Self::parse(text, Choices::default())
    }

    fn parse(text: &str, choices: Choices) -> Result<Self, Failure> {
        let refuse = || {
            let forms = "http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:PATH";
            let got = quoted(text);
            Failure::Usage(format!("the server must be {forms}; got {got}"))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            choices.refuse_flags_of_tls(text, "")?;
            let path = Some(path).filter(|path| !path.is_empty());
            return path.map(|path| Self::Unix(path.into())).ok_or_else(refuse);
        }
        let (scheme, place) = match text.split_once("://") {
            Some((scheme, place)) => (Some(scheme), place),
            None => (None, text),
        };
        let to = HostPort::parse(place).ok_or_else(refuse)?;
        match scheme {
            Some("https") => choices.tls(to),
            Some("http") => choices.plain(to, text),
            // A secret crosses a network in the clear only where somebody says http://.
            None if !to.is_loopback() => choices.tls(to),
            None => choices.plain(to, text),
            Some(_) => Err(refuse()),
        }
    }

    /// A server of this machine, known from its own configuration. Its certificate is not verified,
    /// so nothing that is secret may be sent there.
    pub(super) fn at_hand(address: SocketAddr, tls: bool, own: Option<(PathBuf, PathBuf)>) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let to = HostPort {
            host: ip.to_string(),
            port: address.port(),
        };
        match tls {
            false => Self::Plain(to),
            true => Self::Tls {
                // Sent to nobody, since an address is no name of TLS (RFC 6066, section 3).
                name: to.host.clone(),
                to,
                trust: Trust::Anyone,
                own,
            },
        }
    }

    /// Why it is not called with a root token that nobody named. Whoever shows a certificate wants
    /// to be who it says: a secret counts before it, and root may do everything.
    pub(super) fn no_root_token(&self) -> Option<&'static str> {
        match self {
            Self::Tls { own: Some(_), .. } => {
                Some("a root token is not looked for beside a certificate")
            }
            Self::Plain(to) | Self::Tls { to, .. } if !to.is_loopback() => {
                Some("a root token is looked for only for servers on this machine")
            }
            Self::Plain(_) | Self::Tls { .. } | Self::Unix(_) => None,
        }
    }

    /// What calls name as their authority (RFC 9113, section 8.3.1), and their scheme.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::Plain(to) => format!("http://{to}"),
            Self::Tls { to, name, .. } => {
                let named = HostPort {
                    host: name.clone(),
                    port: to.port,
                };
                format!("https://{named}")
            }
            // A path is no authority, and some servers refuse one.
            Self::Unix(_) => "http://localhost".to_owned(),
        }
    }

    /// What TLS is spoken with; `None` where none is.
    pub(super) fn tls(&self) -> Result<Option<ClientTls>, Failure> {
        let Self::Tls { trust, own, .. } = self else {
            return Ok(None);
        };
        let files = |authorities| ClientFiles {
            authorities,
            own: own.clone(),
        };
        let loaded = match trust {
            Trust::File(path) => ClientTls::load(&files(Some(path.clone()))),
            Trust::System => ClientTls::load(&files(None)),
            Trust::Anyone => ClientTls::of_anyone(own.as_ref()),
        };
        let unusable = |error: TlsError| Failure::Usage(error.to_string());
        loaded.map(Some).map_err(unusable)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(to) => write!(f, "http://{to}"),
            Self::Tls { to, .. } => write!(f, "https://{to}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl HostPort {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let authority: http::uri::Authority = text.parse().ok()?;
        let bare = authority.host().trim_matches(['[', ']']);
        let sound = !bare.is_empty() && !authority.as_str().contains('@');
        Some(Self {
            host: Some(bare).filter(|_| sound)?.to_owned(),
            port: authority.port_u16().filter(|port| *port > 0)?,
        })
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// What flags and variables say about the way to a server.
#[derive(Default)]
struct Choices {
    server: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    name: Option<String>,
    /// The first flag that means TLS; a variable may be meant for other servers.
    flag: Option<&'static str>,
}

impl Choices {
    fn of(args: &ClientArgs, environment: &Environment) -> Self {
        let variable = |name: &str| environment.get(name).filter(|text| !text.is_empty());
        let text = |flag: &Option<String>, name| flag.clone().or(variable(name).cloned());
        let path = |flag: &Option<PathBuf>, name| flag.clone().or(variable(name).map(Into::into));
        let given = [
            ("--ca-file", args.ca_file.is_some()),
            ("--cert-file", args.cert_file.is_some()),
            ("--key-file", args.key_file.is_some()),
            ("--server-name", args.server_name.is_some()),
        ];
        Self {
            server: text(&args.server, "TOKEN_AUTHORITY_SERVER"),
            authorities: path(&args.ca_file, "TOKEN_AUTHORITY_CA_FILE"),
            certificate: path(&args.cert_file, "TOKEN_AUTHORITY_CERT_FILE"),
            key: path(&args.key_file, "TOKEN_AUTHORITY_KEY_FILE"),
            name: text(&args.server_name, "TOKEN_AUTHORITY_SERVER_NAME"),
            flag: given.into_iter().find(|(_, given)| *given).map(|it| it.0),
        }
    }

    fn plain(self, to: HostPort, text: &str) -> Result<Server, Failure> {
        let instead = format!("; write https://{to} if it speaks TLS");
        self.refuse_flags_of_tls(text, &instead)?;
        Ok(Server::Plain(to))
    }

    fn tls(self, to: HostPort) -> Result<Server, Failure> {
        let own = self.own()?;
        let name = self.name.unwrap_or_else(|| to.host.clone());
        let named = HostPort {
            host: name.clone(),
            port: to.port,
        };
        if HostPort::parse(&named.to_string()).is_none() {
            let why = "--server-name must be a DNS name or an address; got";
            return Err(Failure::Usage(format!("{why} {}", quoted(&name))));
        }
        Ok(Server::Tls {
            name,
            to,
            trust: self.authorities.map_or(Trust::System, Trust::File),
            own,
        })
    }

    /// The certificate that is shown, and its key.
    fn own(&self) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
        let lacks = |given: &str, missing: &str| {
            let variables = "TOKEN_AUTHORITY_CERT_FILE and TOKEN_AUTHORITY_KEY_FILE";
            let why = format!("{given} needs {missing} beside it (or {variables})");
            Err(Failure::Usage(why))
        };
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
            (None, None) => Ok(None),
            (Some(_), None) => lacks("--cert-file", "--key-file"),
            (None, Some(_)) => lacks("--key-file", "--cert-file"),
        }
    }

    /// Whoever gives such a flag means TLS, and must not be sent on without.
    fn refuse_flags_of_tls(&self, server: &str, instead: &str) -> Result<(), Failure> {
        let Some(flag) = self.flag else {
            return Ok(());
        };
        let server = quoted(server);
        let why = format!("{flag} is for TLS, which is not spoken to {server}{instead}");
        Err(Failure::Usage(why))
    }
}

/// The certificate that flags or variables give to be shown, and its key.
pub(super) fn own_certificate(
    args: &ClientArgs,
    environment: &Environment,
) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    Choices::of(args, environment).own()
}

#[cfg(test)]
mod tests;
