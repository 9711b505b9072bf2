//! The only source of randomness in a front.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Jitter, drawn from the configured seed. A clone draws from the same generator.
#[derive(Clone)]
pub(crate) struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A random duration between half of `bound` and `bound`.
    pub(crate) fn jitter(&self, bound: Duration) -> Duration {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bound.mul_f64(rng.random_range(0.5..=1.0))
    }
}
