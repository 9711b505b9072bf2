//! The settings of a node, and the durations derived from them.

use std::time::Duration;

use turnpike_types::{NodeName, limits};

/// A node's configuration. All durations of ownership derive from `heartbeat` (P21).
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The node's name, unique in the cluster.
    pub name: NodeName,
    /// The address at which fronts and other nodes reach the node: `host:port`.
    pub address: String,
    /// The interval between heartbeats.
    pub heartbeat: Duration,
    /// The approximate number of bytes before compression at which a segment is closed.
    pub segment_bytes_max: usize,
    /// The maximum number of bytes of requests that wait for owners. Requests beyond it are
    /// refused.
    pub queue_bytes_max: usize,
    /// The number of bytes of log after which a checkpoint is written.
    pub checkpoint_log_bytes: u64,
    /// The number of deduplication keys at which a run (a group of keys in checkpoints) is sealed:
    /// later checkpoints refer to the run and do not write it again.
    pub run_keys: usize,
    /// The size in bytes of the cache of decoded segments. Retries are compared with the records in
    /// them.
    pub segment_cache_bytes: u64,
    /// The maximum number of compiled plans in the cache.
    pub object_codes_max: u64,
    /// The maximum number of deduplication keys of one partition in memory, 24 bytes each. When it
    /// is reached, new records are refused.
    pub keys_max: usize,
    /// The maximum number of suspended records of one partition. When it is reached, records that
    /// would be suspended are refused.
    pub suspended_max: usize,
    /// The number of members beside the owner that keep a warm replica of a partition. Each holds
    /// the account state and keys in its memory, and reads and applies the log.
    pub warm_standbys: usize,
    /// Seed of the random incarnation and claim ids. By default it comes from the operating system.
    /// Set it only to repeat a run, and never to the same value twice in one cluster.
    pub seed: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: NodeName("node".to_owned()),
            address: "127.0.0.1:7071".to_owned(),
            heartbeat: Duration::from_millis(250),
            segment_bytes_max: 8 << 20,
            queue_bytes_max: 64 << 20,
            checkpoint_log_bytes: 128 << 20,
            run_keys: 2 << 20,
            segment_cache_bytes: 256 << 20,
            object_codes_max: 10_000,
            keys_max: 500_000_000,
            suspended_max: limits::SUSPENDED_MAX,
            warm_standbys: 1,
            seed: rand::random(),
        }
    }
}

impl NodeConfig {
    /// A node whose heartbeat counter has not advanced for this long is suspect (P21).
    pub fn suspicion(&self) -> Duration {
        self.heartbeat * 4
    }

    /// How much longer a member waits before it claims, for each live member of higher rank (P12).
    pub fn deferral(&self) -> Duration {
        self.heartbeat * 2
    }

    /// How long a returned member of higher priority must live before the partition moves back to
    /// it (P14).
    pub fn stability(&self) -> Duration {
        self.heartbeat * 8
    }

    /// An owner task that has not ticked for this long is no longer named in heartbeats (P9). While
    /// an append is overdue by this much, the task does not tick.
    pub fn tick_max(&self) -> Duration {
        self.heartbeat * 8
    }

    /// An answer waits for one more commit if its own commit began longer ago than this. The second
    /// commit fails if another node has claimed the partition. The value is half the suspicion
    /// time.
    pub fn answer_age_max(&self) -> Duration {
        self.suspicion() / 2
    }

    /// The minimum time between two observations of the database, for any reason of the next one.
    pub fn round_gap(&self) -> Duration {
        self.heartbeat / 50
    }

    /// The pause after a heartbeat that failed, and between the two heartbeats that report a
    /// change.
    pub fn beat_again(&self) -> Duration {
        self.heartbeat / 5
    }

    /// The time from the announcement of a handover until new requests have to wait (P14).
    pub fn last_catch_up(&self) -> Duration {
        self.heartbeat / 5
    }

    /// How long a request waits for room in the queue before it is refused.
    pub fn admission(&self) -> Duration {
        self.heartbeat * 4
    }
}
