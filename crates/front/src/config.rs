//! The configuration of a front: limits, the heartbeat interval from which all durations derive,
//! and a seed.

use std::time::Duration;

use turnpike_access::Guarded;
use turnpike_types::capped;

use crate::FrontError;

/// Configuration of a front. All durations derive from `heartbeat`, so that one setting scales
/// them.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// The cluster's heartbeat interval (P21); routes are read this often.
    pub heartbeat: Duration,
    /// The seed of the random generator, which is used only for the jitter of retries.
    pub seed: u64,
    /// The maximum number of bytes of batches that are admitted and not answered yet, for the whole
    /// process. Above this limit, batches are refused with a retry hint.
    pub admitted_bytes_max: usize,
    /// The maximum number of batches of one client stream that are not answered yet. At this limit
    /// the front stops reading.
    pub stream_batches_max: usize,
    /// Sub-batches that a partition sender has in flight at most.
    pub sender_window_batches: usize,
    /// Bytes that a partition sender has in flight at most. One sub-batch may always be sent.
    pub sender_window_bytes: usize,
    /// Bytes that this front has in flight to a node at most, divided among clients. At most the
    /// receive window of a connection, so that no client's stream waits behind those of another one.
    pub node_window_bytes: usize,
    /// A sub-batch without a durable answer after this many heartbeat intervals is answered RETRY.
    pub answer_deadline_beats: u32,
    /// The size in bytes of the cache of identity histories.
    pub guide_cache_bytes: u64,
    /// Whether requests come through a guard, which decides what they may do.
    pub guarded: Guarded,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            seed: 0,
            admitted_bytes_max: 256 * 1024 * 1024,
            stream_batches_max: 64,
            sender_window_batches: 16,
            sender_window_bytes: 8 * 1024 * 1024,
            node_window_bytes: 24 * 1024 * 1024,
            answer_deadline_beats: 80,
            guide_cache_bytes: 64 * 1024 * 1024,
            guarded: Guarded::Yes,
        }
    }
}

impl FrontConfig {
    /// Refuses settings that can't work.
    pub(crate) fn check(&self) -> Result<(), FrontError> {
        let positive = [
            ("heartbeat", !self.heartbeat.is_zero()),
            ("stream_batches_max", self.stream_batches_max > 0),
            ("sender_window_batches", self.sender_window_batches > 0),
            ("answer_deadline_beats", self.answer_deadline_beats > 0),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, is)| !is) {
            return Err(FrontError::Config {
                field,
                remedy: "must be greater than zero".to_owned(),
            });
        }
        let largest = turnpike_types::limits::BATCH_BYTES_MAX;
        if self.admitted_bytes_max < largest {
            let remedy =
                format!("must be at least {largest}, the size of the largest batch in bytes");
            return Err(FrontError::Config { field: "admitted_bytes_max", remedy });
        }
        Ok(())
    }

    /// A node whose heartbeat counter does not advance for this long is suspect. A read of the
    /// database that takes longer is abandoned.
    pub(crate) fn suspicion(&self) -> Duration {
        self.heartbeat * 4
    }

    /// The minimum time between two reads of the routes.
    pub(crate) fn refresh_gap(&self) -> Duration {
        self.heartbeat / 10
    }

    /// When the oldest sub-batch is unanswered for this long, a takeover may be imminent.
    pub(crate) fn unanswered(&self) -> Duration {
        self.heartbeat * 3
    }

    /// How often a partition sender requests fresh routes while its oldest sub-batch is unanswered.
    pub(crate) fn look_gap(&self) -> Duration {
        self.heartbeat / 5
    }

    /// How long a batch waits for admission before it is refused.
    pub(crate) fn admission_wait(&self) -> Duration {
        self.heartbeat * 4
    }

    /// The deadline for the durable answer of a sub-batch or of a request to an owner.
    pub(crate) fn answer_deadline(&self) -> Duration {
        self.heartbeat * self.answer_deadline_beats
    }

    /// The time-out of one attempt of a request to an owner.
    pub(crate) fn attempt(&self) -> Duration {
        self.answer_deadline() / 4
    }

    /// A partition sender without pending sub-batches for this long closes its stream to the node.
    pub(crate) fn sender_idle(&self) -> Duration {
        self.heartbeat * 20
    }

    /// How long `shutdown` waits for outstanding answers.
    pub(crate) fn drain(&self) -> Duration {
        self.heartbeat * 20
    }

    /// The upper bound of the back-off after `failures` failed attempts in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let first = self.heartbeat / 10;
        first.saturating_mul(1 << failures.min(16)).min(self.heartbeat * 2)
    }

    /// The retry delay that a client is given.
    pub(crate) fn retry_hint(&self) -> Duration {
        self.heartbeat * 2
    }
}

/// Whole milliseconds for the wire, at least 1.
pub(crate) fn millis(duration: Duration) -> u32 {
    capped::<u32>(duration.as_millis()).max(1)
}
