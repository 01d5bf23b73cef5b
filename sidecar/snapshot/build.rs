//! Compiles the messages of `proto/` with a compiler written in Rust, so that no `protoc` is needed.

use std::error::Error;

use prost::Message as _;

const PROTOS: [&str; 2] = ["proto/snapshot.proto", "proto/stream.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }

    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    let mut config = prost_build::Config::new();
    config.type_attribute("headgate.snapshot.v1.Key", "#[derive(PartialOrd, Ord)]").skip_debug([
        "headgate.snapshot.v1.Certificate",
        "headgate.snapshot.v1.Token",
        "headgate.snapshot.v1.ReviewQuestion",
        "headgate.snapshot.v1.WaitingRoom",
    ]);
    if std::env::var_os("CARGO_FEATURE_STREAM").is_some() {
        // Without the transport's own `connect`, which would bear the name of ours.
        config.service_generator(tonic_prost_build::configure().build_transport(false).service_generator());
    }
    config.compile_fds(descriptors)?;
    pbjson_build::Builder::new().register_descriptors(&encoded)?.build(&[".headgate.snapshot.v1"])?;
    Ok(())
}
