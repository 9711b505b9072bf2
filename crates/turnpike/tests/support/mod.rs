//! Runs the real binary, without the settings in the environment of the test.

#![allow(dead_code)]

pub(crate) mod cluster;
pub(crate) mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use turnpike_harness::process::without_settings;

/// The result of a run of the binary.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The binary, in a clean environment.
pub(crate) fn turnpike(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    without_settings(&mut command).args(arguments).stdin(Stdio::null());
    command
}

/// Runs the binary until it ends.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(turnpike(arguments).output().unwrap())
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

/// The full path of a file of this crate.
pub(crate) fn file(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.display().to_string()
}

/// A port on which no process listens.
pub(crate) fn free_port() -> u16 {
    turnpike_harness::process::free_port().unwrap()
}
