//! The command line of a server process, for its start and its restarts.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::server::ServerProcess;
use super::settings::InheritedSettings;

/// The number of lines of its log that the message about a failed start has.
const LAST_LINES: usize = 5;

/// The destination of the log, which a server writes to standard error.
#[derive(Clone, Debug)]
pub enum ServerLog {
    /// The standard error of the starter.
    Shown,
    /// The log is not kept.
    Discarded,
    /// A file; restarts append to it.
    File(PathBuf),
}

/// The command line of a server of the program `turnpike`. Copies of it start the same server.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    /// The name of the process, for messages.
    pub name: String,
    /// The path of the program.
    pub program: PathBuf,
    /// The arguments, such as `front --database URL --listen ADDRESS`, without
    /// `--stop-at-stdin-end`, which every server gets.
    pub arguments: Vec<OsString>,
    /// The settings in the environment that the process inherits.
    pub inherits: InheritedSettings,
    /// Further variables of its environment.
    pub variables: Vec<(String, OsString)>,
    /// The destination of its log.
    pub log: ServerLog,
}

/// A server that has printed its listening address.
#[derive(Debug)]
pub struct ListeningServer {
    /// The command that started it.
    pub command: ServerCommand,
    /// The address at which it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: ServerProcess,
}

impl ServerCommand {
    /// Starts the process, and waits until it prints its listening address as the last word of its
    /// first line.
    ///
    /// # Errors
    /// The process can't be started, or prints no address within the time limit; the message has
    /// the end of its log, if that is a file.
    pub async fn start(&self, within: Duration) -> Result<ListeningServer> {
        let mut child = self.spawned(Stdio::piped())?;
        let stdout = child.stdout.take().context("the process has no standard output")?;
        let process = ServerProcess::new(child)?;
        let mut lines = BufReader::new(stdout).lines();
        let said = match tokio::time::timeout(within, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(_) => bail!("{} ended before it listened{}", self.subject(), self.end_of_log()),
            Err(_) => bail!(
                "{} does not listen after {within:?}{}",
                self.subject(),
                match &self.log {
                    ServerLog::Shown | ServerLog::Discarded => String::new(),
                    ServerLog::File(_) => self.end_of_log(),
                }
            ),
        };
        let address = said.rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address.with_context(|| {
            format!("{} printed {said:?} instead of its address", self.subject())
        })?;
        // Further output is read so that the pipe can't fill and block the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(ListeningServer { command: self.clone(), address, process })
    }

    /// Starts the process without waiting until it listens. Its standard output is discarded.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn spawn(&self) -> Result<ServerProcess> {
        ServerProcess::new(self.spawned(Stdio::null())?)
    }

    fn spawned(&self, stdout: Stdio) -> Result<tokio::process::Child> {
        let stderr = match &self.log {
            ServerLog::Shown => Stdio::inherit(),
            ServerLog::Discarded => Stdio::null(),
            ServerLog::File(path) => {
                let log = std::fs::File::options().create(true).append(true).open(path);
                log.with_context(|| path.display().to_string())?.into()
            }
        };
        let mut command = Command::new(&self.program);
        self.inherits.apply(command.as_std_mut());
        command
            .args(&self.arguments)
            .arg("--stop-at-stdin-end")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.subject()))
    }

    /// The process in messages: its name, or the path of its log.
    fn subject(&self) -> String {
        match &self.log {
            ServerLog::Shown | ServerLog::Discarded => self.name.clone(),
            ServerLog::File(path) => path.display().to_string(),
        }
    }

    /// The end of a message about a process that ended: where the cause is, or the end of the log.
    fn end_of_log(&self) -> String {
        match &self.log {
            ServerLog::Shown => "; its error is shown above".to_owned(),
            ServerLog::Discarded => String::new(),
            ServerLog::File(path) => {
                let log = std::fs::read_to_string(path)
                    .unwrap_or_else(|error| format!("its log can't be read: {error}"));
                let lines: Vec<&str> = log.lines().collect();
                let last = lines.len().saturating_sub(LAST_LINES);
                format!(": {}", lines.get(last..).unwrap_or_default().join("\n"))
            }
        }
    }
}
