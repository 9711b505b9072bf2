//! Readers that convert files to usage records, accounts, and tables of addresses.
//!
//! ```text
//!  reader -> text/  decompressed, UTF-8, lines of bounded length
//!              +-- usage_csv.rs    a header, one record per row    --+
//!              +-- usage_jsonl.rs  one object per line             --+--> Row<UsageRecord>
//!              +-- access_log/     Apache's formats                --+
//!              +-- accounts_csv.rs one account per row             -----> Row<AccountRow>
//!
//!  maxmind/     MaxMind's blocks and locations, or an .mmdb file --> the text of a table
//!
//!  fields.rs   text -> checked fields, shared by the readers of usage
//!  json.rs     JSON values, without duplicate keys
//!  similar_names.rs  column names that resemble a known name
//!  time.rs     text -> instants and durations;  numeric.rs  notations that are refused
//!  fault.rs    Fault: file, line, column, problem, remedy
//! ```
//!
//! Every reader of rows is an iterator over a `Read`. This crate does not access the network or the
//! file system.
//!
//! Invariants:
//! - Each row gives one item: a record, or a [`Fault`] with the file's line, the column, the
//!   problem and the remedy. A bad row does not affect other rows; the caller decides whether to
//!   continue. After a fatal fault ([`Fault::is_fatal`]) the iterator ends. If the rest of the
//!   file can be read, the fault states how many lines after it were not used.
//! - Memory is bounded by the longest accepted line, for any file. In addition the reader of access
//!   logs keeps one small entry for each distinct line.
//! - A record that is written as CSV and as JSON lines gives the same
//!   [`turnpike_types::UsageRecord`] from both.
//! - A file gives the same record ids on each run, so that an idempotent retry is possible.
//! - Every record that a reader accepts passes the checks that a front applies to a single record.
//!
//! Not checked here: that an account exists, that a record is within the acceptance horizon, and
//! that the rows of a file have different ids. The cluster checks these.

mod access_log;
mod accounts_csv;
mod fault;
mod fields;
mod json;
mod maxmind;
mod numeric;
mod similar_names;
mod text;
mod time;
mod usage_csv;
mod usage_jsonl;

pub use access_log::{AccessLog, AccessLogOptions, BadFormat, BadSource, LogFormat};
pub use accounts_csv::{AccountRow, AccountsCsv};
pub use fault::{Fault, Row};
pub use maxmind::{
    AddressTableHead, ImportError, Imported, Level, import_maxmind_csv, import_maxmind_mmdb,
};
pub use text::read_text;
pub use time::{BadTime, parse_date_or_instant, parse_duration_us, parse_instant};
pub use usage_csv::{UsageCsv, UsageHeader};
pub use usage_jsonl::UsageJsonl;
