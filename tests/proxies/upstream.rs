//! A service behind a proxy, which remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::PATIENCE;

/// Listens as long as the test program runs; a connection ends with its answer.
pub(crate) struct Upstream {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let own = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || answer(stream, &own));
            }
        });
        Self { address, requests }
    }

    /// All requests so far, heads in small letters with their bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("a sound lock").clone()
    }

    /// The last of them.
    pub(crate) fn last(&self) -> String {
        self.requests().pop().expect("a request")
    }
}

fn answer(mut stream: TcpStream, requests: &Mutex<Vec<String>>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    reader.read_exact(&mut body).ok()?;
    let status = match head.contains(" /teapot ") {
        true => "418 I'm a teapot",
        false if head.contains(" /forbidden ") => "403 Forbidden",
        false => "200 OK",
    };
    let body = String::from_utf8_lossy(&body);
    requests
        .lock()
        .expect("a sound lock")
        .push(format!("{head}{body}"));
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nserve");
    stream.write_all(reply.as_bytes()).ok()
}
