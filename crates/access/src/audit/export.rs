//! The log as JSON lines: each with the exact bytes that are hashed, and with readable fields.

use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use turnpike_proto::audit::v1::{AccountEntry, AuditOutcome, Entry, EntryKind, Row};

use super::chain::{from_hexadecimal, hexadecimal};

/// An entry as a line of JSON. Hashes and the body are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportLine {
    /// The sequence number.
    pub sequence: u64,
    /// Microseconds since 1970.
    pub at_us: i64,
    /// `intent`, `outcome` or `anchor`.
    pub kind: String,
    /// The same in the intent and the outcome of an operation.
    pub operation: String,
    /// Who.
    pub principal: String,
    /// From where.
    pub address: String,
    /// Under which id of a request.
    pub request_id: String,
    /// The word of the action.
    pub action: String,
    /// What is changed.
    pub target: String,
    /// Further text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// `applied`, `refused`, `partial` or `unknown`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// The accounts, each with what is asked or done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<(u64, String)>,
    /// In an anchor: the last entry that was trimmed, and its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trimmed: Option<(u64, String)>,
    /// The hash of the entry before.
    pub prev_hash: String,
    /// The hash of this entry.
    pub hash: String,
    /// The bytes that are hashed.
    pub body: String,
}

/// The last line of an export: a file without it was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportEnd {
    /// The number of entries.
    pub entries: u64,
    /// The sequence number of the last entry; 0 without entries.
    pub last: u64,
    /// The hash of the last entry, hexadecimal; empty without entries.
    pub last_hash: String,
}

impl ExportEnd {
    /// Counts the next entry.
    pub fn count(&mut self, row: &Row) {
        self.entries += 1;
        self.last = row.sequence;
        self.last_hash = hexadecimal(&row.hash);
    }

    /// The last line of an export; `None` if the text is another line.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The word of a kind.
pub const fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Unspecified => "unknown",
        EntryKind::Intent => "intent",
        EntryKind::Outcome => "outcome",
        EntryKind::Anchor => "anchor",
    }
}

/// The word of an outcome; empty for an entry that is none.
pub const fn outcome_word(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Unspecified => "",
        AuditOutcome::Applied => "applied",
        AuditOutcome::Refused => "refused",
        AuditOutcome::Partial => "partial",
        AuditOutcome::Unknown => "unknown",
    }
}

/// A line of an export that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLine(String);

impl ExportLine {
    /// The line of an entry.
    ///
    /// # Errors
    /// The content of the entry can't be read.
    pub fn of(row: &Row) -> Result<Self, BadLine> {
        let entry = Entry::decode(row.body.clone()).map_err(|error| {
            BadLine(format!("entry {}: its content can't be read ({error})", row.sequence))
        })?;
        let accounts = entry.accounts.iter();
        let accounts = accounts.map(|AccountEntry { account, what }| (*account, what.clone()));
        let trimmed = (entry.kind() == EntryKind::Anchor)
            .then(|| (entry.trimmed_through, hexadecimal(&entry.trimmed_hash)));
        Ok(Self {
            sequence: row.sequence,
            at_us: entry.at_us,
            kind: kind_word(entry.kind()).to_owned(),
            operation: hexadecimal(&entry.operation),
            outcome: outcome_word(entry.outcome()).to_owned(),
            accounts: accounts.collect(),
            trimmed,
            principal: entry.principal,
            address: entry.address,
            request_id: entry.request_id,
            action: entry.action,
            target: entry.target,
            detail: entry.detail,
            prev_hash: hexadecimal(&row.prev_hash),
            hash: hexadecimal(&row.hash),
            body: hexadecimal(&row.body),
        })
    }

    /// The entry of a line of text.
    ///
    /// # Errors
    /// The text is no line of an export, or its readable fields are not those of its body.
    pub fn read(text: &str) -> Result<Row, BadLine> {
        let line: Self = serde_json::from_str(text)
            .map_err(|error| BadLine(format!("no line of an export: {error}")))?;
        let bytes = |what: &str, text: &str| {
            from_hexadecimal(text)
                .map(Bytes::from)
                .ok_or_else(|| BadLine(format!("{what} is not hexadecimal")))
        };
        let row = Row {
            sequence: line.sequence,
            prev_hash: bytes("prev_hash", &line.prev_hash)?,
            hash: bytes("hash", &line.hash)?,
            body: bytes("body", &line.body)?,
            at_us: line.at_us,
        };
        if Self::of(&row)? != line {
            let sequence = row.sequence;
            return Err(BadLine(format!(
                "entry {sequence} was changed: its readable fields are not those of its body"
            )));
        }
        Ok(row)
    }
}
