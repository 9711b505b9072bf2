//! Limits that both ends of a connection must agree on. `docs/records.md` documents them for users.

use crate::DAY_US;

/// The maximum length of a record id, in bytes (docs/architecture.md section 6).
pub const RECORD_ID_BYTES_MAX: usize = 128;
/// The maximum length of a usage type, in bytes.
pub const USAGE_TYPE_BYTES_MAX: usize = 64;
/// The maximum length of an identity such as `ip:192.0.2.1`, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 256;
/// The maximum length of a suspense detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 120;
/// The maximum size of an encoded record, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// The maximum number of attributes of a record, and the maximum number of its measures.
pub const ATTRIBUTES_MAX: usize = 64;
/// The maximum size of a batch, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The maximum number of records in a batch.
pub const BATCH_RECORDS_MAX: usize = 50_000;
/// The maximum length of a source's name, in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;
/// The maximum size of a price plan's XML, in bytes.
pub const PLAN_XML_BYTES_MAX: usize = 1024 * 1024;
/// The maximum size of a reference table's text, in bytes. It suffices for a worldwide dial plan,
/// or for the addresses of a country.
pub const TABLE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The maximum number of rows of a reference table.
pub const TABLE_ROWS_MAX: usize = 1_000_000;
/// The maximum total size of a plan's example files, in bytes.
pub const EXAMPLES_BYTES_MAX: usize = 1024 * 1024;
/// The maximum size of a gRPC message that the transport accepts, in bytes. It is larger than
/// [`BATCH_BYTES_MAX`], so that the front refuses an oversized batch with a clear message before
/// the transport reports an error.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The maximum number of account commands in a request.
pub const ACCOUNT_COMMANDS_MAX: usize = 10_000;
/// The maximum number of identities in one account command.
pub const IDENTITIES_IN_COMMAND_MAX: usize = 1_000;
/// The maximum number of subscriptions of an account, ended ones and alternatives included. An
/// owner keeps them in memory, and looks through all of them for each interval that it rates in.
pub const SUBSCRIPTIONS_MAX: usize = 2_000;
/// The maximum number of offers of options to an account, ended ones included.
pub const OFFERS_MAX: usize = 500;
/// The maximum size of the settings and subscriptions of an account, encoded, in bytes.
pub const ACCOUNT_BYTES_MAX: usize = 1024 * 1024;
/// The maximum number of changes of an account's settings, its opening included: one a day for ten
/// years.
pub const SETTINGS_CHANGES_MAX: usize = 4_000;
/// The maximum number of consumers of the feed. Each has a cursor in every partition.
pub const CONSUMERS_MAX: usize = 1_000;
/// The maximum number of records in suspense of one partition. Each takes some 300 bytes of its
/// owner's memory, and of each warm replica's.
pub const SUSPENDED_MAX: usize = 1_000_000;
/// The bytes, decoded and encoded, at which a node ends a page of records in suspense. The last
/// record may exceed it.
pub const SUSPENSE_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// The maximum number of plans in the catalogue, and the maximum number of its tables.
pub const CATALOGUE_IDS_MAX: usize = 10_000;
/// The maximum size of all published plans, in bytes of XML. Nodes keep all of them.
pub const CATALOGUE_PLAN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The maximum size of all published tables, in bytes of text.
pub const CATALOGUE_TABLE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// The maximum number of records in a request to decide (P28), and of keys and refusals in a request
/// to recycle (P35): the owner processes nothing else meanwhile.
pub const DECIDED_MAX: usize = 1_000;
/// The maximum number of bindings of one identity, those that were taken away included. Each look-up
/// of the identity reads all of them.
pub const IDENTITY_BINDINGS_MAX: usize = 10_000;
/// The number of bindings above [`IDENTITY_BINDINGS_MAX`] up to which an identity can be released.
pub const IDENTITY_RELEASES_MAX: usize = 1_000;
/// The maximum number of lines in a page of the feed.
pub const FEED_PAGE_LINES_MAX: usize = 100_000;
/// The maximum time from logged time to the end of a record, in microseconds (P26).
pub const AHEAD_MAX_US: i64 = 5 * 60 * 1_000_000;
/// The maximum age of an identity look-up when a node takes a record that starts in the present, in
/// microseconds. The age counts from the look-up's mark, an instant of the database's clock before
/// it (P28).
pub const GUIDED_MAX_US: i64 = 5 * 60 * 1_000_000;
/// The time for which a billing cycle stays open after its end, in microseconds: two days
/// (docs/plan-semantics.md section 5).
pub const CLOSE_GRACE_US: i64 = 2 * DAY_US;
/// The prefix of usage types that are reserved for the cluster: due charges and postings.
pub const RESERVED_USAGE_TYPE: &str = "turnpike.";
/// The usage type of a line that was posted from another account (P33).
pub const POSTING_USAGE_TYPE: &str = "turnpike.posting";
/// The default acceptance horizon, in microseconds: 35 days (docs/architecture.md section 6).
pub const HORIZON_DEFAULT_US: i64 = 35 * DAY_US;
