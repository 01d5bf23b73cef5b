//! Compiles `proto/snapshot.proto` with a compiler written in Rust, so that no `protoc` is needed.

use std::error::Error;

use prost::Message as _;

const PROTO: &str = "proto/snapshot.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");

    let descriptors = protox::compile([PROTO], ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    prost_build::Config::new()
        .type_attribute("headgate.snapshot.v1.Key", "#[derive(PartialOrd, Ord)]")
        .skip_debug(["headgate.snapshot.v1.Certificate"])
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".headgate.snapshot.v1"])?;
    Ok(())
}
