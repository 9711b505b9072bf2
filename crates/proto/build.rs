//! Compiles `proto/` without a `protoc`.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked at run time: a build script that another checkout left behind must not read its files.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let areas = ["ingest", "account", "plan", "feed", "cluster", "suspense", "node"];
    let files: Vec<PathBuf> =
        areas.iter().map(|area| root.join(format!("turnpike/{area}/v1/{area}.proto"))).collect();
    // Relative to this package: in a shared target directory, another checkout's files do not count.
    println!("cargo::rerun-if-changed=../../proto");
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        // The hot path reads frames by itself: on the wire these are the messages of the same
        // name, and no client can tell.
        .extern_path(".turnpike.ingest.v1.IngestBatch", "crate::frame::BatchFrame")
        .extern_path(".turnpike.node.v1.SubBatch", "crate::frame::SubBatchFrame")
        .compile_fds(descriptors)?;
    Ok(())
}
