//! Compiles proto/ without protoc, and keeps the descriptors, with comments, for reflection.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;

/// Messages and oneofs that carry a secret, or the name of a lease: their `Debug` is written by hand, in pb.rs.
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

#[expect(
    clippy::disallowed_methods,
    reason = "Cargo says in the environment where to write"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::Compiler::new(["proto"])?
        .include_source_info(true)
        .include_imports(true)
        .open_files([
            "tokenauthority/v1/token_service.proto",
            "tokenauthority/v1/error_reason.proto",
            "envoy/service/accesslog/v3/als.proto",
        ])?
        .encode_file_descriptor_set();
    fs::write(
        PathBuf::from(env::var("OUT_DIR")?).join("tokenauthority.bin"),
        &files,
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .codec_path("crate::transport::grpc::codec::EdgeCodec")
        .skip_debug(SECRET_BEARERS)
        .compile_fds(prost_types::FileDescriptorSet::decode(files.as_slice())?)?;
    Ok(())
}
