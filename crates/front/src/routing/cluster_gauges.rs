//! Gauges of the cluster as the front sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::routing::status::status;
use crate::routing::table::RouteTable;

/// Publishes the gauges of the cluster after each read of the routes.
#[derive(Debug)]
pub(crate) struct ClusterGauges {
    suspicion: Duration,
    read: Instant,
    said: Option<Instant>,
    nodes: BTreeSet<String>,
}

impl ClusterGauges {
    pub(crate) fn new(suspicion: Duration) -> Self {
        Self { suspicion, read: Instant::now(), said: None, nodes: BTreeSet::new() }
    }

    /// Publishes the age of the routes alone, after a read of the routes failed.
    pub(crate) fn note_failure(&self) {
        metrics::gauge!("turnpike_front_routes_age_seconds").set(self.read.elapsed().as_secs_f64());
    }

    /// Publishes the gauges after a read of the routes, at most once per suspicion time (1 s by
    /// default).
    pub(crate) fn note(&mut self, table: &RouteTable) {
        self.read = Instant::now();
        metrics::gauge!("turnpike_front_routes_age_seconds").set(0.0);
        metrics::gauge!("turnpike_front_mark_age_seconds").set(table.mark_age().as_secs_f64());
        if self.said.is_some_and(|said| said.elapsed() < self.suspicion) {
            return;
        }
        self.said = Some(self.read);
        let status = status(self.suspicion, table);
        let mut gone = std::mem::take(&mut self.nodes);
        for node in status.nodes {
            gone.remove(&node.name);
            self.nodes.insert(node.name.clone());
            let age = Duration::from_millis(node.silent_ms).as_secs_f64();
            metrics::gauge!("turnpike_front_heartbeat_age_seconds", "node" => node.name).set(age);
        }
        // The gauge of a forgotten node is reset, so that it raises no alert.
        for node in gone {
            metrics::gauge!("turnpike_front_heartbeat_age_seconds", "node" => node).set(0.0);
        }
        for partition in status.partitions {
            let served = f64::from(u8::from(partition.served));
            metrics::gauge!(
                "turnpike_front_partition_served", "partition" => partition.id.to_string()
            )
            .set(served);
        }
    }
}
