//! Every metric that there is: its kind, labels, unit and meaning. `docs/metrics.md` says the same.
//!
//! Labels are bounded: by the partitions and nodes of the cluster, or by words in the code.

use metrics::Unit;

/// A metric's kind, and with it how it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Only grows, while the process lives.
    Counter,
    /// What is now.
    Gauge,
    /// Counted into buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// Half a millisecond to ten seconds: what somebody waits for.
const WAIT: Kind = Kind::Histogram(&[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]);
/// Fifty microseconds to a second: work done in memory.
const WORK: Kind = Kind::Histogram(&[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
]);
/// Ten milliseconds to two minutes: takeovers, and what is done in the background.
const LONG: Kind =
    Kind::Histogram(&[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0]);
/// A kilobyte to a gigabyte.
const SIZE: Kind =
    Kind::Histogram(&[1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6, 256e6, 1e9]);

macro_rules! metrics {
    ($($name:literal $kind:expr, $unit:ident, [$($label:literal),*] $help:literal;)+) => {
        &[$(Metric {
            name: $name,
            kind: $kind,
            unit: Unit::$unit,
            labels: &[$($label),*],
            help: $help,
        }),+]
    };
}

use Kind::{Counter, Gauge};

/// All of them, in the order of the page.
pub(crate) const METRICS: &[Metric] = metrics! {
    // Every process
    "turnpike_process_info" Gauge, Count, ["process", "name", "version"]
        "Always 1: `front` or `node`, a node's name, the program's version";
    "turnpike_database_call_seconds" WAIT, Seconds, ["call"]
        "How long a call of the shared database took, failed ones too";
    "turnpike_database_errors_total" Counter, Count, ["call", "kind"]
        "Calls that failed: `unavailable`, `full`, `refused`, `superseded`, `corrupt`";
    // Nodes: what they rate
    "turnpike_records_total" Counter, Count, ["outcome", "reason"]
        "Records: `accepted`, `duplicate`; `suspended`, `replayed` (suspended at an earlier sending), `rejected` by reason";
    "turnpike_rating_seconds" WORK, Seconds, []
        "One sub-batch from the queue to the open segment: decoded, deduplicated, priced";
    "turnpike_append_seconds" WAIT, Seconds, []
        "One segment from sealing to the durable commit";
    "turnpike_segment_bytes" SIZE, Bytes, []
        "How large appended segments are";
    "turnpike_queue_bytes" Gauge, Bytes, []
        "Requests that wait for owners of this node";
    "turnpike_queue_bytes_max" Gauge, Bytes, []
        "The limit of the same; past it requests are refused";
    "turnpike_queue_requests" Gauge, Count, []
        "How many requests wait in owners' queues";
    "turnpike_refused_total" Counter, Count, ["reason"]
        "Requests refused for now: `queue-full`, `keys-full`";
    "turnpike_suspense_records" Gauge, Count, ["partition"]
        "Records that wait in suspense, said by the partition's owner";
    "turnpike_due_total" Counter, Count, ["what"]
        "What fell due and was booked: `charge`, `close`, `option`, `offset` (of bonuses)";
    "turnpike_sweep_stuck_total" Counter, Count, []
        "Times that an account's sweep stopped because something can't be booked";
    "turnpike_postings_total" Counter, Count, ["outcome"]
        "Postings of other accounts, `posted` or `suspended`";
    "turnpike_postings_diverged_total" Counter, Count, []
        "Senders of postings whose history is not the one that was read before";
    // Nodes: what they own and follow
    "turnpike_partitions_owned" Gauge, Count, []
        "Partitions that have an owner here, or a claim under way";
    "turnpike_partitions_followed" Gauge, Count, []
        "Partitions of which this node keeps, or builds, a warm copy";
    "turnpike_partition_role" Gauge, Count, ["partition", "role"]
        "1 if this node serves it (`owner`) or has a warm copy (`standby`), else 0";
    "turnpike_partition_epoch" Gauge, Count, ["partition"]
        "The partition's epoch, as this member saw it last";
    "turnpike_partition_segments" Gauge, Count, ["partition"]
        "How far the partition's log reaches, as this member saw it last";
    "turnpike_standby_lag_segments" Gauge, Count, ["partition"]
        "Segments that the warm copy here lacks; 0 where none is kept";
    "turnpike_log_applied_bytes_total" Counter, Bytes, []
        "Log read into copies, by standbys and when taking over";
    "turnpike_takeovers_total" Counter, Count, ["cause", "copy"]
        "Partitions taken over, by cause, from a `warm` or a `cold` copy";
    "turnpike_takeover_seconds" LONG, Seconds, ["cause", "copy"]
        "From the decision to claim to serving";
    "turnpike_relays_total" Counter, Count, []
        "Streams and requests passed on to an owner that the front can't reach";
    "turnpike_ownerships_ended_total" Counter, Count, ["reason"]
        "Claims and ownerships that ended: `released`, `lost`, `fenced`, `database`, `rolled-back`, `damaged`, `stopped`";
    "turnpike_heartbeats_total" Counter, Count, ["result"]
        "Heartbeats, `written` or `failed`";
    "turnpike_heartbeat_seconds" WAIT, Seconds, []
        "How long writing a heartbeat took, failed ones too";
    "turnpike_catalogue_version" Gauge, Count, []
        "The version of the catalogue that this node rates by";
    // Nodes: what they hold
    "turnpike_accounts" Gauge, Count, ["partition", "role"]
        "Accounts in memory, of an `owner` and of a `standby`";
    "turnpike_dedup_keys" Gauge, Count, ["partition", "role"]
        "Record keys in memory, of an `owner` and of a `standby`";
    "turnpike_dedup_keys_max" Gauge, Count, []
        "The limit of keys a partition; past it records are refused";
    "turnpike_checkpoint_lag_bytes" Gauge, Bytes, ["partition"]
        "Log since the last checkpoint: what a cold takeover has to read";
    "turnpike_checkpoints_total" Counter, Count, ["result"]
        "Checkpoints: `published`, `superseded`, `failed`";
    "turnpike_checkpoint_seconds" LONG, Seconds, []
        "How long writing a checkpoint took";
    "turnpike_checkpoint_bytes" SIZE, Bytes, []
        "What a checkpoint wrote: the state, and the keys that came since";
    // Fronts: what they take
    "turnpike_front_records_total" Counter, Count, ["outcome", "reason"]
        "Records answered to clients, as `turnpike_records_total`";
    "turnpike_front_batches_total" Counter, Count, ["status"]
        "Batches answered: `done`, `retry`, `rejected`";
    "turnpike_front_batch_seconds" WAIT, Seconds, ["status"]
        "A batch from its receipt to its acknowledgement";
    "turnpike_front_streams" Gauge, Count, []
        "Clients' streams that are open";
    "turnpike_front_admitted_bytes" Gauge, Bytes, []
        "Batches taken and not answered yet";
    "turnpike_front_admitted_bytes_max" Gauge, Bytes, []
        "The limit of the same; past it batches are answered RETRY";
    "turnpike_front_guide_cache_hits_total" Counter, Count, []
        "Identities found without asking the database";
    "turnpike_front_guide_cache_misses_total" Counter, Count, []
        "Identities for which the database was asked";
    // Fronts: what they send on
    "turnpike_front_lanes" Gauge, Count, []
        "Lanes: one for each client stream and partition";
    "turnpike_front_lane_pending_batches" Gauge, Count, []
        "Sub-batches in lanes that have no answer yet";
    "turnpike_front_lane_retries_total" Counter, Count, []
        "Times that a lane went back and sent again";
    "turnpike_front_request_retries_total" Counter, Count, []
        "Requests to owners that were tried again";
    "turnpike_front_overloaded_total" Counter, Count, []
        "Answers of nodes that said they are overloaded";
    "turnpike_front_expired_total" Counter, Count, []
        "Sub-batches given up after 20 s with no durable answer";
    "turnpike_front_answers_dropped_total" Counter, Count, []
        "Answers of superseded owners that were dropped";
    // Fronts: how they see the cluster
    "turnpike_front_heartbeat_age_seconds" Gauge, Seconds, ["node"]
        "How long the node's heartbeat has stood still, on the front's clock";
    "turnpike_front_partition_served" Gauge, Count, ["partition"]
        "1 if a live node says that it serves the partition, else 0";
    "turnpike_front_routes_age_seconds" Gauge, Seconds, []
        "How old the routes were at the last try to read them; 0 when it went well";
    "turnpike_front_route_failures_total" Counter, Count, []
        "Times that the routes could not be read";
    // Fronts: the feed
    "turnpike_feed_pages_total" Counter, Count, []
        "Pages of rated output pulled";
    "turnpike_feed_lines_total" Counter, Count, []
        "Charge lines pulled";
    "turnpike_feed_cache_hits_total" Counter, Count, []
        "Segments for consumers found in memory";
    "turnpike_feed_cache_misses_total" Counter, Count, []
        "Segments for consumers read from the database";
};
