//! gRPC: the service, its codec and statuses.

pub mod codec;
pub mod pb;
mod status;
