//! Admission control: a process-wide budget for the bytes of batches that were received and are not
//! answered yet. Each client may hold its share of the budget.
//!
//! When the share of a client is used up, its batch waits for a bounded time and is then refused. From
//! then on its batches are refused at once, until half of what it held is given back. Without this
//! hysteresis, every batch under constant overload would wait its full time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use turnpike_shares::{ClientKey, Share, Shares};

/// The byte budget of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    budget: Arc<Shares>,
    /// The clients whose batches are refused at once.
    refused: Mutex<BTreeSet<ClientKey>>,
}

/// The part of the budget that a batch holds until it is answered.
#[derive(Debug)]
pub(crate) struct AdmissionShare(Share);

impl Drop for AdmissionShare {
    fn drop(&mut self) {
        metrics::gauge!("turnpike_front_admitted_bytes").decrement(self.0.bytes() as f64);
    }
}

impl Admission {
    pub(crate) fn new(bytes_max: usize) -> Self {
        metrics::gauge!("turnpike_front_admitted_bytes_max").set(bytes_max as f64);
        Self { budget: Shares::new(bytes_max), refused: Mutex::default() }
    }

    /// Reserves `bytes` of the budget for `client`, waiting at most `wait`. Returns `None` when the
    /// batch must be refused.
    pub(crate) async fn admit(
        &self,
        client: ClientKey,
        bytes: usize,
        wait: Duration,
    ) -> Option<AdmissionShare> {
        if self.is_refused(client) {
            return None;
        }
        match tokio::time::timeout(wait, self.budget.take(client, bytes)).await {
            Ok(share) => {
                metrics::gauge!("turnpike_front_admitted_bytes").increment(share.bytes() as f64);
                Some(AdmissionShare(share))
            }
            Err(_) => {
                self.refuse(client);
                None
            }
        }
    }

    /// Whether the client was refused, and still holds more than half of its share.
    fn is_refused(&self, client: ClientKey) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if !refused.contains(&client) {
            return false;
        }
        let is_full = self.budget.held(client) > self.budget.share(client) / 2;
        if !is_full {
            refused.remove(&client);
        }
        is_full
    }

    fn refuse(&self, client: ClientKey) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that holds nothing any more is forgotten, so that the list stays as short as that
        // of the clients that hold room.
        refused.retain(|other| self.budget.held(*other) > 0);
        if refused.insert(client) {
            tracing::warn!(
                bytes_max = self.budget.bytes_max(),
                share = self.budget.share(client),
                "overloaded: a client has used up its share of the admission budget, and its \
                 batches are refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAVY: ClientKey = ClientKey(1);
    const LIGHT: ClientKey = ClientKey(2);

    #[tokio::test(start_paused = true)]
    async fn a_client_above_its_share_is_refused_at_once_until_half_is_given_back() {
        let wait = Duration::from_secs(1);
        let admission = Admission::new(100);
        let first = admission.admit(HEAVY, 30, wait).await;
        let second = admission.admit(HEAVY, 15, wait).await;
        assert!(first.is_some() && second.is_some());
        assert!(admission.admit(HEAVY, 20, wait).await.is_none());
        let now = tokio::time::Instant::now();
        assert!(admission.admit(HEAVY, 1, wait).await.is_none());
        assert_eq!(now.elapsed(), Duration::ZERO, "refused at once");
        // Another client has room meanwhile.
        assert!(admission.admit(LIGHT, 30, wait).await.is_some());
        drop(first);
        assert!(admission.admit(HEAVY, 5, wait).await.is_some());
    }
}
