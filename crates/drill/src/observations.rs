//! What the clients of the load observe: answers, refusals, broken streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Micros;

/// The final answer to a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchAnswer {
    /// The partition of the records.
    pub partition: u32,
    /// The scheduled time of sending.
    pub due: Micros,
    /// The time of the last sending.
    pub sent: Micros,
    /// The time of the answer.
    pub at: Micros,
}

/// The clients' observations.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientObservations {
    /// Batches with a final answer, in the order of the answers.
    pub answers: Vec<BatchAnswer>,
    /// Records accepted: rated at this or an earlier sending.
    pub accepted: u64,
    /// Records suspended or rejected.
    pub refused: u64,
    /// The times at which batches were answered RETRY.
    pub retries: Vec<Micros>,
    /// The times at which streams broke.
    pub breaks: Vec<Micros>,
    /// The message of a refusal, if there was one.
    pub why: Option<String>,
}

/// The shared observations of all load streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<ClientObservations>>);

impl Notes {
    /// The observations so far.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ClientObservations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
