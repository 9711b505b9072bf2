//! For how long the heartbeat counter of each node has not advanced (P10).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use turnpike_store::NodeRow;
use turnpike_types::{Incarnation, NodeName};

/// For how long heartbeat counters have not advanced, measured on the reader's own clock.
#[derive(Debug, Default)]
pub(crate) struct HeartbeatAges {
    last_read: Option<Instant>,
    nodes: BTreeMap<NodeName, Beat>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    incarnation: Incarnation,
    counter: u64,
    silent: Duration,
}

impl HeartbeatAges {
    /// Records a successful read. Returns the silence of each node, in the order of `rows`.
    ///
    /// Silence grows only from one successful read to the next. A gap of `gap` or more means that
    /// the reader or the database was stopped, and every silence starts again at zero (P10).
    pub(crate) fn read(&mut self, now: Instant, gap: Duration, rows: &[NodeRow]) -> Vec<Duration> {
        let since = self.last_read.map_or(Duration::ZERO, |last| now.duration_since(last));
        self.last_read = Some(now);
        let mut seen = BTreeMap::new();
        let mut silences = Vec::with_capacity(rows.len());
        for row in rows {
            let (incarnation, counter) = (row.beat.incarnation, row.beat.counter);
            let silent = match self.nodes.get(&row.beat.node) {
                Some(old)
                    if (old.incarnation, old.counter) == (incarnation, counter) && since < gap =>
                {
                    old.silent.saturating_add(since)
                }
                _ => Duration::ZERO,
            };
            seen.insert(row.beat.node.clone(), Beat { incarnation, counter, silent });
            silences.push(silent);
        }
        self.nodes = seen;
        silences
    }
}
