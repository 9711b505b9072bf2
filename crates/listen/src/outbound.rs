//! The body of an answer: its bytes are counted until they are written, and passed on in pieces, so
//! that a slow reader is told from one that does not read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::budget::{Budget, BudgetShare, MemoryPart};
use crate::inbound::MessageCharge;
use crate::progress::{OpenRequest, Progress};

/// A client must take this many bytes within [`crate::Deadlines::reading`].
const PIECE_BYTES: usize = 64 * 1024;
/// Smaller chunks are covered by the share of the open request.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// What a request holds until its answer ends.
pub(crate) struct Held {
    pub(crate) request: BudgetShare,
    pub(crate) message: Arc<MessageCharge>,
}

/// The body of an answer.
pub(crate) struct Outbound {
    body: tonic::body::Body,
    budget: Budget,
    held: Held,
    open: OpenRequest,
    rest: Bytes,
}

/// The bytes of a chunk, and their share of the budget.
struct Counted {
    bytes: Bytes,
    _share: BudgetShare,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Outbound {
    pub(crate) fn new(
        body: tonic::body::Body,
        budget: Budget,
        held: Held,
        open: OpenRequest,
    ) -> Self {
        Self { body, budget, held, open, rest: Bytes::new() }
    }

    fn counted(&mut self, bytes: Bytes) -> Bytes {
        if bytes.len() < COUNTED_BYTES_MIN {
            return bytes;
        }
        // The reservation becomes the charge.
        self.held.message.replace_answer(None);
        let share = self.budget.charge(MemoryPart::Answers, bytes.len());
        Bytes::from_owner(Counted { bytes, _share: share })
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = this.counted(data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(Progress::hand_over(this.open.progress(), piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?}", self.request, self.message)
    }
}
