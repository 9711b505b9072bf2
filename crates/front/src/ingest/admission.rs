//! Admission control: a process-wide budget for the bytes of batches that were received and are not
//! answered yet.
//!
//! When the budget is used up, a batch waits for a bounded time and is then refused. From then on
//! batches are refused at once, until a quarter of the budget is free again. Without this
//! hysteresis, every batch under constant overload would wait its full time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use turnpike_types::capped;

/// The byte budget of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    budget: Arc<Semaphore>,
    bytes_max: usize,
    refusing: AtomicBool,
}

/// The part of the budget that a batch holds until it is answered.
#[derive(Debug)]
pub(crate) struct AdmissionShare {
    _permit: OwnedSemaphorePermit,
    bytes: u32,
}

impl Drop for AdmissionShare {
    fn drop(&mut self) {
        metrics::gauge!("turnpike_front_admitted_bytes").decrement(f64::from(self.bytes));
    }
}

impl Admission {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(bytes_max));
        metrics::gauge!("turnpike_front_admitted_bytes_max").set(bytes_max as f64);
        Self { budget, bytes_max, refusing: AtomicBool::new(false) }
    }

    /// Reserves `bytes` of the budget, waiting at most `wait`. Returns `None` when the batch must
    /// be refused.
    pub(crate) async fn admit(&self, bytes: usize, wait: Duration) -> Option<AdmissionShare> {
        // An empty batch reserves a byte too, so that it can't bypass a full budget.
        let bytes = capped(bytes.max(1));
        if self.refusing.load(Ordering::Relaxed) {
            if self.budget.available_permits() < self.bytes_max / 4 {
                return None;
            }
            self.refusing.store(false, Ordering::Relaxed);
        }
        let permit = Arc::clone(&self.budget).acquire_many_owned(bytes);
        match tokio::time::timeout(wait, permit).await {
            Ok(Ok(permit)) => {
                metrics::gauge!("turnpike_front_admitted_bytes").increment(f64::from(bytes));
                Some(AdmissionShare { _permit: permit, bytes })
            }
            _ => {
                if !self.refusing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        bytes_max = self.bytes_max,
                        "overloaded: the admission budget is used up, batches are refused"
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_front_refuses_at_once_until_a_quarter_is_free() {
        let wait = Duration::from_secs(1);
        let admission = Admission::new(100);
        let first = admission.admit(60, wait).await;
        let second = admission.admit(30, wait).await;
        assert!(first.is_some() && second.is_some());
        assert!(admission.admit(20, wait).await.is_none());
        // 10 bytes are free, which would be enough, but a quarter of the budget is not.
        assert!(admission.admit(5, wait).await.is_none());
        drop(second);
        assert!(admission.admit(5, wait).await.is_some());
    }
}
