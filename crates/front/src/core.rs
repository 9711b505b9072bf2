//! The state that all services of a front share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turnpike_store::SharedDatabase;

use crate::ingest::admission::Admission;
use crate::routing::guiding::Guide;
use crate::routing::nodes::Nodes;
use crate::routing::routes::Routes;
use crate::{FrontConfig, FrontError};

pub(crate) struct Core {
    pub(crate) config: FrontConfig,
    pub(crate) db: Arc<dyn SharedDatabase>,
    pub(crate) routes: Routes,
    pub(crate) nodes: Nodes,
    pub(crate) guide: Guide,
    pub(crate) admission: Admission,
    pub(crate) chance: Chance,
    /// Tasks that shutdown waits for.
    pub(crate) tasks: TaskTracker,
    /// Cancelled at shutdown: no new requests are accepted.
    pub(crate) gate: CancellationToken,
    /// Cancelled when the drain ends: outstanding work is answered RETRY.
    pub(crate) abort: CancellationToken,
}

impl Core {
    /// Refuses a request once the front is shutting down.
    pub(crate) fn enter(&self) -> Result<(), FrontError> {
        if self.gate.is_cancelled() { Err(FrontError::ShuttingDown) } else { Ok(()) }
    }

    /// The back-off after `failures` failed attempts in a row, with jitter: between half of the
    /// bound and the bound.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        self.chance.jitter(self.config.backoff(failures))
    }
}

/// The only source of randomness in a front: jitter, drawn from the configured seed.
pub(crate) struct Chance(Mutex<StdRng>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// A random duration between half of `bound` and `bound`.
    pub(crate) fn jitter(&self, bound: Duration) -> Duration {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bound.mul_f64(rng.random_range(0.5..=1.0))
    }
}
