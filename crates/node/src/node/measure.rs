//! The node's gauges, set once per suspicion time: once a second at the default heartbeat.

use tokio::time::Instant;
use turnpike_store::{Observation, PartitionRow};

use super::Runner;
use crate::membership::TakeoverCause;

const CAUSES: [TakeoverCause; 11] = [
    TakeoverCause::NeverOwned,
    TakeoverCause::Released,
    TakeoverCause::Abandoned,
    TakeoverCause::OwnerRestarted,
    TakeoverCause::OwnerGone,
    TakeoverCause::OwnerStoodDown,
    TakeoverCause::OwnerUnreachable,
    TakeoverCause::OwnerInTrouble,
    TakeoverCause::OwnerSilent,
    TakeoverCause::TakenBack,
    TakeoverCause::SteppedDown,
];
const ENDS: [&str; 7] =
    ["fenced", "lost", "released", "rolled-back", "database", "damaged", "stopped"];

/// Creates each counter with value zero. A counter that first appears with its first event shows no
/// increase for that event.
pub(super) fn begin_counters() {
    for cause in CAUSES.map(TakeoverCause::word) {
        for copy in ["warm", "cold"] {
            metrics::counter!("turnpike_takeovers_total", "cause" => cause, "copy" => copy)
                .increment(0);
        }
    }
    for reason in ENDS {
        metrics::counter!("turnpike_ownerships_ended_total", "reason" => reason).increment(0);
    }
}

impl Runner {
    pub(super) fn note_metrics(&mut self, seen: &Observation, now: Instant) {
        let pause = self.shared.config.suspicion();
        if self.measured.is_some_and(|measured| now - measured < pause) {
            return;
        }
        self.measured = Some(now);
        let name = &self.shared.config.name;
        metrics::gauge!("turnpike_partitions_owned").set(self.owners.len() as f64);
        metrics::gauge!("turnpike_partitions_followed").set(self.standbys.len() as f64);
        metrics::gauge!("turnpike_catalogue_version").set(self.catalogue.borrow().version() as f64);
        self.note_queues();
        for row in &seen.partitions {
            if row.spec.members.iter().any(|member| member.node == *name) {
                self.note_partition(row);
            }
        }
    }

    /// Sets both roles, since a gauge keeps its value when a node stops being the owner or the
    /// standby.
    fn note_partition(&self, row: &PartitionRow) {
        let id = row.spec.id;
        let label = || id.to_string();
        let owner = self.owners.get(&id).filter(|owner| owner.ownership.claim == row.claim);
        let serves = owner.is_some() && self.gates.is_open(id);
        let followed = self.standbys.get(&id).map(|followed| followed.standby.reached());
        let end = row.next.next.0;
        let lag = followed.map_or(0, |reached| {
            // A replica that holds no segment yet lacks all of them.
            end.saturating_sub(1 + reached.map_or(0, |reached| reached.segment.0))
        });
        let is_warm = followed.flatten().is_some();
        metrics::gauge!("turnpike_partition_role", "partition" => label(), "role" => "owner")
            .set(f64::from(u8::from(serves)));
        metrics::gauge!("turnpike_partition_role", "partition" => label(), "role" => "standby")
            .set(f64::from(u8::from(is_warm)));
        metrics::gauge!("turnpike_partition_epoch", "partition" => label())
            .set(row.epoch.number() as f64);
        metrics::gauge!("turnpike_partition_segments", "partition" => label())
            .set(end.saturating_sub(1) as f64);
        metrics::gauge!("turnpike_standby_lag_segments", "partition" => label()).set(lag as f64);
    }

    /// The load of the owners' queues in this process, and its limits.
    fn note_queues(&self) {
        let config = &self.shared.config;
        let free = self.gates.room.available_permits();
        let waiting = self
            .owners
            .values()
            .map(|owner| owner.requests.max_capacity().saturating_sub(owner.requests.capacity()));
        metrics::gauge!("turnpike_queue_bytes")
            .set(config.queue_bytes_max.saturating_sub(free) as f64);
        metrics::gauge!("turnpike_queue_bytes_max").set(config.queue_bytes_max as f64);
        metrics::gauge!("turnpike_queue_requests").set(waiting.sum::<usize>() as f64);
        metrics::gauge!("turnpike_dedup_keys_max").set(config.keys_max as f64);
    }
}
