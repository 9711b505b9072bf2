//! Processes and time: each process is a runtime with a paused clock that runs tick by tick.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::run_log::RunLog;

/// The step of virtual time. Within a tick, a process runs alone; data that it sends arrives in a
/// later tick.
pub const TICK: Duration = Duration::from_millis(4);

/// A tick in microseconds.
pub const TICK_US: u64 = 4_000;

/// A simulated process.
pub struct Process {
    name: String,
    runtime: Option<Runtime>,
    main: JoinHandle<()>,
    /// The virtual time up to which the process has run.
    clock: Instant,
    frozen: bool,
    missed: Duration,
}

impl Process {
    /// Starts a process that executes `main` and ends with it.
    ///
    /// # Errors
    /// The operating system can't create a runtime.
    pub fn start(
        name: &str,
        main: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let clock = runtime.block_on(async { Instant::now() });
        let main = runtime.spawn(main);
        let (frozen, missed) = (false, Duration::ZERO);
        Ok(Self { name: name.to_owned(), runtime: Some(runtime), main, clock, frozen, missed })
    }

    /// A handle to the runtime, for code that spawns tasks on it.
    pub fn handle(&self) -> Option<tokio::runtime::Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Runs the process for one tick, unless it is frozen.
    pub fn tick(&mut self, run_log: &RunLog) {
        let Some(runtime) = &self.runtime else { return };
        if self.frozen {
            self.missed += TICK;
            return;
        }
        run_log.set_process(&self.name);
        let missed = std::mem::take(&mut self.missed);
        self.clock += missed + TICK;
        let clock = self.clock;
        runtime.block_on(async move {
            if !missed.is_zero() {
                // The clock advanced while the process was frozen: all timers that expired
                // meanwhile fire now.
                tokio::time::advance(missed).await;
            }
            tokio::time::sleep_until(clock).await;
        });
        run_log.set_process("");
    }

    /// Stops the tasks of the process from now on.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Continues the tasks of the process.
    pub fn thaw(&mut self) {
        self.frozen = false;
    }

    /// Whether the process has ended, by itself or because it was killed.
    pub fn has_ended(&self) -> bool {
        self.runtime.is_none() || self.main.is_finished()
    }

    /// Kills the process at once.
    pub fn kill(&mut self) {
        // All tasks of the process are dropped, and their sockets with them.
        self.runtime = None;
    }
}
