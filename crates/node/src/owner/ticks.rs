//! The sign of life of an owner task (P9).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_mutants::{Check, off};

use super::core::Pulse;

/// No append is in flight.
const NONE: u64 = u64::MAX;

/// When the owner task last ticked, in milliseconds since the node started. A task whose append is
/// overdue does not tick, although it may be at work.
#[derive(Debug)]
pub(crate) struct Ticks {
    origin: Instant,
    last_ms: AtomicU64,
    /// When the append in flight began; [`NONE`] if there is none.
    append_ms: AtomicU64,
    /// An append that takes longer is overdue.
    append_max_ms: u64,
}

impl Ticks {
    /// `origin`: when the node started; `append_max`: how long an append may take.
    pub(crate) fn new(origin: Instant, append_max: Duration) -> Self {
        let ticks = Self {
            origin,
            last_ms: AtomicU64::new(0),
            append_ms: AtomicU64::new(NONE),
            append_max_ms: millis(append_max),
        };
        ticks.tick();
        ticks
    }

    /// Marks the task as alive, unless its append is overdue.
    pub(crate) fn tick(&self) {
        let (now, began) = (self.elapsed_ms(), self.append_ms.load(Ordering::Relaxed));
        let is_overdue = began != NONE && now.saturating_sub(began) >= self.append_max_ms;
        if !is_overdue || off(Check::OverdueAppend) {
            self.last_ms.store(now, Ordering::Relaxed);
        }
    }

    /// An append begins now.
    pub(crate) fn begin_append(&self) {
        self.append_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// The append has ended.
    pub(crate) fn end_append(&self) {
        self.append_ms.store(NONE, Ordering::Relaxed);
    }

    /// The time since the last tick, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}

impl Pulse for Ticks {
    fn alive(&self) {
        self.tick();
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// 584 million years fit.
fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1000 + u64::from(duration.subsec_millis())
}
