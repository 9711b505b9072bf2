//! What a front is told: limits, one heartbeat interval from which every duration derives, a seed.

use std::time::Duration;

use crate::FrontError;

/// Configuration of a front. Durations derive from `heartbeat`, so that a cluster's clocks can be
/// turned together.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// The cluster's heartbeat interval (P21); routes are read this often.
    pub heartbeat: Duration,
    /// Where chance comes from: the jitter of retries, nothing else.
    pub seed: u64,
    /// Bytes of batches admitted and not answered yet, in the whole process; past it batches are
    /// refused with a retry hint.
    pub admitted_bytes_max: usize,
    /// Batches of one client stream that are not answered yet; past it the front stops reading.
    pub stream_batches_max: usize,
    /// Sub-batches that a lane has in flight.
    pub lane_window_batches: usize,
    /// Bytes that a lane has in flight; one sub-batch may always go.
    pub lane_window_bytes: usize,
    /// A sub-batch with no durable answer after this many heartbeats is answered RETRY.
    pub answer_deadline_beats: u32,
    /// Bytes of identity histories kept in memory.
    pub guide_cache_bytes: u64,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            seed: 0,
            admitted_bytes_max: 256 * 1024 * 1024,
            stream_batches_max: 64,
            lane_window_batches: 16,
            lane_window_bytes: 8 * 1024 * 1024,
            answer_deadline_beats: 80,
            guide_cache_bytes: 64 * 1024 * 1024,
        }
    }
}

impl FrontConfig {
    /// Refuses what could never work.
    pub(crate) fn check(&self) -> Result<(), FrontError> {
        let positive = [
            ("heartbeat", !self.heartbeat.is_zero()),
            ("stream_batches_max", self.stream_batches_max > 0),
            ("lane_window_batches", self.lane_window_batches > 0),
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
            let remedy = format!("must hold one batch of {largest} bytes at least");
            return Err(FrontError::Config { field: "admitted_bytes_max", remedy });
        }
        Ok(())
    }

    /// A node that stood still for this long is suspected; a read of the database that takes
    /// longer is given up.
    pub(crate) fn suspicion(&self) -> Duration {
        self.heartbeat * 4
    }

    /// Two reads of the routes are at least this far apart, whoever asks.
    pub(crate) fn refresh_gap(&self) -> Duration {
        self.heartbeat / 10
    }

    /// A node that leaves its oldest sub-batch unanswered for this long may be taken over any time.
    pub(crate) fn unanswered(&self) -> Duration {
        self.heartbeat * 3
    }

    /// How often a lane asks for fresh routes while it is not answered.
    pub(crate) fn look_gap(&self) -> Duration {
        self.heartbeat / 5
    }

    /// How long a batch waits for room before it is refused.
    pub(crate) fn admission_wait(&self) -> Duration {
        self.heartbeat * 4
    }

    /// How long a sub-batch, or a request to an owner, waits for its durable answer.
    pub(crate) fn answer_deadline(&self) -> Duration {
        self.heartbeat * self.answer_deadline_beats
    }

    /// How long one try of a request to an owner may take.
    pub(crate) fn attempt(&self) -> Duration {
        self.answer_deadline() / 4
    }

    /// A lane with nothing to send for this long closes its stream to the node.
    pub(crate) fn lane_idle(&self) -> Duration {
        self.heartbeat * 20
    }

    /// How long `shutdown` waits for answers that are under way.
    pub(crate) fn drain(&self) -> Duration {
        self.heartbeat * 20
    }

    /// The longest pause before the `failures`-th try in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let first = self.heartbeat / 10;
        first.saturating_mul(1 << failures.min(16)).min(self.heartbeat * 2)
    }

    /// What a client is told to wait before it sends a batch again.
    pub(crate) fn retry_hint(&self) -> Duration {
        self.heartbeat * 2
    }
}

/// Whole milliseconds for the wire, at least one.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
