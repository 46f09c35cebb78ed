//! How long calls took, by method and code.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;

use super::Durations;

/// The canonical codes of gRPC by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// All methods that are not told apart: health, reflection, and those that do not exist.
const OTHER: &str = "other";

/// A method that is told apart, or all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc(usize);

/// Durations of calls; each series is looked up once and then held.
#[derive(Debug)]
pub struct Rpcs {
    /// [`OTHER`] last.
    methods: Vec<&'static str>,
    held: Vec<[OnceLock<Durations>; CODES.len()]>,
    pub(super) family: Family<Labels, Durations>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    method: &'static str,
    code: &'static str,
}

impl Rpcs {
    pub(super) fn new(methods: impl IntoIterator<Item = &'static str>) -> Self {
        let methods: Vec<_> = methods.into_iter().chain([OTHER]).collect();
        let held = methods.iter().map(|_| Default::default()).collect();
        Self {
            methods,
            held,
            family: Family::default(),
        }
    }

    /// The method of this name; `None` is any that is not told apart.
    pub fn named(&self, name: Option<&str>) -> Rpc {
        let Rpc(other) = self.other();
        let known = &self.methods[..other];
        let at = name.and_then(|name| known.iter().position(|method| *method == name));
        Rpc(at.unwrap_or(other))
    }

    /// All that are not told apart.
    pub fn other(&self) -> Rpc {
        Rpc(self.methods.len() - 1)
    }

    pub fn name(&self, rpc: Rpc) -> &'static str {
        self.methods[rpc.0]
    }

    /// Counts a call that ended with `code`, a number of gRPC.
    pub fn took(&self, rpc: Rpc, code: usize, span: Duration) {
        let code = code.min(CODES.len() - 1);
        let durations = self.held[rpc.0][code].get_or_init(|| {
            self.family.get_or_create_owned(&Labels {
                method: self.methods[rpc.0],
                code: CODES[code],
            })
        });
        durations.observe(span);
    }
}
