//! Lines that a person can copy into a shell to call the server that has just begun to serve.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{self, Config, default_root_token_file};
use crate::domain::peer_name::PeerName;
use crate::tls::ServerTls;
use crate::transport::connections::Place;

/// Where the command line calls unless it is told otherwise.
const CLIENT_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// What is known of a server beyond its places.
pub(super) struct Acquaintance {
    pub(super) program: PathBuf,
    /// The file of the generated root token that is in force, if it is known.
    pub(super) root_token: Option<PathBuf>,
    /// Where the command line finds a root token by itself, for servers of this machine.
    pub(super) found: Option<PathBuf>,
    /// `None` where plaintext is spoken on TCP.
    pub(super) tls: Option<Tls>,
}

/// What a caller must know of the server's TLS.
pub(super) struct Tls {
    /// What the server's certificate calls it.
    pub(super) names: Vec<PeerName>,
    /// Whether clients must show a certificate, too.
    pub(super) mutual: bool,
}

/// The flags that lead to a place, of the command line and of grpcurl; what the reader must have at
/// hand for them; and whether the place is on this machine for certain.
struct Way {
    own: Vec<String>,
    grpcurl: Vec<String>,
    place: String,
    needs: Vec<&'static str>,
    local: bool,
}

impl Acquaintance {
    pub(super) fn of(
        config: &Config,
        root_token: Option<PathBuf>,
        tls: Option<&ServerTls>,
    ) -> Self {
        let clients = config
            .tls
            .as_ref()
            .and_then(|tls| tls.files.clients.as_ref());
        let mutual = clients.is_some_and(|clients| clients.required);
        let environment = config::environment().unwrap_or_default();
        Self {
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("token-authority")),
            root_token,
            found: default_root_token_file(&environment),
            tls: tls.map(|tls| Tls {
                names: tls.certificate().names,
                mutual,
            }),
        }
    }

    /// The lines for the place that is called most easily; `None` without a place.
    pub(super) fn suggestions(&self, places: &[Place]) -> Option<String> {
        let tcp = places.iter().find_map(|place| match place {
            Place::Tcp(address) => Some(*address),
            Place::Unix(_) => None,
        });
        let unix = places.iter().find_map(|place| match place {
            Place::Tcp(_) => None,
            Place::Unix(path) => Some(path),
        });
        let way = match (tcp, unix, &self.tls) {
            (Some(address), _, None) => Way::plain(address),
            (_, Some(path), _) => Way::unix(path),
            (Some(address), None, Some(tls)) => Way::tls(address, tls),
            (None, None, _) => return None,
        };
        Some(self.lines(way))
    }

    fn lines(&self, way: Way) -> String {
        let Way {
            mut own,
            grpcurl,
            place,
            mut needs,
            local,
        } = way;
        let (credential, token) = match &self.root_token {
            Some(path) => {
                let file = quoted(&absolute(path));
                if self.root_token != self.found || !local {
                    own.push(format!("--token-file {file}"));
                }
                ("", format!("$(cat {file})"))
            }
            None => {
                needs.insert(0, "a root token in TOKEN");
                ("TOKEN_AUTHORITY_TOKEN=\"$TOKEN\" ", "$TOKEN".to_owned())
            }
        };
        let head = match needs.as_slice() {
            [] => "Try it:".to_owned(),
            needs => format!("Try it, with {}:", needs.join(" and ")),
        };
        let program = quoted(&self.program.to_string_lossy());
        let own: String = own.iter().map(|flag| format!(" {flag}")).collect();
        let grpcurl = grpcurl.join(" ");
        format!(
            "{head}\n  \
               {credential}{program}{own} token create --name hello\n  \
               grpcurl {grpcurl} {place} describe tokenauthority.v1.TokenService\n  \
               grpcurl {grpcurl} -H \"authorization: Bearer {token}\" -d '{{\"name\":\"hello\"}}' \\\n    \
                 {place} tokenauthority.v1.TokenService/Create\n"
        )
    }
}

impl Way {
    fn plain(address: SocketAddr) -> Self {
        let address = reachable(address);
        let place = quoted(&address.to_string());
        let local = address.ip().is_loopback();
        // Without a scheme the command line speaks plaintext on loopback only.
        let scheme = if local { "" } else { "http://" };
        let own = (address != CLIENT_DEFAULT)
            .then(|| format!("--server {}", quoted(&format!("{scheme}{address}"))));
        Self {
            own: own.into_iter().collect(),
            grpcurl: vec!["-plaintext".to_owned()],
            place,
            needs: Vec::new(),
            local,
        }
    }

    fn unix(path: &Path) -> Self {
        let path = absolute(path);
        Self {
            own: vec![format!("--server {}", quoted(&format!("unix:{path}")))],
            // Its flag -unix does not work (v1.9.3).
            grpcurl: vec!["-plaintext".to_owned()],
            place: quoted(&format!("unix:{path}")),
            needs: Vec::new(),
            local: true,
        }
    }

    fn tls(address: SocketAddr, tls: &Tls) -> Self {
        let address = reachable(address);
        let local = address.ip().is_loopback();
        let named = tls.names.iter().find_map(|name| match name {
            PeerName::Dns(name) => Some(name.as_str()),
            PeerName::Uri(_) => None,
        });
        let localhost = PeerName::Dns("localhost".to_owned());
        // By its address the certificate would have to name that.
        let (place, name) = match tls.names.contains(&localhost) && local {
            true => (format!("localhost:{}", address.port()), None),
            false => (address.to_string(), named),
        };
        let mut own = vec![
            format!("--server {}", quoted(&format!("https://{place}"))),
            "--ca-file \"$CA\"".to_owned(),
        ];
        let mut grpcurl = vec!["-cacert \"$CA\"".to_owned()];
        let mut needs = vec!["its authority's certificate in the file CA"];
        if let Some(name) = name {
            own.push(format!("--server-name {}", quoted(name)));
            grpcurl.push(format!("-authority {}", quoted(name)));
        }
        if tls.mutual {
            own.push("--cert-file \"$CERT\" --key-file \"$KEY\"".to_owned());
            grpcurl.push("-cert \"$CERT\" -key \"$KEY\"".to_owned());
            needs.push("your own with its key in the files CERT and KEY");
        }
        Self {
            own,
            grpcurl,
            place: quoted(&place),
            needs,
            local,
        }
    }
}

/// An address that one can call, of one that one can listen on.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// The path from wherever the reader is.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
