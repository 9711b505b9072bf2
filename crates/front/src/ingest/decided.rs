//! The outcome for a record whose account a partition decided ([`crate::ingest::reassign`]).

use turnpike_proto::ingest::v1::RecordResult;

/// The outcome for one record.
#[derive(Clone, Debug)]
pub(crate) enum Decided {
    /// The record was rated now.
    Accepted,
    /// The record was rated before.
    Duplicate,
    /// The record is suspended or rejected.
    Result(RecordResult),
    /// The record waits in the first holder's suspense, because the account of the decision
    /// rejected it.
    Waits {
        /// The answer for the client.
        result: RecordResult,
        /// The word of the rejection.
        refusal: String,
    },
    /// The record has no durable answer: send it again.
    Retry(String),
}
