//! A batch in flight: its parts are answered one by one, and the last answer sends the
//! acknowledgement.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tonic::Status;
use turnpike_proto::ingest::v1::{BatchAck, BatchStatus, RecordResult, RecordStatus};
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::tally::tally;
use turnpike_types::RejectReason;

use crate::config::millis;
use crate::ingest::admission::AdmissionShare;
use crate::ingest::decided::Decided;
use crate::ingest::stall::{Stall, Turn};

/// The permit of a batch that is not answered yet, and when the batch was received.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// `None` for records of another batch for which [`crate::ingest::reassign`] has decided the
    /// account: that batch holds the permit, and its answer is counted.
    permit: Option<OwnedSemaphorePermit>,
    since: Instant,
}

impl Unanswered {
    /// Creates the value for a batch that is received now.
    pub(crate) fn received(permit: OwnedSemaphorePermit) -> Self {
        Self { permit: Some(permit), since: Instant::now() }
    }

    /// Creates the value for records of another batch for which [`crate::ingest::reassign`] has
    /// decided the account.
    pub(crate) fn of_another() -> Self {
        Self { permit: None, since: Instant::now() }
    }

    /// Counts the answer to the batch, unless another batch counts its records.
    fn count(&self, ack: &BatchAck) {
        if self.permit.is_some() {
            count(ack, self.since.elapsed());
        }
    }
}

/// An acknowledgement on its way to the client. The batch counts as unanswered until the client's
/// stream has read the acknowledgement.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) ack: BatchAck,
    pub(crate) _unanswered: Unanswered,
}

/// The channel for acknowledgements, and finally for the reason why the front stops reading. The
/// permits in the deliveries bound it, not the channel.
pub(crate) type Acks = mpsc::UnboundedSender<Result<Delivery, Status>>;

/// A batch that was accepted for processing and is not answered yet.
#[derive(Debug)]
pub(crate) struct UnansweredBatch {
    acks: Acks,
    stall: Arc<Stall>,
    turn: Turn,
    tally: Mutex<Option<Tally>>,
}

#[derive(Debug)]
struct Tally {
    open_parts: usize,
    ack: BatchAck,
    _room: Option<AdmissionShare>,
    unanswered: Unanswered,
}

impl UnansweredBatch {
    /// Opens a batch of `parts` parts. `ack` holds the answers that are known already
    /// ([`first_ack`]). A batch without parts is answered at once. `room` is `None` for records of
    /// another batch for which [`crate::ingest::reassign`] has decided the account: that batch holds
    /// its share of the admission budget.
    pub(crate) fn open(
        turn: Turn,
        parts: usize,
        ack: BatchAck,
        room: Option<AdmissionShare>,
        acks: &Acks,
        stall: &Arc<Stall>,
        unanswered: Unanswered,
    ) -> Arc<Self> {
        // The last part to close sends the acknowledgement. One more part stays open until the call
        // of `settle` below.
        let tally = Tally { open_parts: parts + 1, ack, _room: room, unanswered };
        let (acks, stall) = (acks.clone(), Arc::clone(stall));
        let batch = Arc::new(Self { acks, stall, turn, tally: Mutex::new(Some(tally)) });
        batch.settle(|_| {});
        batch
    }

    /// Answers a batch that the front refuses.
    pub(crate) fn refuse(ack: BatchAck, acks: &Acks, unanswered: Unanswered) {
        unanswered.count(&ack);
        // A send error means that the client has disconnected: no answer is needed.
        let _ = acks.send(Ok(Delivery { ack, _unanswered: unanswered }));
    }

    fn settle(&self, change: impl FnOnce(&mut BatchAck)) {
        // No code panics while it holds this lock.
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut open) = tally.take() else { return };
        change(&mut open.ack);
        open.open_parts -= 1;
        if open.open_parts > 0 {
            *tally = Some(open);
            return;
        }
        drop(tally);
        let Tally { mut ack, unanswered, .. } = open;
        ack.duplicates.sort_unstable();
        ack.exceptions.sort_by_key(|result| result.index);
        unanswered.count(&ack);
        if ack.status() == BatchStatus::Rejected {
            // Another part of this batch may have been refused with RETRY before. The client will
            // not send a rejected batch again, so later batches must not wait for it.
            self.stall.lock().forget(self.turn.number());
        }
        // A send error means that the client has disconnected: no answer is needed.
        let _ = self.acks.send(Ok(Delivery { ack, _unanswered: unanswered }));
    }
}

/// Counts the outcome of a batch in the metrics; `took` is the time since it was received.
fn count(ack: &BatchAck, took: Duration) {
    let status = match ack.status() {
        BatchStatus::Done => "done",
        BatchStatus::Retry => "retry",
        BatchStatus::Rejected => "rejected",
        BatchStatus::Unspecified => "unspecified",
    };
    metrics::counter!("turnpike_front_batches_total", "status" => status).increment(1);
    metrics::histogram!("turnpike_front_batch_seconds", "status" => status)
        .record(took.as_secs_f64());
    let accepted = ("accepted", u64::from(ack.accepted));
    for (outcome, records) in [accepted, ("duplicate", ack.duplicates.len() as u64)] {
        if records > 0 {
            metrics::counter!("turnpike_front_records_total", "outcome" => outcome)
                .increment(records);
        }
    }
    for ((outcome, reason), records) in tally(&ack.exceptions) {
        metrics::counter!("turnpike_front_records_total", "outcome" => outcome, "reason" => reason)
            .increment(records);
    }
}

/// The acknowledgement of a batch before any of its parts is answered. It holds the records that
/// the front rejects itself, and the outcomes of the records whose account was decided before the
/// split ([`crate::ingest::reassign`]).
pub(crate) fn first_ack(
    batch_number: u64,
    refused: &[(u32, RejectReason)],
    decided: Vec<(u32, Decided)>,
) -> BatchAck {
    let mut ack = BatchAck {
        batch_number,
        status: BatchStatus::Done.into(),
        exceptions: refused.iter().map(|&(index, reason)| refusal(index, reason)).collect(),
        ..BatchAck::default()
    };
    for (index, outcome) in decided {
        match outcome {
            Decided::Accepted => ack.accepted += 1,
            Decided::Duplicate => ack.duplicates.push(index),
            Decided::Result(result) | Decided::Waits { result, .. } => {
                ack.exceptions.push(RecordResult { index, ..result });
            }
            // A batch with such a record was refused as a whole before this call.
            Decided::Retry(message) => {
                ack.status = BatchStatus::Retry.into();
                ack.message = message;
            }
        }
    }
    ack
}

/// The result of a record that the front rejects itself.
pub(crate) fn refusal(index: u32, reason: RejectReason) -> RecordResult {
    RecordResult {
        index,
        status: RecordStatus::Rejected.into(),
        reason: reason.word().to_owned(),
        ..RecordResult::default()
    }
}

/// An acknowledgement with status RETRY.
pub(crate) fn retry_ack(batch_number: u64, after: Duration, message: String) -> BatchAck {
    BatchAck {
        batch_number,
        status: BatchStatus::Retry.into(),
        retry_after_ms: millis(after),
        message,
        ..BatchAck::default()
    }
}

/// An acknowledgement with status REJECTED: the batch must be corrected.
pub(crate) fn reject_ack(batch_number: u64, message: String) -> BatchAck {
    BatchAck { batch_number, status: BatchStatus::Rejected.into(), message, ..BatchAck::default() }
}

/// The obligation to answer one part of a batch. A ticket that is dropped unsettled (when its
/// sender ends early) answers RETRY, so that every batch gets an answer.
#[derive(Debug)]
pub(crate) struct Ticket {
    batch: Option<Arc<UnansweredBatch>>,
    /// The number of records in the part.
    count: u32,
    indexes: Option<Vec<u32>>,
    retry_hint: Duration,
}

impl Ticket {
    pub(crate) fn new(
        batch: Arc<UnansweredBatch>,
        count: u32,
        indexes: Option<Vec<u32>>,
        retry_hint: Duration,
    ) -> Self {
        Self { batch: Some(batch), count, indexes, retry_hint }
    }

    /// The place of the batch on its stream; `None` once the ticket is settled.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.batch.as_ref().map(|batch| batch.turn)
    }

    /// Whether the answer has at least as many results as the part has records, and every index in
    /// it is an index of the part (I1).
    pub(crate) fn fits(&self, answer: &SubBatchAnswer) -> bool {
        let told = u64::from(answer.accepted)
            + answer.duplicates.len() as u64
            + answer.exceptions.len() as u64;
        let within = |index: u32| index < self.count;
        told >= u64::from(self.count)
            && answer.duplicates.iter().copied().all(within)
            && answer.exceptions.iter().map(|result| result.index).all(within)
    }

    /// Settles the part with its durable answer, which [`fits`](Self::fits).
    pub(crate) fn done(mut self, answer: SubBatchAnswer) {
        let Some(batch) = self.batch.take() else { return };
        let indexes = self.indexes.take();
        let map = |index: u32| match &indexes {
            None => index,
            Some(indexes) => indexes[index as usize],
        };
        batch.settle(|ack| {
            ack.accepted += answer.accepted;
            ack.duplicates.extend(answer.duplicates.iter().map(|&index| map(index)));
            ack.exceptions.extend(answer.exceptions.into_iter().map(|mut result| {
                result.index = map(result.index);
                result
            }));
        });
    }

    /// Settles the part with RETRY: it has no durable answer.
    pub(crate) fn retry(mut self, message: &str) {
        self.settle_retry(message);
    }

    /// Settles the part with REJECTED: it can never be accepted.
    pub(crate) fn reject(mut self, message: &str) {
        let Some(batch) = self.batch.take() else { return };
        batch.settle(|ack| {
            ack.status = BatchStatus::Rejected.into();
            ack.message = format!(
                "{message}; records for other partitions may have been accepted: correct the batch \
                 and send it again with the same record ids"
            );
        });
    }

    fn settle_retry(&mut self, message: &str) {
        let Some(batch) = self.batch.take() else { return };
        let after = millis(self.retry_hint);
        batch.settle(|ack| {
            // REJECTED takes precedence: the batch must be corrected before it is sent again.
            if ack.status() != BatchStatus::Rejected {
                ack.status = BatchStatus::Retry.into();
                ack.retry_after_ms = ack.retry_after_ms.max(after);
                ack.message = message.to_owned();
            }
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle_retry("this front is shutting down; send the batch again to any front");
    }
}
