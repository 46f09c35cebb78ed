//! The edges of the process: what strangers send becomes values of the domain, answers become wire.

pub mod connections;
pub mod grpc;
pub mod http;
