//! The generated API, and a `Debug` for messages that carry a secret.

use std::fmt;

#[allow(
    clippy::doc_lazy_continuation,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    unreachable_pub,
    missing_docs
)]
mod generated {
    tonic::include_proto!("tokenauthority.v1");
}

pub use generated::*;

/// Prints of such messages no more than that they are there.
macro_rules! redacted {
    ($($message:ty),* $(,)?) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(redacted)"))
            }
        }
    )*};
}

redacted!(
    AcquireResponse,
    CreateResponse,
    KeepAliveRequest,
    keep_alive_request::Target,
    Lease,
    ReleaseRequest,
    release_request::Target,
    RotateResponse,
    RevokeRequest,
    revoke_request::Target,
    ValidateRequest,
);
