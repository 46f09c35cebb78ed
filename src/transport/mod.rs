//! The edges of the process: what strangers send becomes values of the domain, answers become wire.

pub mod connections;
pub mod gate;
pub mod grpc;
pub mod http;
pub mod sidecar;
