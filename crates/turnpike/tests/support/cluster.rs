//! A cluster of `turnpike up` in a temporary directory, and commands on it.

#![allow(dead_code)]
// Processes of the real binary run on the real clock.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Ran, free_port, run, turnpike};

/// The time limit for a cluster to serve, long enough for a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster. Dropping the value stops the cluster, then removes its directory.
pub(crate) struct UpCluster {
    /// The address of the front.
    pub(crate) url: String,
    process: Child,
    dir: TempDir,
}

impl UpCluster {
    /// Starts a cluster on a free port with these options of `up`, and waits until it serves.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data").display().to_string();
        let listen = format!("127.0.0.1:{}", free_port());
        let up = ["up", "--data", &data, "--listen", &listen];
        let mut command = turnpike(&[&up[..], options].concat());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let cluster = Self { url: format!("http://{listen}"), process, dir };
        let deadline = Instant::now() + PATIENCE;
        while cluster.run(&["status"]).code != 0 {
            assert!(Instant::now() < deadline, "the cluster does not serve after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(100));
        }
        cluster
    }

    /// Runs a command on the cluster.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(&[arguments, &["--front", &self.url]].concat())
    }

    /// Runs a command that must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// The directory of the test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the directory of the test, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for UpCluster {
    fn drop(&mut self) {
        // On SIGTERM, `turnpike up` ends its child processes before it ends.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
    }
}
