//! The signals at which a command that started processes or a load stops in order.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The number of SIGHUP, which is the same on all systems.
const HANGUP: u32 = 1;
/// The number of SIGQUIT, which is the same on all systems.
const QUIT: u32 = 3;

/// SIGINT, SIGTERM, SIGHUP and SIGQUIT.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if the process was started with the signal ignored, as by `nohup`: it stays ignored.
    hangup: Option<Signal>,
    /// As `hangup`: a shell without job control starts background commands with it ignored.
    quit: Option<Signal>,
}

impl StopSignals {
    /// From now on, the signals do not end the process.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals can't be handled");
        let ignored = ignored();
        let unless_ignored = |number: u32, kind| {
            let is_ignored = ignored >> (number - 1) & 1 == 1;
            (!is_ignored).then(|| on(kind)).transpose()
        };
        Ok(Self {
            hangup: unless_ignored(HANGUP, SignalKind::hangup())?,
            quit: unless_ignored(QUIT, SignalKind::quit())?,
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of the signals, and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = of(self.hangup.as_mut()) => "SIGHUP",
            () = of(self.quit.as_mut()) => "SIGQUIT",
        }
    }
}

async fn of(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals that this process was started to ignore: bit N-1 is signal N.
fn ignored() -> u64 {
    // Systems without this file do not tell; there, no signal counts as ignored.
    let status = std::fs::read_to_string("/proc/self/status").ok();
    status.as_deref().and_then(ignored_in).unwrap_or(0)
}

fn ignored_in(status: &str) -> Option<u64> {
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_status_of_the_process() {
        let status = "Name:\tturnpike\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001005\n";
        assert_eq!(ignored_in(status), Some(0x1005));
        assert_eq!(ignored_in("Name:\tturnpike\n"), None);
    }
}
