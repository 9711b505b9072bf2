//! The list of all metrics: kind, labels, unit and meaning. `docs/metrics.md` has the same list.
//!
//! The label values are bounded: partitions and nodes of the cluster, or constants of the code.

use metrics::Unit;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MetricKind {
    /// Grows monotonically from 0 at the start of the process.
    Counter,
    /// The present value.
    Gauge,
    /// A distribution over buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) unit: Unit,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// Half a millisecond to ten seconds: operations that a client waits for.
const WAIT: MetricKind = MetricKind::Histogram(&[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]);
/// Fifty microseconds to a second: work in memory.
const WORK: MetricKind = MetricKind::Histogram(&[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
]);
/// Ten milliseconds to two minutes: takeovers and background work.
const LONG: MetricKind = MetricKind::Histogram(&[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
]);
/// One kilobyte to one gigabyte.
const SIZE: MetricKind =
    MetricKind::Histogram(&[1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6, 256e6, 1e9]);

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

use MetricKind::{Counter, Gauge};

/// All metrics, in the order of `docs/metrics.md`.
pub(crate) const METRICS: &[Metric] = metrics! {
    // Every process
    "turnpike_process_info" Gauge, Count, ["process", "name", "version"]
        "Always 1; the labels are `front` or `node`, the node's name, and the program's version";
    "turnpike_database_call_seconds" WAIT, Seconds, ["call"]
        "Duration of calls to the shared database, including failed calls";
    "turnpike_database_errors_total" Counter, Count, ["call", "kind"]
        "Failed calls: `unavailable`, `full`, `refused`, `superseded`, `corrupt`";
    "turnpike_connections" Gauge, Count, []
        "Open connections";
    "turnpike_connections_refused_total" Counter, Count, ["cause"]
        "Connections refused: `connections`, `address`, `memory`, `files`";
    "turnpike_connections_closed_total" Counter, Count, ["cause"]
        "Connections closed by the server: `idle` (to make room), `deadline`, `slow-reader`, `handshake`, `handshakes` (too many at once), `certificate` (not valid any more), `age`";
    "turnpike_requests_refused_total" Counter, Count, ["cause"]
        "Requests refused by the transport: `requests`, `answers`, `memory`, `evicted` (each: no room in the budget), `size`, `elements`, `deadline`, `silence`, `encoding`";
    "turnpike_memory_bytes" Gauge, Bytes, ["part"]
        "Use of the budget for requests: `windows`, `requests`, `unassigned` (requests that need no role), `messages`, `answers`";
    "turnpike_memory_bytes_max" Gauge, Bytes, ["part"]
        "The limit of `turnpike_memory_bytes`; above it connections or requests are refused";
    "turnpike_certificate_expires_seconds" Gauge, Seconds, []
        "The end of the validity of the process's certificate, in seconds since 1970";
    "turnpike_certificate_reload_refused" Gauge, Count, []
        "1 while the files of the certificate have changed and can't be used; the certificate before stays in force";
    "turnpike_insecure_plaintext" Gauge, Count, []
        "1 if the process accepts connections without TLS from other machines";
    "turnpike_refusals_total" Counter, Count, ["method", "code"]
        "Requests that were refused before their first answer, by method and gRPC code";
    "turnpike_access_refused_total" Counter, Count, ["cause"]
        "Requests that were refused because of who sent them, by cause";
    // Nodes: rating
    "turnpike_records_total" Counter, Count, ["outcome", "reason"]
        "Records by outcome: `accepted`, `duplicate`; by reason: `suspended`, `replayed` (sent again, suspended at the first sending), `rejected`";
    "turnpike_rating_seconds" WORK, Seconds, []
        "Time from taking a sub-batch out of the queue until it is in the open segment: decoding, deduplication, pricing";
    "turnpike_append_seconds" WAIT, Seconds, []
        "One segment from sealing to the durable commit";
    "turnpike_segment_bytes" SIZE, Bytes, []
        "Size of appended segments";
    "turnpike_queue_bytes" Gauge, Bytes, []
        "Size of the requests in the queues of this node's owners";
    "turnpike_queue_bytes_max" Gauge, Bytes, []
        "The limit of `turnpike_queue_bytes`; above it requests are refused";
    "turnpike_queue_requests" Gauge, Count, []
        "Requests in the queues of this node's owners";
    "turnpike_refused_total" Counter, Count, ["reason"]
        "Requests refused temporarily: `queue-full`, `keys-full`, `suspense-full`, `not-confirmed`";
    "turnpike_suspense_records" Gauge, Count, ["partition"]
        "Records in suspense, reported by the partition's owner";
    "turnpike_suspense_records_max" Gauge, Count, []
        "The limit of records in suspense per partition; above it records that can't be rated are refused";
    "turnpike_due_total" Counter, Count, ["what"]
        "Due items booked: `charge`, `close`, `option`, `offset` (of bonuses)";
    "turnpike_sweep_stuck_total" Counter, Count, []
        "Sweeps of accounts that stopped because a due item can't be booked";
    "turnpike_postings_total" Counter, Count, ["outcome"]
        "Postings from other accounts, `posted` or `suspended`";
    "turnpike_postings_diverged_total" Counter, Count, []
        "Senders of postings whose log is not a continuation of the log read before";
    // Nodes: ownership and replicas
    "turnpike_partitions_owned" Gauge, Count, []
        "Partitions that this node owns or is claiming";
    "turnpike_partitions_followed" Gauge, Count, []
        "Partitions of which this node keeps or builds a warm replica";
    "turnpike_partition_role" Gauge, Count, ["partition", "role"]
        "1 if this node serves the partition (`owner`) or has a warm replica (`standby`), else 0";
    "turnpike_partition_epoch" Gauge, Count, ["partition"]
        "The partition's epoch, as last read by this member";
    "turnpike_partition_segments" Gauge, Count, ["partition"]
        "The number of the partition's last segment, as last read by this member";
    "turnpike_standby_lag_segments" Gauge, Count, ["partition"]
        "Segments that this node's warm replica lacks; 0 without a replica";
    "turnpike_log_applied_bytes_total" Counter, Bytes, []
        "Log applied to replicas, by standbys and during takeovers";
    "turnpike_takeovers_total" Counter, Count, ["cause", "copy"]
        "Partitions taken over, by cause, with a `warm` or a `cold` replica";
    "turnpike_takeover_seconds" LONG, Seconds, ["cause", "copy"]
        "Time from the decision to claim until the partition is served";
    "turnpike_relays_total" Counter, Count, []
        "Streams and requests relayed to an owner that the front can't reach";
    "turnpike_ownerships_ended_total" Counter, Count, ["reason"]
        "Claims and ownerships that ended: `released`, `lost`, `fenced`, `database`, `rolled-back`, `damaged`, `panicked`, `stopped`";
    "turnpike_heartbeats_total" Counter, Count, ["result"]
        "Heartbeats, `written` or `failed`";
    "turnpike_heartbeat_seconds" WAIT, Seconds, []
        "Duration of heartbeat writes, including failed ones";
    "turnpike_catalogue_version" Gauge, Count, []
        "The version of the catalogue with which this node rates";
    // Nodes: state
    "turnpike_accounts" Gauge, Count, ["partition", "role"]
        "Accounts in memory, as `owner` or as `standby`";
    "turnpike_dedup_keys" Gauge, Count, ["partition", "role"]
        "Deduplication keys in memory, as `owner` or as `standby`";
    "turnpike_dedup_keys_max" Gauge, Count, []
        "The limit of deduplication keys per partition; above it records are refused";
    "turnpike_checkpoint_lag_bytes" Gauge, Bytes, ["partition"]
        "Size of the log since the last checkpoint, which a cold takeover has to read";
    "turnpike_checkpoints_total" Counter, Count, ["result"]
        "Checkpoints: `published`, `superseded`, `failed`";
    "turnpike_checkpoint_seconds" LONG, Seconds, []
        "Duration of checkpoint writes";
    "turnpike_checkpoint_bytes" SIZE, Bytes, []
        "Size of a written checkpoint: the state, and the deduplication keys since the previous one";
    // Fronts: admission
    "turnpike_front_records_total" Counter, Count, ["outcome", "reason"]
        "Records answered to clients, with the labels of `turnpike_records_total`";
    "turnpike_front_batches_total" Counter, Count, ["status"]
        "Batches answered: `done`, `retry`, `rejected`";
    "turnpike_front_batch_seconds" WAIT, Seconds, ["status"]
        "Time from receipt of a batch to its acknowledgement";
    "turnpike_front_streams" Gauge, Count, []
        "Open client streams";
    "turnpike_front_admitted_bytes" Gauge, Bytes, []
        "Size of the batches admitted and not answered yet";
    "turnpike_front_admitted_bytes_max" Gauge, Bytes, []
        "The limit of `turnpike_front_admitted_bytes`; above it batches are answered RETRY";
    "turnpike_front_guide_cache_hits_total" Counter, Count, []
        "Identities found in the cache";
    "turnpike_front_guide_cache_misses_total" Counter, Count, []
        "Identities read from the database";
    // Fronts: sending to nodes
    "turnpike_front_lanes" Gauge, Count, []
        "Partition senders: one for each client stream and partition";
    "turnpike_front_lane_pending_batches" Gauge, Count, []
        "Sub-batches sent to partitions and not answered yet";
    "turnpike_front_lane_retries_total" Counter, Count, []
        "Times that a partition sender went back to its first unanswered sub-batch and sent again";
    "turnpike_front_account_commands_total" Counter, Count, ["outcome"]
        "Account commands, `applied` or `refused`";
    "turnpike_front_audit_overtaken_total" Counter, Count, []
        "Appends to the audit log that were repeated, because another process had appended";
    "turnpike_front_audit_outcomes_missing_total" Counter, Count, []
        "Changes whose outcome could not be written to the audit log; their intents are in it";
    "turnpike_front_audit_entries" Gauge, Count, []
        "Entries of the audit log that were not trimmed; each front reads the number every minute";
    "turnpike_front_quota_used" Gauge, Count, ["quota"]
        "Use of a quota: `plans`, `plan-bytes`, `tables`, `table-bytes` and `consumers`, which each front reads every minute; `grants`, `token-keys`, `tokens` and `revoked-certificates` at their last change";
    "turnpike_front_quota_max" Gauge, Count, ["quota"]
        "The limit of `turnpike_front_quota_used`; what would exceed it is refused";
    "turnpike_front_request_retries_total" Counter, Count, []
        "Retries of requests to owners";
    "turnpike_front_overloaded_total" Counter, Count, []
        "Answers of nodes that report overload";
    "turnpike_front_expired_total" Counter, Count, []
        "Sub-batches given up after 20 s without a durable answer";
    "turnpike_front_reassigned_total" Counter, Count, []
        "Records whose identity changed hands, which the first holder's partition decided";
    "turnpike_front_answers_dropped_total" Counter, Count, []
        "Dropped answers of superseded owners";
    // Fronts: view of the cluster
    "turnpike_front_heartbeat_age_seconds" Gauge, Seconds, ["node"]
        "Time since the front last saw the node's heartbeat advance, by the front's clock";
    "turnpike_front_partition_served" Gauge, Count, ["partition"]
        "1 if a live node reports that it serves the partition, else 0";
    "turnpike_front_routes_age_seconds" Gauge, Seconds, []
        "Age of the routing table at the last attempt to read it; 0 if that attempt succeeded";
    "turnpike_front_route_failures_total" Counter, Count, []
        "Failed reads of the routing table";
    "turnpike_front_mark_age_seconds" Gauge, Seconds, []
        "Age of the mark of look-ups by the database's clock; from 150 s on batches with identities are answered RETRY";
    "turnpike_front_mark_failures_total" Counter, Count, []
        "Failed attempts to advance the mark of look-ups";
    // Fronts: the feed
    "turnpike_feed_pages_total" Counter, Count, []
        "Pages of rated output pulled";
    "turnpike_feed_lines_total" Counter, Count, []
        "Charge lines pulled";
    "turnpike_feed_cache_hits_total" Counter, Count, []
        "Segments for consumers found in the cache";
    "turnpike_feed_cache_misses_total" Counter, Count, []
        "Segments for consumers read from the database";
};
