//! Checks the chain: which entries were removed, changed or reordered.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use turnpike_proto::audit::v1::{AuditOutcome, Entry, EntryKind, Row};
use turnpike_store::AuditHash;

use super::chain::{hash_of, hexadecimal};

/// An entry that an auditor noted down: its sequence number and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The sequence number.
    pub sequence: u64,
    /// The hash of the entry.
    pub hash: AuditHash,
}

/// A fault of the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// Entries are missing.
    #[error("entries {first} to {last} are missing: they were removed")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The log begins later, without an anchor that says so.
    #[error(
        "the log begins with entry {first}, and no entry records that those before were trimmed: \
         they were removed"
    )]
    BeginningMissing {
        /// The first entry that is there.
        first: u64,
    },
    /// An entry has another content than when it was written.
    #[error("entry {0} was changed: its hash is not that of its content")]
    Changed(u64),
    /// An entry does not follow the one before it.
    #[error("entry {0} does not follow the entry before it: one of the two was replaced")]
    Unlinked(u64),
    /// An entry is not in its place.
    #[error("entry {sequence} comes after entry {after}: the entries were reordered")]
    Reordered {
        /// The entry.
        sequence: u64,
        /// The entry in front of it.
        after: u64,
    },
    /// The columns of an entry contradict its content.
    #[error("entry {sequence}: {what}")]
    Contradiction {
        /// The entry.
        sequence: u64,
        /// What is wrong.
        what: String,
    },
    /// The end of the chain is not its newest entry.
    #[error(
        "the database says that the log ends with entry {sequence} and the hash {hash}, which is not \
         the hash of that entry"
    )]
    OtherEnd {
        /// The entry.
        sequence: u64,
        /// The hash in the row of the end.
        hash: String,
    },
    /// The entry of the auditor's anchor has another hash.
    #[error("entry {0} is another one than that of --anchor: the log was rewritten")]
    OtherThanAnchor(u64),
    /// The entry of the auditor's anchor is not there to compare.
    #[error(
        "entry {0} of --anchor is not in the log: it was removed, or trimmed; verify the export that \
         has it"
    )]
    AnchorMissing(u64),
    /// An outcome without an intent.
    #[error("entry {0} is the outcome of an operation whose intent is not in the log")]
    WithoutIntent(u64),
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// How many entries were read.
    pub entries: u64,
    /// The first and the last entry; zero without entries.
    pub first: u64,
    /// The last entry.
    pub last: u64,
    /// The hash of the last entry.
    pub last_hash: AuditHash,
    /// Faults, in the order of the entries: the first 100.
    pub faults: Vec<AuditFault>,
    /// How many faults there are.
    pub faults_count: u64,
    /// The intents without an outcome: sequence number and what was to be changed.
    pub open: Vec<(u64, String)>,
    /// The outcomes *unknown*: sequence number and what was to be changed; the first 100.
    pub unknown: Vec<(u64, String)>,
    /// How many outcomes are *unknown*.
    pub unknown_count: u64,
}

/// The most faults and open operations that a report names.
const NAMED_MAX: usize = 100;
/// The most operations that are remembered while their outcome is looked for.
const OPEN_MAX: usize = 1_000_000;

/// Reads the entries one after another.
#[derive(Debug, Default)]
pub struct Verifier {
    report: AuditReport,
    anchor: Option<Anchor>,
    anchor_seen: bool,
    /// The entry before the first one that is there, if the first one is not entry 1.
    before: Option<Anchor>,
    /// Whether an anchor records that the entries up to `before` were trimmed.
    is_trimmed: bool,
    open: BTreeMap<Bytes, (u64, String)>,
    last_at: i64,
}

impl Verifier {
    /// A verification that also compares `anchor`.
    pub fn new(anchor: Option<Anchor>) -> Self {
        Self { anchor, last_at: i64::MIN, ..Self::default() }
    }

    fn fault(&mut self, fault: AuditFault) {
        self.report.faults_count += 1;
        if self.report.faults.len() < NAMED_MAX {
            self.report.faults.push(fault);
        }
    }

    /// The next entry.
    pub fn row(&mut self, row: &Row) {
        let sequence = row.sequence;
        let hashes =
            (<AuditHash>::try_from(&row.prev_hash[..]), <AuditHash>::try_from(&row.hash[..]));
        let (Ok(prev_hash), Ok(hash)) = hashes else {
            let what = "a hash has 32 bytes".to_owned();
            self.fault(AuditFault::Contradiction { sequence, what });
            return;
        };
        if hash_of(&prev_hash, sequence, &row.body) != hash {
            self.fault(AuditFault::Changed(sequence));
        }
        self.place(sequence, prev_hash);
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.sequence == sequence) {
            self.anchor_seen = true;
            if anchor.hash != hash {
                self.fault(AuditFault::OtherThanAnchor(sequence));
            }
        }
        self.content(row);
        self.report.entries += 1;
        if sequence >= self.report.last {
            (self.report.last, self.report.last_hash) = (sequence, hash);
        }
    }

    /// Compares the place of an entry with the entry before it.
    fn place(&mut self, sequence: u64, prev_hash: AuditHash) {
        if self.report.entries == 0 {
            self.report.first = sequence;
            if sequence > 1 {
                self.before = Some(Anchor { sequence: sequence - 1, hash: prev_hash });
            } else if prev_hash != AuditHash::default() {
                self.fault(AuditFault::Unlinked(sequence));
            }
            return;
        }
        let (last, last_hash) = (self.report.last, self.report.last_hash);
        if sequence <= last {
            self.fault(AuditFault::Reordered { sequence, after: last });
        } else if sequence > last + 1 {
            self.fault(AuditFault::Missing { first: last + 1, last: sequence - 1 });
        } else if prev_hash != last_hash {
            self.fault(AuditFault::Unlinked(sequence));
        }
    }

    fn content(&mut self, row: &Row) {
        let sequence = row.sequence;
        let wrong = |what: &str| AuditFault::Contradiction { sequence, what: what.to_owned() };
        let Ok(entry) = Entry::decode(row.body.clone()) else {
            self.fault(wrong("its content can't be read"));
            return;
        };
        if entry.at_us != row.at_us {
            self.fault(wrong("the time by which it is selected is not that of its content"));
        }
        if entry.at_us < self.last_at {
            self.fault(wrong("its time is before that of the entry before it"));
        }
        self.last_at = entry.at_us;
        let what = format!("{} {}", entry.action, entry.target);
        match entry.kind() {
            EntryKind::Intent if entry.part == 0 && self.open.len() < OPEN_MAX => {
                self.open.insert(entry.operation, (sequence, what));
            }
            EntryKind::Outcome if entry.parts_after == 0 => {
                if entry.outcome() == AuditOutcome::Unknown {
                    self.unknown(sequence, what);
                }
                let is_known = self.open.remove(&entry.operation).is_some();
                // The intent of an operation may be before the entries that were read.
                if !is_known && self.report.first == 1 {
                    self.fault(AuditFault::WithoutIntent(sequence));
                }
            }
            EntryKind::Anchor => {
                self.is_trimmed |= self.before.is_some_and(|before| {
                    entry.trimmed_through == before.sequence
                        && entry.trimmed_hash[..] == before.hash[..]
                });
            }
            EntryKind::Intent | EntryKind::Outcome => {}
            EntryKind::Unspecified => self.fault(wrong("its kind is not known")),
        }
    }

    fn unknown(&mut self, sequence: u64, what: String) {
        self.report.unknown_count += 1;
        if self.report.unknown.len() < NAMED_MAX {
            self.report.unknown.push((sequence, what));
        }
    }

    /// The report. `end` is the newest entry by the database's row of the end; `None` for an export.
    /// With `is_part`, the entries may begin later than the log does.
    pub fn finish(mut self, end: Option<Anchor>, is_part: bool) -> AuditReport {
        let (first, last) = (self.report.first, self.report.last);
        if let Some(anchor) = self.anchor.filter(|_| !self.anchor_seen) {
            match self.before.filter(|before| before.sequence == anchor.sequence) {
                Some(before) if before.hash == anchor.hash => {}
                Some(_) => self.fault(AuditFault::OtherThanAnchor(anchor.sequence)),
                None => self.fault(AuditFault::AnchorMissing(anchor.sequence)),
            }
        }
        if self.before.is_some() && !self.is_trimmed && !is_part {
            self.fault(AuditFault::BeginningMissing { first });
        }
        if let Some(end) = end {
            if end.sequence > last {
                self.fault(AuditFault::Missing { first: last + 1, last: end.sequence });
            } else if end.sequence == last && end.hash != self.report.last_hash {
                let hash = hexadecimal(&end.hash);
                self.fault(AuditFault::OtherEnd { sequence: last, hash });
            }
        }
        self.report.open = self.open.into_values().collect();
        self.report.open.sort_unstable();
        self.report
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
