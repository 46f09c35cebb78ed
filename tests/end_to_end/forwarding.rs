//! An authority that answers proxies over HTTP, and a client of that which sends what it is told to.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::harness::{Authority, PATIENCE, until};

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// The value of a header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Sends one request over a connection of its own; `lines` are further headers.
pub(crate) fn send(address: &str, method: &str, target: &str, lines: &[&str], body: &str) -> Reply {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    over(stream, method, target, lines, body)
}

/// The same over whatever is connected.
pub(crate) fn over(
    mut stream: impl Read + Write,
    method: &str,
    target: &str,
    lines: &[&str],
    body: &str,
) -> Reply {
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    if !lines.iter().any(|line| line.starts_with("host:")) {
        request.push_str("host: x\r\n");
    }
    for line in lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    if !body.is_empty() {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).expect("a request");
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{read:?}: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.get(9..12));
    let headers = lines.filter_map(|line| line.split_once(':'));
    Reply {
        status: status.expect("a status").parse().expect("a number"),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// Posts a form.
pub(crate) fn post(address: &str, path: &str, lines: &[&str], form: &str) -> Reply {
    let kind = "content-type: application/x-www-form-urlencoded";
    send(address, "POST", path, &[&[kind], lines].concat(), form)
}

/// Starts an authority once more, with forward-auth on a port of its own and this configuration, and
/// answers where that is.
pub(crate) async fn forwarding(
    mut authority: Authority,
    configuration: &str,
) -> (Authority, String) {
    authority.stop("TERM");
    let path = file(&authority);
    let path = path.to_str().expect("UTF-8");
    let listen = "forward_auth.listen=127.0.0.1:0";
    let mut authority = authority.with(&["--config", path, "--set", listen]);
    let address = started(&mut authority, configuration).await;
    (authority, address)
}

/// The same of one that has forward-auth, with another configuration.
pub(crate) async fn again(authority: &mut Authority, configuration: &str) -> String {
    authority.stop("TERM");
    started(authority, configuration).await
}

fn file(authority: &Authority) -> PathBuf {
    authority.folder.path().join("forwarding.toml")
}

async fn started(authority: &mut Authority, configuration: &str) -> String {
    fs::write(file(authority), configuration).expect("a file");
    let places = |authority: &Authority| {
        let said = authority.stdout();
        let lines = said
            .lines()
            .filter_map(|line| line.strip_prefix("forward-auth on "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = places(authority).len();
    authority.start();
    let address = until(|| places(authority).get(before).cloned()).await;
    authority.serving(true).await;
    address
}

/// Believes who asks from this machine.
pub(crate) const TRUSTING: &str = "[forward_auth]\ntrusted_peers = [\"127.0.0.1\"]\n";
