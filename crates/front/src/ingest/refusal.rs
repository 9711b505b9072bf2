//! Why the front refuses a batch, in words for the client.

use turnpike_mutants::{Check, off};
use turnpike_types::limits;

use crate::FrontError;
use crate::ingest::split::SplitStop;
use crate::ingest::stall::Order;

/// Why a batch is refused.
pub(crate) enum BatchRefusal {
    Retry(String),
    /// An earlier refused batch must be sent again first.
    OutOfTurn(String),
    Reject(String),
}

/// Why a stream ends that has more refused batches than the front remembers.
pub(crate) const STREAM_OVERFULL: &str = "too many batches of this stream were answered RETRY and \
     not sent again: open a new stream and send them again in their order";

impl BatchRefusal {
    pub(crate) fn too_large(bytes: usize) -> Self {
        Self::Reject(format!(
            "the batch has {bytes} bytes; at most {} are taken: send smaller batches",
            limits::BATCH_BYTES_MAX
        ))
    }

    pub(crate) fn overloaded() -> Self {
        Self::Retry("overloaded: too many bytes of batches are not answered yet".to_owned())
    }

    /// The shared database does not note the look-up that is about to begin.
    pub(crate) fn not_noted() -> Self {
        Self::Retry(
            "identities can't be looked up: the shared database does not note the look-up"
                .to_owned(),
        )
    }

    /// The look-up of identities failed.
    pub(crate) fn not_looked_up(why: &str) -> Self {
        Self::Retry(format!("identities can't be looked up: {why}"))
    }
}

impl From<FrontError> for BatchRefusal {
    fn from(error: FrontError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<SplitStop> for BatchRefusal {
    fn from(stop: SplitStop) -> Self {
        match stop {
            SplitStop::NoPartitions => Self::Retry(FrontError::NoPartitions.to_string()),
            // Histories were looked up for every identity, so the second split finds none missing.
            SplitStop::NeedsGuiding => Self::Retry("an identity was not looked up".to_owned()),
            SplitStop::Malformed(error) => Self::Reject(format!(
                "the message is not a valid batch: {error}; send an IngestBatch"
            )),
            SplitStop::TooManyRecords(records) => Self::Reject(format!(
                "the batch has {records} records; at most {} are taken: send smaller batches",
                limits::BATCH_RECORDS_MAX
            )),
            SplitStop::BadSource(why) => Self::Reject(why.to_string()),
            SplitStop::LongSource(bytes) => Self::Reject(format!(
                "the source's name has {bytes} bytes; at most {} are taken: shorten it",
                limits::SOURCE_BYTES_MAX
            )),
        }
    }
}

/// Refuses batch `number` while an earlier batch must be sent again first.
pub(crate) fn in_turn(order: &Order, number: u64) -> Result<(), BatchRefusal> {
    match order.is_out_of_turn(number).filter(|_| !off(Check::Turn)) {
        None => Ok(()),
        Some((first, why)) => Err(BatchRefusal::OutOfTurn(format!(
            "batch {first} was answered RETRY: send it again first, so that the order is kept (it \
             was refused because: {why})"
        ))),
    }
}
