//! A build script that another checkout compiled must not read that checkout's files.
#![allow(missing_docs)]

/// `env!` is evaluated when the script is compiled. In a target directory that several checkouts
/// share, the compiled script would read the files of the checkout that compiled it.
#[test]
fn the_build_script_asks_for_its_directory_at_run_time() {
    let script = include_str!("../build.rs");
    assert!(script.contains("std::env::var(\"CARGO_MANIFEST_DIR\")"), "it has another way now");
    assert!(script.contains("cargo::rerun-if-changed=../../proto"), "not another checkout's");
    for baked in ["env!(", "option_env!(", "include_str!(", "include_bytes!("] {
        assert!(!script.contains(baked), "{baked}");
    }
}
