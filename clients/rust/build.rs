//! Generates client stubs of `tokenauthority.v1` from the protos, without protoc.

use std::error::Error;

/// Messages and oneofs that carry a secret, or the name of a lease: their `Debug` stands in src/pb.rs.
const SECRET_BEARERS: [&str; 11] = [
    ".tokenauthority.v1.AcquireResponse",
    ".tokenauthority.v1.CreateResponse",
    ".tokenauthority.v1.KeepAliveRequest",
    ".tokenauthority.v1.KeepAliveRequest.target",
    ".tokenauthority.v1.Lease",
    ".tokenauthority.v1.ReleaseRequest",
    ".tokenauthority.v1.ReleaseRequest.target",
    ".tokenauthority.v1.RotateResponse",
    ".tokenauthority.v1.RevokeRequest",
    ".tokenauthority.v1.RevokeRequest.target",
    ".tokenauthority.v1.ValidateRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    println!("cargo:rerun-if-changed={proto}");
    let files = protox::compile(
        [
            "tokenauthority/v1/token_service.proto",
            "tokenauthority/v1/error_reason.proto",
        ],
        [proto],
    )?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .skip_debug(SECRET_BEARERS)
        .compile_fds(files)?;
    Ok(())
}
