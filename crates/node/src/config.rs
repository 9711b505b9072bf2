//! What can be set, and what follows from it.

use std::time::Duration;

use turnpike_types::NodeName;

/// A node's configuration. All durations of ownership derive from `heartbeat` (P21).
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name, unique in the cluster.
    pub name: NodeName,
    /// Where fronts reach it: `host:port`.
    pub address: String,
    /// How often it beats.
    pub heartbeat: Duration,
    /// A segment is closed at about this many bytes before compression.
    pub segment_bytes_max: usize,
    /// Requests that wait for owners, in bytes; past it the node refuses.
    pub queue_bytes_max: usize,
    /// A checkpoint is made after this many bytes of log.
    pub checkpoint_log_bytes: u64,
    /// A checkpoint's run of keys is sealed, and not written again, once it holds so many.
    pub run_keys: usize,
    /// Decoded segments kept for comparing retries, in bytes.
    pub segment_cache_bytes: u64,
    /// Compiled plans kept.
    pub object_codes_max: u64,
    /// Keys in memory of one partition, 16 bytes each; past it new records are refused.
    pub keys_max: usize,
    /// Members beside the owner that keep a warm copy of a partition: its account state and keys
    /// once more in memory, its log read and applied once more.
    pub warm_standbys: usize,
    /// Where chance comes from: incarnation and claims. By default the operating system's; set it
    /// only where a run shall be repeated, never twice in one cluster.
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
            warm_standbys: 1,
            seed: rand::random(),
        }
    }
}

impl NodeConfig {
    /// A counter that stood still for this long is suspect (P21).
    pub fn suspicion(&self) -> Duration {
        self.heartbeat * 4
    }

    /// How much longer each lower member waits before it claims (P12).
    pub fn deferral(&self) -> Duration {
        self.heartbeat * 2
    }

    /// A returning member of higher priority gets control back after it lived this long (P14).
    pub fn stability(&self) -> Duration {
        self.heartbeat * 8
    }

    /// An owner that did not tick for this long is no longer named in the heartbeat (P9). An append
    /// that is overdue by this much is no tick.
    pub fn tick_max(&self) -> Duration {
        self.heartbeat * 8
    }

    /// An answer whose commit was begun longer ago than this waits for one more, which fails if somebody
    /// claimed the partition meanwhile; half of the silence that others wait for before they do.
    pub fn answer_age_max(&self) -> Duration {
        self.suspicion() / 2
    }

    /// Two looks at the database are at least this far apart, whatever calls for the next one.
    pub fn round_gap(&self) -> Duration {
        self.heartbeat / 50
    }

    /// After a beat that could not be written, and between two that tell of a change.
    pub fn beat_again(&self) -> Duration {
        self.heartbeat / 5
    }

    /// Between the announcement of a handover and its beginning (P14).
    pub fn last_catch_up(&self) -> Duration {
        self.heartbeat / 5
    }

    /// How long a request waits for room in the queue before it is refused.
    pub fn admission(&self) -> Duration {
        self.heartbeat * 4
    }
}
