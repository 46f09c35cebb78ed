//! Clients of the services: HTTP/1.1 as it is written, byte by byte, so that anything may be asked.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::PATIENCE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header; `None` where it is absent, and never one of several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(own, _)| own == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes once: {self:?}");
        first
    }

    /// What the upstream saw of a header, each value in a line.
    pub(crate) fn seen(&self, name: &str) -> Vec<&str> {
        let lines = self.body.lines();
        let pairs = lines.filter_map(|line| line.split_once(": "));
        pairs
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| value)
            .collect()
    }
}

/// Sends a request with these headers, each `name: value`.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[String],
) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: shop.example\r\n").into_bytes();
    for header in headers {
        request.extend(header.as_bytes());
        request.extend(b"\r\n");
    }
    request.extend(b"connection: close\r\n\r\n");
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&request).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = tokio::time::timeout(PATIENCE, asking).await;
    let text = text.expect("an answer in time").expect("an answer");
    read(&String::from_utf8_lossy(&text))
}

/// Asks for a path with this secret.
pub(crate) async fn get(address: SocketAddr, target: &str, secret: &str) -> Answer {
    ask(address, "GET", target, &[bearer(secret)]).await
}

pub(crate) fn bearer(secret: &str) -> String {
    format!("authorization: Bearer {secret}")
}

fn read(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().expect("a status")[9..12].parse();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.expect("a number"),
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}
