//! How many connections there are, in all and by worker, and why this side ended others.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Why this side refused or ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There were too many connections.
    Full,
    /// There were too many from its address.
    AddressFull,
    /// Nothing sound was said in time: no greeting, or no first call and no answer to a ping.
    Silent,
    /// The handshake failed.
    Handshake,
    /// No call was made for long, or the peer answered no ping.
    Idle,
    /// It, or the certificate that it began with, came of age.
    Aged,
    /// The peer did not take what was sent to it.
    Stalled,
    /// Too many frames that ask nothing, or too much of what HTTP/2 forbids.
    Flood,
    /// The peer broke the rules of HTTP/2.
    Protocol,
    /// Most calls were reset as soon as they began.
    Resets,
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::Silent => "silent",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Aged => "aged",
            Self::Stalled => "stalled",
            Self::Flood => "flood",
            Self::Protocol => "protocol",
            Self::Resets => "resets",
        }
    }
}

/// Connections, counted.
#[derive(Debug, Default)]
pub struct Connections {
    pub(super) open: Gauge,
    pub(super) by_worker: Family<Worker, Gauge>,
    pub(super) ended: Family<Reason, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Worker {
    worker: u32,
}

/// The connections of one worker.
#[derive(Clone, Debug)]
pub struct OfWorker(Gauge);

impl OfWorker {
    /// How many there are.
    pub fn open(&self) -> i64 {
        self.0.get()
    }

    pub fn begun(&self) -> Open {
        self.0.inc();
        Open(self.0.clone())
    }
}

/// An open connection, until this is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Connections {
    pub fn begun(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    /// Those of a worker, by its number.
    pub fn of_worker(&self, worker: u32) -> OfWorker {
        OfWorker(self.by_worker.get_or_create_owned(&Worker { worker }))
    }

    pub fn ended(&self, why: Ended) {
        let reason = why.word();
        self.ended.get_or_create(&Reason { reason }).inc();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
