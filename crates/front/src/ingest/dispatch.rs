//! Passes the batches of one client stream to the partition senders, in the order of the stream, or
//! refuses them (P30).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use turnpike_proto::frame::BatchFrame;
use turnpike_shares::ClientKey;
use turnpike_types::PartitionId;

use crate::core::Core;
use crate::ingest::admission::AdmissionShare;
use crate::ingest::batch::{
    Acks, Ticket, Unanswered, UnansweredBatch, first_ack, reject_ack, retry_ack,
};
use crate::ingest::partition_sender::{self, SenderQueue};
use crate::ingest::refusal::{BatchRefusal, in_turn};
use crate::ingest::split::{BatchId, Split, head_of};
use crate::ingest::stall::{Overfull, Stall};
use crate::ingest::sub_batch::{Arrival, PendingSubBatch};

/// The senders of one client stream, and the order of its refused batches.
pub(crate) struct Dispatch {
    core: Arc<Core>,
    client: ClientKey,
    arrival: Arrival,
    acks: Acks,
    stall: Arc<Stall>,
    senders: BTreeMap<PartitionId, SenderQueue>,
}

impl Dispatch {
    pub(crate) fn new(core: &Arc<Core>, client: ClientKey, arrival: Arrival, acks: Acks) -> Self {
        Self {
            core: Arc::clone(core),
            client,
            arrival,
            acks,
            stall: Arc::default(),
            senders: BTreeMap::new(),
        }
    }

    pub(crate) fn arrival(&self) -> Arrival {
        self.arrival
    }

    pub(crate) fn acks(&self) -> &Acks {
        &self.acks
    }

    /// Refuses a batch while an earlier batch must be sent again first.
    pub(crate) fn check_turn(&self, frame: &BatchFrame) -> Result<(), BatchRefusal> {
        let is_stalled = self.stall.lock().is_stalled();
        if !is_stalled {
            return Ok(());
        }
        let number = head_of(frame).batch_number;
        in_turn(&self.stall.lock(), number)
    }

    /// Answers a batch that is refused. Remembers a batch that the client will send again.
    pub(crate) fn refuse(
        &self,
        head: BatchId,
        refusal: BatchRefusal,
        unanswered: Unanswered,
    ) -> Result<(), Overfull> {
        let number = head.batch_number;
        tracing::debug!(source = head.source, batch = number, "batch refused");
        let hint = self.core.config.retry_hint();
        let mut order = self.stall.lock();
        let (remembered, ack) = match refusal {
            BatchRefusal::Reject(message) => {
                order.forget(number);
                (Ok(()), reject_ack(number, message))
            }
            BatchRefusal::Retry(message) => {
                let hint = self.core.chance.jitter(hint * 2);
                (order.refuse(number, Some(&message)), retry_ack(number, hint, message))
            }
            BatchRefusal::OutOfTurn(message) => {
                (order.refuse(number, None), retry_ack(number, hint, message))
            }
        };
        drop(order);
        UnansweredBatch::refuse(ack, &self.acks, unanswered);
        remembered
    }

    /// Passes a batch to the senders, unless a refused batch must be sent again first.
    pub(crate) fn push(
        &mut self,
        head: BatchId,
        split: Split,
        room: Option<AdmissionShare>,
        deadline: Instant,
        unanswered: Unanswered,
    ) -> Result<(), Overfull> {
        let hint = self.core.config.retry_hint();
        let stall = Arc::clone(&self.stall);
        // One step under the lock. A sender refuses a batch either before this step, and then
        // `in_turn` finds the refused batch, or after it, and then the sender finds the parts
        // pushed here.
        let mut order = stall.lock();
        if let Err(refusal) = in_turn(&order, head.batch_number) {
            drop(order);
            return self.refuse(head, refusal, unanswered);
        }
        let turn = order.push(head.batch_number);
        let parts = split.parts.len();
        let ack = first_ack(head.batch_number, &split.refused, split.decided);
        let batch =
            UnansweredBatch::open(turn, parts, ack, room, &self.acks, &self.stall, unanswered);
        let mut gone = Vec::new();
        for part in split.parts {
            let ticket = Ticket::new(Arc::clone(&batch), part.count, part.indexes, hint);
            let sender = self.senders.entry(part.partition).or_insert_with(|| {
                let (acks, stall) = (self.acks.clone(), Arc::clone(&self.stall));
                let from = (self.client, self.arrival);
                partition_sender::open(&self.core, part.partition, from, acks, stall)
            });
            gone.extend(sender.push(PendingSubBatch::new(
                part.records,
                deadline,
                part.guided_us,
                ticket,
            )));
        }
        drop(order);
        drop(gone);
        Ok(())
    }
}
