//! Counts and reports the outcomes of records.

use std::fmt;

use serde::Serialize;
use turnpike_client::{Batch, SendEvent};
use turnpike_collect::Fault;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordResult, RecordStatus};

use crate::exceptions_file::{Exception, ExceptionsFile};
use crate::exit::Finish;
use crate::ui;

/// Counts of records. Once its batch is answered, every sent record is in exactly one of accepted,
/// duplicates, suspended and rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// The number of records that have their final answer.
    pub(crate) sent: u64,
    /// The number of records that were rated by this sending.
    pub(crate) accepted: u64,
    /// The number of records that were rated or suspended at an earlier sending.
    pub(crate) duplicates: u64,
    /// The number of duplicates that are still in suspense.
    pub(crate) still_suspended: u64,
    /// The number of records that were suspended by this sending.
    pub(crate) suspended: u64,
    /// The number of rejected records, which are neither rated nor suspended.
    pub(crate) rejected: u64,
    /// The number of records sent again because the cluster requested a retry or the stream broke.
    pub(crate) retried: u64,
}

impl Tally {
    /// Counts an event.
    pub(crate) fn count<T>(&mut self, event: &SendEvent<T>) {
        match event {
            SendEvent::Retried { records, .. } => self.retried += u64::from(*records),
            SendEvent::Answered { batch, ack, .. } => self.answered(batch, ack),
        }
    }

    fn answered<T>(&mut self, batch: &Batch<T>, ack: &BatchAck) {
        self.sent += u64::from(batch.records);
        if ack.status() == BatchStatus::Rejected {
            self.rejected += u64::from(batch.records);
            return;
        }
        self.accepted += u64::from(ack.accepted);
        self.duplicates += ack.duplicates.len() as u64;
        for exception in &ack.exceptions {
            match exception.status() {
                RecordStatus::Suspended if exception.replayed => {
                    self.duplicates += 1;
                    self.still_suspended += u64::from(still_waits(exception));
                }
                RecordStatus::Suspended => self.suspended += 1,
                _ => self.rejected += 1,
            }
        }
    }

    /// Adds another stream's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.still_suspended += other.still_suspended;
        self.suspended += other.suspended;
        self.rejected += other.rejected;
        self.retried += other.retried;
    }

    /// Whether at least one record was rated neither by this sending nor by an earlier one.
    pub(crate) const fn is_partial(&self) -> bool {
        self.suspended + self.still_suspended + self.rejected > 0
    }

    /// Whether each record has exactly one outcome.
    pub(crate) const fn is_balanced(&self) -> bool {
        self.sent == self.accepted + self.duplicates + self.suspended + self.rejected
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records sent: {} accepted, {} duplicates{}, {} suspended, {} rejected",
            ui::count(self.sent),
            ui::count(self.accepted),
            ui::count(self.duplicates),
            match self.still_suspended {
                0 => String::new(),
                waiting => format!(" ({} of them still suspended)", ui::count(waiting)),
            },
            ui::count(self.suspended),
            ui::count(self.rejected)
        )?;
        if self.retried > 0 {
            write!(f, " ({} sent again)", ui::count(self.retried))?;
        }
        Ok(())
    }
}

/// Whether a record that was suspended at an earlier sending is still in suspense.
fn still_waits(exception: &RecordResult) -> bool {
    exception.present != RATED
}

/// The present state of a record that was suspended at an earlier sending and has been recycled
/// since.
const RATED: &str = "rated";

/// For each record of a batch: its line in the file and its id.
pub(crate) type Origins = Vec<(u64, String)>;

/// The report on a file.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FileReport {
    pub(crate) file: String,
    #[serde(flatten)]
    pub(crate) tally: Tally,
    pub(crate) bad_rows: u64,
    pub(crate) exceptions: Vec<Exception>,
    #[serde(skip)]
    pub(crate) faults: Vec<Fault>,
}

/// The number of bad rows and exceptions kept with details; further ones are only counted.
pub(crate) const KEPT_MAX: usize = 100_000;
/// The rejection reason of a record before the acceptance horizon.
const TOO_OLD: &str = "too-old";
const TOO_OLD_ADVICE: &str = "\
too-old: the records start before the cluster's acceptance horizon. A cluster for old records is
created with `turnpike up --data NEW-DIR --accept-since DATE`, or with `turnpike partition init …
--accept-since DATE`; an existing partition keeps its horizon.";
/// The number of exceptions shown on a terminal.
const SHOWN_MAX: usize = 20;

impl FileReport {
    /// Counts an event of a batch, and keeps its suspended and rejected records.
    pub(crate) fn count(&mut self, event: &SendEvent<Origins>) {
        self.tally.count(event);
        let SendEvent::Answered { batch, ack, .. } = event else { return };
        if ack.status() == BatchStatus::Rejected {
            for (line, record_id) in &batch.tag {
                self.note(*line, record_id, "rejected", (&ack.message, ""));
            }
        }
        for exception in &ack.exceptions {
            let (status, reason) = match exception.status() {
                // The record was suspended at an earlier sending, and has been recycled and rated
                // since.
                RecordStatus::Suspended if exception.replayed && !still_waits(exception) => {
                    continue;
                }
                // The present reason, which may differ from the reason at the earlier sending.
                RecordStatus::Suspended if exception.replayed && !exception.present.is_empty() => {
                    ("suspended", (exception.present.as_str(), exception.present_detail.as_str()))
                }
                RecordStatus::Suspended => {
                    ("suspended", (exception.reason.as_str(), exception.detail.as_str()))
                }
                _ => ("rejected", (exception.reason.as_str(), "")),
            };
            if let Some((line, record_id)) = batch.tag.get(exception.index as usize) {
                self.note(*line, record_id, status, reason);
            }
        }
    }

    /// Keeps a row that is not a valid record.
    pub(crate) fn bad_row(&mut self, fault: Fault) {
        self.bad_rows += 1;
        let reason = format!("{}; {}", fault.problem, fault.remedy);
        self.note(fault.line, "", "bad-row", (&reason, ""));
        if self.faults.len() < KEPT_MAX {
            self.faults.push(fault);
        }
    }

    fn note(
        &mut self,
        line: u64,
        record_id: &str,
        status: &'static str,
        (reason, detail): (&str, &str),
    ) {
        if self.exceptions.len() < KEPT_MAX {
            let (record_id, reason) = (record_id.to_owned(), reason.to_owned());
            let detail = detail.to_owned();
            self.exceptions.push(Exception { line, record_id, status, reason, detail });
        }
    }

    /// Prints the report as text or JSON, and returns the result for the exit code.
    pub(crate) fn print(
        &self,
        json: bool,
        exceptions: Option<ExceptionsFile>,
    ) -> anyhow::Result<Finish> {
        let advice = match exceptions {
            Some(file) => {
                let advice = format!(", all in {}", file.path().display());
                file.write(&self.exceptions)?;
                advice
            }
            None => " (--exceptions FILE writes them all)".to_owned(),
        };
        if json {
            ui::print_json(self)?;
        } else {
            ui::print(format_args!("{}: {}", self.file, self.tally))?;
            if self.bad_rows > 0 {
                ui::print_stderr(format_args!(
                    "{} bad rows were not sent:",
                    ui::count(self.bad_rows)
                ));
                ui::print_some_stderr(&self.faults, SHOWN_MAX, &advice);
            }
            let told: Vec<_> = self.exceptions.iter().filter(|e| e.status != "bad-row").collect();
            if !told.is_empty() {
                ui::print_stderr("suspended or rejected:");
                ui::print_some_stderr(&told, SHOWN_MAX, &advice);
            }
            if told.iter().any(|one| one.reason == TOO_OLD) {
                ui::print_stderr(TOO_OLD_ADVICE);
            }
        }
        Ok(Finish::unless(self.bad_rows > 0 || self.tally.is_partial()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_proto::frame::BatchFrame;

    #[test]
    fn every_record_of_an_answered_batch_has_exactly_one_outcome() {
        let result = |index, status: RecordStatus, replayed| RecordResult {
            index,
            status: status.into(),
            reason: "no-plan".to_owned(),
            replayed,
            ..RecordResult::default()
        };
        let batch = Batch {
            number: 1,
            records: 7,
            frame: BatchFrame::default(),
            tag: (0..7).map(|at| (at + 2, format!("r{at}"))).collect(),
        };
        let ack = BatchAck {
            batch_number: 1,
            status: BatchStatus::Done.into(),
            accepted: 3,
            duplicates: vec![3],
            exceptions: vec![
                result(4, RecordStatus::Suspended, false),
                result(5, RecordStatus::Suspended, true),
                result(6, RecordStatus::Rejected, false),
            ],
            ..BatchAck::default()
        };
        let mut report = FileReport::default();
        report.count(&SendEvent::Answered { batch, ack, after: std::time::Duration::ZERO });
        let tally = &report.tally;
        assert!(tally.is_balanced(), "{tally}");
        assert_eq!((tally.accepted, tally.duplicates), (3, 2));
        assert_eq!((tally.suspended, tally.rejected), (1, 1));
        assert_eq!(report.exceptions.len(), 3);
        assert_eq!(report.exceptions[2].to_string(), "line 8, record r6: rejected, no-plan");
    }

    fn report_of(exceptions: Vec<RecordResult>) -> FileReport {
        let records = u32::try_from(exceptions.len()).unwrap();
        let tag = (0..records).map(|at| (u64::from(at) + 2, format!("r{at}"))).collect();
        let batch = Batch { number: 1, records, frame: BatchFrame::default(), tag };
        let ack = BatchAck {
            batch_number: 1,
            status: BatchStatus::Done.into(),
            exceptions,
            ..BatchAck::default()
        };
        let mut report = FileReport::default();
        let after = std::time::Duration::ZERO;
        report.count(&SendEvent::Answered { batch, ack, after });
        report
    }

    fn sent_again(index: u32, present: &str) -> RecordResult {
        RecordResult {
            index,
            status: RecordStatus::Suspended.into(),
            reason: "unknown-account".to_owned(),
            detail: "42".to_owned(),
            replayed: true,
            present: present.to_owned(),
            present_detail: "record.duration".to_owned(),
        }
    }

    #[test]
    fn a_suspended_record_that_is_sent_again_is_no_success() {
        let waiting = report_of(vec![sent_again(0, "missing-input")]);
        assert_eq!((waiting.tally.duplicates, waiting.tally.still_suspended), (1, 1));
        assert!(waiting.tally.is_balanced() && waiting.tally.is_partial());
        let told = waiting.exceptions[0].to_string();
        assert_eq!(told, "line 2, record r0: suspended, missing-input: record.duration");
        assert!(waiting.tally.to_string().contains("1 duplicates (1 of them still suspended)"));
        // The record was recycled meanwhile and is rated: nothing is left to do.
        let rated = report_of(vec![sent_again(0, "rated")]);
        assert_eq!((rated.tally.duplicates, rated.tally.still_suspended), (1, 0));
        assert!(!rated.tally.is_partial() && rated.exceptions.is_empty());
    }
}
