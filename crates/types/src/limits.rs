//! Limits that both ends of a wire must agree on. `docs/records.md` lists them for people.

/// A record id, in bytes (docs/architecture.md section 6).
pub const RECORD_ID_BYTES_MAX: usize = 128;
/// A usage type, in bytes.
pub const USAGE_TYPE_BYTES_MAX: usize = 64;
/// An identity such as `ip:192.0.2.1`, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 256;
/// What a suspense reason is about, in bytes.
pub const DETAIL_BYTES_MAX: usize = 120;
/// One encoded record, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Attributes of one record.
pub const ATTRIBUTES_MAX: usize = 64;
/// One batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One batch, in records.
pub const BATCH_RECORDS_MAX: usize = 50_000;
/// A source's name, in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;
/// A price plan's XML, in bytes.
pub const PLAN_XML_BYTES_MAX: usize = 1024 * 1024;
/// A reference table's text, in bytes: a dial plan of the world or the addresses of a country fit.
pub const TABLE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A reference table's rows.
pub const TABLE_ROWS_MAX: usize = 1_000_000;
/// Examples that come with a plan, in bytes, all files together.
pub const EXAMPLES_BYTES_MAX: usize = 1024 * 1024;
/// One gRPC message as the transport sees it, in bytes. Larger than [`BATCH_BYTES_MAX`], so that
/// an oversized batch meets our own clear refusal first.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Commands in one request that opens or changes accounts.
pub const ACCOUNT_COMMANDS_MAX: usize = 10_000;
/// Lines in one page of the feed.
pub const FEED_PAGE_LINES_MAX: usize = 100_000;
/// How far ahead of logged time a record may end, in microseconds (P26).
pub const AHEAD_MAX_US: i64 = 5 * 60 * 1_000_000;
/// How long a billing cycle stays open past its end, in microseconds: two days
/// (docs/plan-semantics.md section 5).
pub const CLOSE_GRACE_US: i64 = 2 * 86_400 * 1_000_000;
/// Usage types that begin so are the cluster's own: what fell due, what was posted.
pub const RESERVED_USAGE_TYPE: &str = "turnpike.";
/// The usage type of a line that another account posted (P33).
pub const POSTING_USAGE_TYPE: &str = "turnpike.posting";
/// Default acceptance horizon, in microseconds: 35 days (docs/architecture.md section 6).
pub const HORIZON_DEFAULT_US: i64 = 35 * 86_400 * 1_000_000;
