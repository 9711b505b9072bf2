//! A running server process.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin};

/// The ways to request that a server stops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// The signal SIGTERM.
    Terminate,
    /// The end of its standard input.
    InputEnd,
}

/// A server process. Dropping the value kills the process.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    pid: u32,
}

impl ServerProcess {
    /// The handle of a process that was just spawned.
    pub(super) fn new(mut child: Child) -> Result<Self> {
        let pid = child.id().context("the process has no id")?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, pid })
    }

    /// The process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Kills the process with SIGKILL, like a crash. The process executes nothing after this
    /// returns; [`Self::ended`] waits until its ports are free.
    ///
    /// # Errors
    /// The process has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        // This lets the runtime reap the process. It fails if the process has ended by now.
        let _ = self.child.start_kill();
        Ok(())
    }

    /// Freezes the process with SIGSTOP: it exists and its sockets are open, but it executes nothing.
    ///
    /// # Errors
    /// The process has ended already.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes the process with SIGCONT.
    ///
    /// # Errors
    /// The process has ended already.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until the process ends.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Requests a stop, and waits for the end of the process.
    ///
    /// # Errors
    /// The process has not ended within the time limit; it still runs.
    pub async fn stop(&mut self, request: StopRequest, within: Duration) -> Result<ExitStatus> {
        let requested = match request {
            StopRequest::Terminate => {
                self.signal(Signal::TERM)?;
                "SIGTERM"
            }
            StopRequest::InputEnd => {
                drop(self.stdin.take());
                "the end of its input"
            }
        };
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        Ok(ended.with_context(|| format!("the process did not stop after {requested}"))??)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The runtime has no id for a process that it has reaped. Another process may have the id
        // now.
        let id = self.child.id().context("the process has ended already")?;
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("process {id}"))
    }
}
