//! One process of the cluster: started, killed, frozen and stopped by its process id.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);

/// The parameters for starting a process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessParameters {
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) config: PathBuf,
    /// The log file; restarts append to it.
    pub(crate) log: PathBuf,
}

/// A running process. Dropping the value kills the process. The process also ends when the drill
/// ends in any way, because its standard input is a pipe from the drill.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

impl ProcessParameters {
    /// Starts the process and waits until it prints its listening address.
    pub(crate) async fn start(&self) -> Result<Process> {
        let name = || self.log.display().to_string();
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        for (variable, _) in std::env::vars_os() {
            // Settings of the drill's environment must not change the cluster under test.
            if variable.to_string_lossy().starts_with("TURNPIKE_") {
                command.env_remove(variable);
            }
        }
        let mut child = command
            .args(&self.arguments)
            .arg("--stop-at-stdin-end")
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C at a terminal reaches only the drill.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.binary.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the process has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let said = match tokio::time::timeout(START_MAX, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(_) => bail!("{} ended before it listened: {}", name(), self.last_words()),
            Err(_) => {
                bail!("{} does not listen after {START_MAX:?}: {}", name(), self.last_words())
            }
        };
        let address = said.rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address
            .with_context(|| format!("{} printed {said:?} instead of its address", name()))?;
        // Further output is read so that the pipe can't fill and block the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Process { child, stdin, address })
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Process {
    /// Kills the process with SIGKILL, like a crash. The process executes nothing after this
    /// returns.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        // This lets the runtime reap the process.
        self.child.start_kill().ok();
        Ok(())
    }

    /// Freezes the process with SIGSTOP.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes the process with SIGCONT.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Stops the process with SIGTERM, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(STOP_MAX, self.child.wait()).await;
        drop(self.stdin.take());
        let status = ended.context("the process did not stop after SIGTERM")??;
        if !status.success() {
            bail!("the process ended with {status}");
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("the process has ended already")?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("process {pid:?}"))
    }
}
