//! Gauges of the size of a partition's state in this process. They return to zero when the state is
//! dropped.

use metrics::Gauge;
use tokio::time::{Duration, Instant};
use turnpike_account::PartitionState;
use turnpike_types::PartitionId;

/// Gauges of the number of accounts and of deduplication keys that a partition has in memory.
pub(crate) struct Sizes {
    accounts: Gauge,
    keys: Gauge,
}

impl Sizes {
    /// `role` is `owner` or `standby`.
    pub(crate) fn new(partition: PartitionId, role: &'static str) -> Self {
        let label = || partition.to_string();
        Self {
            accounts: metrics::gauge!("turnpike_accounts", "partition" => label(), "role" => role),
            keys: metrics::gauge!("turnpike_dedup_keys", "partition" => label(), "role" => role),
        }
    }

    /// Sets the gauges to the present sizes; to zero without a state.
    pub(crate) fn note(&self, state: Option<&PartitionState>) {
        self.accounts.set(state.map_or(0, PartitionState::account_count) as f64);
        self.keys.set(state.map_or(0, |state| state.keys().len()) as f64);
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        self.note(None);
    }
}

/// Gauges of the state that an owner holds.
pub(crate) struct Holdings {
    sizes: Sizes,
    suspense: Gauge,
    log_bytes: Gauge,
    noted: Option<Instant>,
}

impl Holdings {
    pub(crate) fn new(partition: PartitionId) -> Self {
        let label = || partition.to_string();
        Self {
            sizes: Sizes::new(partition, "owner"),
            suspense: metrics::gauge!("turnpike_suspense_records", "partition" => label()),
            log_bytes: metrics::gauge!("turnpike_checkpoint_lag_bytes", "partition" => label()),
            noted: None,
        }
    }

    /// Sets the gauges, at most once per `interval`. `log_bytes` is the length of the log since the
    /// last checkpoint.
    pub(crate) fn note(&mut self, interval: Duration, state: &PartitionState, log_bytes: u64) {
        if self.noted.is_some_and(|noted| noted.elapsed() < interval) {
            return;
        }
        self.noted = Some(Instant::now());
        self.sizes.note(Some(state));
        self.suspense.set(state.suspense().len() as f64);
        self.log_bytes.set(log_bytes as f64);
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        self.suspense.set(0.0);
        self.log_bytes.set(0.0);
    }
}
