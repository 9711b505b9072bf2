//! One clock for all that a drill notes down: microseconds since the drill began.

use std::time::Duration;

use tokio::time::Instant;

/// Microseconds since the drill began.
pub(crate) type Micros = u64;

/// The clock; copies show the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// It begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub(crate) fn now(self) -> Micros {
        Micros::try_from(self.0.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// The instant of a note.
    pub(crate) fn at(self, micros: Micros) -> Instant {
        self.0 + Duration::from_micros(micros)
    }
}

/// Milliseconds, for people.
pub(crate) fn millis(micros: Micros) -> f64 {
    micros as f64 / 1_000.0
}
