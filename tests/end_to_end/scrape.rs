//! Reading pages over plain HTTP, and single series out of the metrics.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Authority, PATIENCE};

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

/// Sends one request over HTTP/1.1; `headers` each end in a line's end.
pub(crate) fn http(address: &str, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let content_type = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    Answer {
        status: head[9..12].parse().expect("a status"),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: body.to_owned(),
    }
}

/// All series of a moment.
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Reads the metrics beside gRPC.
    pub(crate) fn of(authority: &Authority) -> Self {
        Self::at(&authority.address)
    }

    pub(crate) fn at(address: &str) -> Self {
        let answer = http(address, "GET", "/metrics", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let name = name.strip_prefix("token_authority_").expect("our prefix");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self(series.collect())
    }

    /// The value of a series, without the prefix of all; zero where there is none.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// How many calls of a method ended with a code.
    pub(crate) fn calls(&self, method: &str, code: &str) -> f64 {
        self.value(&format!(
            "rpc_duration_seconds_count{{method=\"{method}\",code=\"{code}\"}}"
        ))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All series whose names begin so.
    #[allow(dead_code, reason = "for programs that tell more when they fail")]
    pub(crate) fn beginning(&self, with: &str) -> Vec<(&str, f64)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), *value));
        all.filter(|(name, _)| name.starts_with(with)).collect()
    }
}
