//! Is the process ready to serve, and if not, why?

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Check = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

#[derive(Clone)]
enum State {
    /// Not ready, for this reason.
    Waits(String),
    /// Ready if this says so.
    Runs(Check),
}

/// What `/readyz` answers; clones share it.
#[derive(Clone)]
pub(crate) struct Probe(Arc<Mutex<State>>);

impl Default for Probe {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::Waits("the process is starting".to_owned()))))
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.ready()).finish()
    }
}

impl Probe {
    /// From now on the process is not ready, for this reason.
    pub(crate) fn waits(&self, why: impl Into<String>) {
        *self.state() = State::Waits(why.into());
    }

    /// From now on the process is ready when `check` says so.
    pub(crate) fn runs(&self, check: impl Fn() -> Result<String, String> + Send + Sync + 'static) {
        *self.state() = State::Runs(Arc::new(check));
    }

    /// What the process does, in words.
    ///
    /// # Errors
    /// Why it is not ready, in words.
    pub(crate) fn ready(&self) -> Result<String, String> {
        let state = self.state().clone();
        match state {
            State::Waits(why) => Err(why),
            State::Runs(check) => check(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
