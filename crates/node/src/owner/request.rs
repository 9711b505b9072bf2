//! Requests to an owner, and the ownership under which it answers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;
use turnpike_mutants::{Check, off};
use turnpike_proto::account::v1::{AccountCommand, AccountResult, ShowResponse};
use turnpike_proto::frame::SubBatchFrame;
use turnpike_proto::node::v1::{
    Confirmation, NotedRefusal, ReassignOutcome, Reassignment, RecycleKey, RecycleOutcome,
    SubBatchAnswer,
};
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord};
use turnpike_shares::{ClientKey, Share};
use turnpike_store::PartitionSpec;
use turnpike_types::{ClaimId, Epoch, NodeName};

use super::core::{Listed, Refusal};

/// The partition that is served, with the epoch and claim of the ownership.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    pub(crate) spec: PartitionSpec,
    pub(crate) epoch: Epoch,
    pub(crate) claim: ClaimId,
}

/// Sends an answer with the epoch under which it was made. When the owner ends, the sender is
/// dropped without an answer: the outcome is then unknown to the receiver.
pub(crate) type Reply<T> = oneshot::Sender<(Epoch, T)>;

/// A request to an owner.
pub(crate) enum Request {
    /// Rate records.
    Records {
        frame: SubBatchFrame,
        stream: StreamEnd,
        reply: Reply<Result<SubBatchAnswer, Refusal>>,
    },
    /// Change accounts.
    Apply { commands: Vec<AccountCommand>, reply: Reply<Vec<AccountResult>> },
    /// Show an account.
    Show { account: u64, reply: Reply<Option<ShowResponse>> },
    /// List suspended records, in one pass.
    Suspense { filter: ListRequest, reply: Reply<Listed> },
    /// Rate suspended records again, and note refusals.
    Recycle {
        keys: Vec<RecycleKey>,
        refusals: Vec<NotedRefusal>,
        reply: Reply<Vec<RecycleOutcome>>,
    },
    /// Tell whether records are known. Changes nothing.
    Confirm { records: Vec<Bytes>, reply: Reply<Vec<Confirmation>> },
    /// Read suspended records by their keys.
    ReadWaiting { keys: Vec<RecycleKey>, reply: Reply<Vec<Option<SuspendedRecord>>> },
    /// Decide for which account to rate records whose identity has moved to another account.
    Reassign { records: Vec<Reassignment>, recycled: bool, reply: Reply<Vec<ReassignOutcome>> },
    /// Release the partition.
    Release { to: Option<NodeName> },
    /// Another claim of the partition was observed.
    Superseded,
}

impl Request {
    /// Whether the asker has left, and the request changes nothing: nobody needs it.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Show { reply, .. } => reply.is_closed(),
            Self::Suspense { reply, .. } => reply.is_closed(),
            Self::Confirm { reply, .. } => reply.is_closed(),
            Self::ReadWaiting { reply, .. } => reply.is_closed(),
            Self::Records { .. }
            | Self::Apply { .. }
            | Self::Recycle { .. }
            | Self::Reassign { .. }
            | Self::Release { .. }
            | Self::Superseded => false,
        }
    }
}

/// Ends a stream of sub-batches at the first one that the owner refuses. Later ones of the stream
/// are already in the queue, and must not pass the refused one (P30).
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamEnd(Arc<AtomicBool>);

impl StreamEnd {
    pub(super) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed) && !off(Check::OwnerEndsStream)
    }
}

/// A request, and the room in bytes that it occupies in the queue.
pub(crate) struct Queued {
    pub(crate) client: ClientKey,
    pub(crate) request: Request,
    pub(crate) _room: Option<Share>,
}

impl Queued {
    /// A request of the cluster itself, which needs no room.
    pub(crate) const fn of_cluster(request: Request) -> Self {
        Self { client: ClientKey::NONE, request, _room: None }
    }
}
