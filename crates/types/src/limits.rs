//! Limits that both ends of a connection must agree on. `docs/records.md` documents them for users.

/// The length of a record id, in bytes (docs/architecture.md section 6).
pub const RECORD_ID_BYTES_MAX: usize = 128;
/// The length of a usage type, in bytes.
pub const USAGE_TYPE_BYTES_MAX: usize = 64;
/// The length of an identity such as `ip:192.0.2.1`, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 256;
/// The length of a suspense detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 120;
/// The size of an encoded record, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// The number of attributes of a record; also of its measures.
pub const ATTRIBUTES_MAX: usize = 64;
/// The size of a batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The number of records in a batch.
pub const BATCH_RECORDS_MAX: usize = 50_000;
/// The length of a source's name, in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;
/// The size of a price plan's XML, in bytes.
pub const PLAN_XML_BYTES_MAX: usize = 1024 * 1024;
/// The size of a reference table's text, in bytes. A worldwide dial plan, or the addresses of a
/// country, fit.
pub const TABLE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The number of rows of a reference table.
pub const TABLE_ROWS_MAX: usize = 1_000_000;
/// The size of a plan's example files together, in bytes.
pub const EXAMPLES_BYTES_MAX: usize = 1024 * 1024;
/// The size of a gRPC message that the transport accepts, in bytes. It is larger than
/// [`BATCH_BYTES_MAX`], so that an oversized batch gets the front's clear refusal and not a
/// transport error.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The number of account commands in a request.
pub const ACCOUNT_COMMANDS_MAX: usize = 10_000;
/// The number of lines in a page of the feed.
pub const FEED_PAGE_LINES_MAX: usize = 100_000;
/// How far after logged time a record may end, in microseconds (P26).
pub const AHEAD_MAX_US: i64 = 5 * 60 * 1_000_000;
/// How long after the look-up of its identity a record is taken, in microseconds of logged time
/// (P28).
pub const GUIDED_MAX_US: i64 = 5 * 60 * 1_000_000;
/// How long a billing cycle stays open after its end, in microseconds: two days
/// (docs/plan-semantics.md section 5).
pub const CLOSE_GRACE_US: i64 = 2 * 86_400 * 1_000_000;
/// Usage types with this prefix are reserved for the cluster: due charges and postings.
pub const RESERVED_USAGE_TYPE: &str = "turnpike.";
/// The usage type of a line that was posted from another account (P33).
pub const POSTING_USAGE_TYPE: &str = "turnpike.posting";
/// The default acceptance horizon, in microseconds: 35 days (docs/architecture.md section 6).
pub const HORIZON_DEFAULT_US: i64 = 35 * 86_400 * 1_000_000;
