//! The time limit without progress, and the back-off between attempts.

use std::time::Duration;

use tokio::time::Instant;

/// The time-out without progress, and the back-off between retries.
#[derive(Clone, Debug)]
pub struct Patience {
    limit: Duration,
    since: Instant,
    wait: Duration,
}

impl Patience {
    const WAIT_FIRST: Duration = Duration::from_millis(20);
    const WAIT_MOST: Duration = Duration::from_secs(1);

    /// Starts now, and is over after `limit` without progress.
    pub fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), wait: Self::WAIT_FIRST }
    }

    /// The maximum time without progress.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Records progress: restarts the time-out and the back-off.
    pub fn progress(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Whether the time without progress has reached the limit.
    pub fn is_over(&self) -> bool {
        self.since.elapsed() >= self.limit
    }

    /// The time left until the limit.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    /// The wait before the next retry; doubles up to one second.
    pub fn backoff(&mut self) -> Duration {
        self.backoff_after(Duration::ZERO)
    }

    /// As [`Self::backoff`], but at least `asked`, if so much time is left.
    pub fn backoff_after(&mut self, asked: Duration) -> Duration {
        let wait = self.wait.max(asked).min(self.left());
        self.wait = (self.wait * 2).min(Self::WAIT_MOST);
        wait
    }
}
