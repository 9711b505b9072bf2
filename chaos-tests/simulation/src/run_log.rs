//! The log of a run: each event with its virtual time and its process.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The log of a run. Clones write to the same log.
#[derive(Clone, Default)]
pub struct RunLog(Arc<Shared>);

#[derive(Default)]
struct Shared {
    now_us: AtomicU64,
    /// The process that is running now.
    process: Mutex<String>,
    lines: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunLog {
    /// Sets the time, in microseconds since the beginning.
    pub fn set_now(&self, now_us: u64) {
        self.0.now_us.store(now_us, Ordering::Relaxed);
    }

    /// The virtual time, in microseconds since the beginning.
    pub fn now_us(&self) -> u64 {
        self.0.now_us.load(Ordering::Relaxed)
    }

    /// Sets the name of the process that writes the next lines.
    pub fn set_process(&self, process: &str) {
        let mut current = lock(&self.0.process);
        current.clear();
        current.push_str(process);
    }

    /// Logs a line.
    pub fn log(&self, what: &str) {
        let line = format!("{} {what}\n", self.head());
        lock(&self.0.lines).extend_from_slice(line.as_bytes());
    }

    fn head(&self) -> String {
        let now = self.now_us();
        format!("{:4}.{:03} {:4}", now / 1_000_000, now / 1_000 % 1_000, lock(&self.0.process))
    }

    /// Returns the whole log as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0.lines)).into_owned()
    }
}

impl FormatTime for RunLog {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&self.head())
    }
}

impl Write for RunLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0.lines).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RunLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
