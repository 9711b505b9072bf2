//! The node's counters and gauges.

use turnpike_store::{Observation, PartitionRow};

use super::ownerships::Ownerships;
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
const ENDS: [&str; 8] =
    ["fenced", "lost", "released", "rolled-back", "database", "damaged", "panicked", "stopped"];

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

/// Sets the gauges from the last observation.
pub(super) fn note(ownerships: &Ownerships, seen: &Observation, catalogue_version: u64) {
    let name = &ownerships.shared.config.name;
    metrics::gauge!("turnpike_partitions_owned").set(ownerships.owners().len() as f64);
    metrics::gauge!("turnpike_partitions_followed").set(ownerships.followed_count() as f64);
    metrics::gauge!("turnpike_catalogue_version").set(catalogue_version as f64);
    note_queues(ownerships);
    for row in &seen.partitions {
        if row.spec.members.iter().any(|member| member.node == *name) {
            note_partition(ownerships, row);
        }
    }
}

/// Sets both roles, since a gauge keeps its value when a node stops being the owner or the standby.
fn note_partition(ownerships: &Ownerships, row: &PartitionRow) {
    let id = row.spec.id;
    let label = || id.to_string();
    let serves = ownerships.owner(row).is_some() && ownerships.gates.is_open(id);
    let followed = ownerships.replica(id);
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
fn note_queues(ownerships: &Ownerships) {
    let config = &ownerships.shared.config;
    let free = ownerships.gates.room.free();
    let waiting = ownerships.owners().map(|owner| owner.requests.len());
    metrics::gauge!("turnpike_queue_bytes").set(config.queue_bytes_max.saturating_sub(free) as f64);
    metrics::gauge!("turnpike_queue_bytes_max").set(config.queue_bytes_max as f64);
    metrics::gauge!("turnpike_queue_requests").set(waiting.sum::<usize>() as f64);
    metrics::gauge!("turnpike_dedup_keys_max").set(config.keys_max as f64);
    metrics::gauge!("turnpike_suspense_records_max").set(config.suspended_max as f64);
}
