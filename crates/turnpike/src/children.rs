//! Child processes of this same program: the servers of an embedded cluster.
//!
//! No child outlives the parent. A child stops when its standard input ends, and the operating
//! system closes that pipe however the parent ends. Each child has its own process group: Ctrl-C at
//! a terminal reaches only the parent, which then stops the children in order.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// The maximum time until a child listens; [`STOP_MAX`] is the maximum time until it ends.
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(15);

/// The command line of a child, for its start and its restarts.
#[derive(Clone, Debug)]
pub(crate) struct ChildCommand {
    pub(crate) name: String,
    pub(crate) arguments: Vec<OsString>,
    /// Whether the child's log is written to the parent's standard error.
    pub(crate) shows_log: bool,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct RunningChild {
    pub(crate) recipe: ChildCommand,
    pub(crate) address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl ChildCommand {
    /// The command line of a server, with arguments such as `front --database URL --listen
    /// ADDRESS`.
    pub(crate) fn server(name: &str, arguments: &[&str], shows_log: bool) -> Self {
        let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        arguments.push("--stop-at-stdin-end".into());
        Self { name: name.to_owned(), arguments, shows_log }
    }

    /// Starts the process and waits until it prints its listening address.
    pub(crate) async fn start(&self) -> anyhow::Result<RunningChild> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let stderr = if self.shows_log { Stdio::inherit() } else { Stdio::null() };
        let mut child = Command::new(program)
            .args(&self.arguments)
            // These settings are for the parent; if inherited, all children would use the same
            // port.
            .env_remove("TURNPIKE_LISTEN")
            .env_remove("TURNPIKE_METRICS")
            .env_remove("TURNPIKE_ADVERTISE")
            .env_remove("TURNPIKE_NODE_NAME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.name))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = tokio::time::timeout(START_MAX, lines.next_line()).await;
        let said = match first {
            Ok(Ok(Some(line))) => line,
            Ok(_) => bail!("{} ended before it listened; its error is shown above", self.name),
            Err(_) => bail!("{} does not listen after {START_MAX:?}", self.name),
        };
        let address = said.rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address
            .with_context(|| format!("{} printed {said:?} instead of its address", self.name))?;
        // No further output is expected; it is read so that the pipe can't fill and block the
        // child.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(RunningChild { recipe: self.clone(), address, child, stdin })
    }
}

impl RunningChild {
    /// The process id while the child runs, else 0.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits until the child ends, and returns its exit status as text.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Kills the child with SIGKILL, like a crash.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("{} can't be killed", self.recipe.name))
    }

    /// Requests a stop, and kills the child after [`STOP_MAX`].
    pub(crate) async fn stop(mut self) {
        drop(self.stdin.take());
        if tokio::time::timeout(STOP_MAX, self.child.wait()).await.is_err() {
            tracing::warn!(name = self.recipe.name, "the process did not stop in time; killing it");
            // An error means that the process has ended by now.
            let _ = self.child.kill().await;
        }
    }
}
