//! Compiles `proto/` without a `protoc`.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Read at run time, so that a build script that was compiled in another checkout does not read
    // the files of that checkout.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let areas =
        ["access", "ingest", "account", "plan", "feed", "cluster", "suspense", "audit", "node"];
    let files: Vec<PathBuf> =
        areas.iter().map(|area| root.join(format!("turnpike/{area}/v1/{area}.proto"))).collect();
    // The path is relative to this package, so that a change in another checkout with the same
    // target directory causes no rebuild.
    println!("cargo::rerun-if-changed=../../proto");
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        // The hot path has types of its own for these messages. The encoding is that of the
        // messages of the same name, so clients see no difference.
        .extern_path(".turnpike.ingest.v1.IngestBatch", "crate::frame::BatchFrame")
        .extern_path(".turnpike.node.v1.SubBatch", "crate::frame::SubBatchFrame")
        .compile_fds(descriptors)?;
    Ok(())
}
