//! The readiness of the process, with the reason if it is not ready.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Check = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

#[derive(Clone)]
enum State {
    /// Not ready, for this reason.
    Waits(String),
    /// Ready if this check succeeds.
    Runs(Check),
}

/// The state behind `/readyz`; clones share it.
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
    /// Sets the process to not ready, with this reason.
    pub(crate) fn waits(&self, why: impl Into<String>) {
        *self.state() = State::Waits(why.into());
    }

    /// From now on, `check` determines the readiness.
    pub(crate) fn set_check(
        &self,
        check: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) {
        *self.state() = State::Runs(Arc::new(check));
    }

    /// The state of a ready process, as text.
    ///
    /// # Errors
    /// The reason why the process is not ready, as text.
    pub(crate) fn ready(&self) -> Result<String, String> {
        let state = self.state().clone();
        match state {
            State::Waits(why) => Err(why),
            State::Runs(check) => check(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is used too, because no code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
