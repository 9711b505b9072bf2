//! The part of a batch that goes to one partition, and its encoding.

use bytes::Bytes;
use tokio::time::Instant;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead};
use turnpike_types::{PartitionId, Timestamp};

use crate::gauges::GaugeGuard;
use crate::ingest::batch::Ticket;

/// Space for the fields that a sender appends after the records.
pub(crate) const TRAILER_BYTES: usize = 46;

/// Whether the records of a stream arrive for the first time (P35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// From a client: the partition checks the age of the records.
    First,
    /// From the suspense of another partition. That partition checked the age of the records when
    /// they first arrived. `mark`: an instant, by the database's clock, before the look-up of their
    /// accounts; `None` if a first holder's partition decided their accounts (P28). `from`: the
    /// partition in whose suspense they wait.
    Recycled { mark: Option<Timestamp>, from: PartitionId },
}

/// The part of a batch that goes to one partition.
#[derive(Debug)]
pub(crate) struct PendingSubBatch {
    body: Body,
    pub(crate) records_bytes: usize,
    pub(crate) deadline: Instant,
    /// If an account was looked up by identity: an instant before the look-up, by the database's
    /// clock, in microseconds. Otherwise 0.
    pub(crate) guided_us: u64,
    pub(crate) ticket: Ticket,
    _counted: GaugeGuard,
}

/// The encoded records, followed by the head fields of the last sending. Protobuf accepts fields in
/// any order, so the first sending copies nothing.
#[derive(Debug)]
enum Body {
    Fresh(Vec<u8>),
    Sent(Bytes),
}

impl PendingSubBatch {
    pub(crate) fn new(records: Vec<u8>, deadline: Instant, guided_us: u64, ticket: Ticket) -> Self {
        Self {
            records_bytes: records.len(),
            body: Body::Fresh(records),
            deadline,
            guided_us,
            ticket,
            _counted: GaugeGuard::pending(),
        }
    }

    /// Encodes the sub-batch under this head.
    pub(crate) fn frame(&mut self, head: SubBatchHead) -> SubBatchFrame {
        let mut bytes = match std::mem::replace(&mut self.body, Body::Fresh(Vec::new())) {
            Body::Fresh(records) => records,
            Body::Sent(sent) => {
                let mut again = Vec::with_capacity(self.records_bytes + TRAILER_BYTES);
                again.extend_from_slice(&sent[..self.records_bytes]);
                again
            }
        };
        head.put(&mut bytes);
        let frame = SubBatchFrame::from(bytes);
        self.body = Body::Sent(frame.body().clone());
        frame
    }
}
