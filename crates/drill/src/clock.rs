//! The clock of a drill: microseconds since the drill began.

use std::time::Duration;

use tokio::time::Instant;
use turnpike_types::capped;

/// Microseconds since the drill began.
pub(crate) type Micros = u64;

/// The clock; copies show the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadClock(Instant);

impl LoadClock {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The present time.
    pub(crate) fn now(self) -> Micros {
        capped(self.0.elapsed().as_micros())
    }

    /// The instant of a time on this clock.
    pub(crate) fn at(self, micros: Micros) -> Instant {
        self.0 + Duration::from_micros(micros)
    }
}

/// Converts microseconds to milliseconds.
pub(crate) fn millis(micros: Micros) -> f64 {
    micros as f64 / 1_000.0
}
