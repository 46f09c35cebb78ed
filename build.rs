//! Compiles proto/ without protoc, and keeps the descriptors, with comments, for reflection.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

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

/// The same of Envoy's, in envoy.rs.
const ENVOYS_SECRET_BEARERS: [&str; 2] = [
    ".envoy.config.core.v3.HeaderValue",
    ".envoy.service.auth.v3.AttributeContext.HttpRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let own = [
        "tokenauthority/v1/token_service.proto",
        "tokenauthority/v1/error_reason.proto",
    ];
    generated()
        .skip_debug(SECRET_BEARERS)
        .compile_fds(described(&own, "tokenauthority.bin")?)?;
    let envoys = [
        "envoy/service/accesslog/v3/als.proto",
        "envoy/service/auth/v3/external_auth.proto",
    ];
    // Its packages name each other by where they stand among modules.
    generated()
        .skip_debug(ENVOYS_SECRET_BEARERS)
        .include_file("envoy_packages.rs")
        .compile_fds(described(&envoys, "envoy.bin")?)?;
    Ok(())
}

fn generated() -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .btree_map(".")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .codec_path("crate::transport::grpc::codec::EdgeCodec")
}

/// Describes files and those they import, and keeps that under a name.
#[expect(
    clippy::disallowed_methods,
    reason = "Cargo says in the environment where to write"
)]
fn described(files: &[&str], name: &str) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let described = protox::Compiler::new(["proto"])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)?
        .encode_file_descriptor_set();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join(name), &described)?;
    Ok(FileDescriptorSet::decode(described.as_slice())?)
}
