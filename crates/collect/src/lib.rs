//! Files -> usage records, accounts, and tables of addresses.
//!
//! ```text
//!  reader -> text/  unpacked, UTF-8, lines of bounded length
//!              +-- usage_csv.rs    one header, one record a row    --+
//!              +-- usage_jsonl.rs  one object a line               --+--> Row<UsageRecord>
//!              +-- access_log/     Apache's formats                --+
//!              +-- accounts_csv.rs one account a row               -----> Row<AccountRow>
//!
//!  maxmind/     MaxMind's blocks and locations, or an .mmdb file --> a table's text
//!
//!  fields.rs   text -> checked fields, shared by the readers of usage
//!  near.rs     names of columns that are like a known one
//!  time.rs     text -> instants and durations
//!  fault.rs    Fault: file, line, column, what is wrong, what to write instead
//! ```
//!
//! Every reader of rows is an iterator over a `Read`; nothing here touches the network or the file system.
//!
//! Invariants:
//! - Each row gives one item: a record, or a [`Fault`] that names the file's line, the column, what
//!   is wrong and what to write instead. A bad row costs that row only; the caller decides whether
//!   to go on. After a fault that ends the file ([`Fault::is_fatal`]) the iterator ends, and the
//!   fault says how many lines were not read.
//! - Memory is bounded by the longest line that is taken, whatever a file holds; the reader of access
//!   logs has one small entry for each distinct line besides.
//! - The same record gives the same [`turnpike_types::UsageRecord`] as CSV and as JSON lines.
//! - The same file gives the same record ids at each run, so that sending it again is harmless.
//! - What a reader lets through passes the checks that a front makes of a record by itself.
//!
//! What is not promised: that an account exists, that a record lies within the acceptance horizon,
//! or that two rows of a file have different ids. The cluster answers those.

mod access_log;
mod accounts_csv;
mod fault;
mod fields;
mod json;
mod maxmind;
mod near;
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
pub use time::{BadTime, parse_date_or_instant, parse_duration_us, parse_instant};
pub use usage_csv::UsageCsv;
pub use usage_jsonl::UsageJsonl;
