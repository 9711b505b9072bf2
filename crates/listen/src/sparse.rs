//! Log lines that any client which connects can cause: one a minute of each kind, with the number of those
//! left out.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::locking::lock;

const PAUSE: Duration = Duration::from_secs(60);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct SparseLine(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    written: Option<Instant>,
    left_out: u64,
}

impl SparseLine {
    /// Whether a line may be written now; with the number of those that were left out before it.
    pub(crate) fn next(&self) -> Option<u64> {
        let mut since = lock(&self.0);
        if since.written.is_some_and(|written| written.elapsed() < PAUSE) {
            since.left_out += 1;
            return None;
        }
        since.written = Some(Instant::now());
        Some(std::mem::take(&mut since.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_lines_are_one_a_minute_and_none_is_forgotten() {
        let line = SparseLine::default();
        let written: Vec<_> = (0..1_000).filter_map(|_| line.next()).collect();
        assert_eq!(written, [0]);
        tokio::time::advance(PAUSE).await;
        assert_eq!(line.next(), Some(999));
    }
}
