//! The body of an answer: its bytes are counted until they are written, and passed on in pieces, so
//! that a slow reader is told from one that does not read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use crate::budget::{BudgetShare, MemoryPart};
use crate::progress::Progress;
use crate::room::RequestRoom;
use crate::withheld::MessageCharge;

/// A client must take this many bytes within [`crate::Deadlines::reading`].
const PIECE_BYTES: usize = 64 * 1024;
/// Smaller chunks are covered by the share of the open request.
const COUNTED_BYTES_MIN: usize = 4 * 1024;

/// The body of an answer. It holds what the request holds until the answer ends.
pub(crate) struct Outbound {
    body: tonic::body::Body,
    room: RequestRoom,
    message: Arc<MessageCharge>,
    rest: Bytes,
    /// Runs out when the answer must end.
    life: Option<Pin<Box<Sleep>>>,
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
    /// The answer `body`, which ends after `life` at the latest.
    pub(crate) fn new(
        body: tonic::body::Body,
        room: RequestRoom,
        message: Arc<MessageCharge>,
        life: Option<Duration>,
    ) -> Self {
        let life = life.map(|life| Box::pin(tokio::time::sleep(life)));
        Self { body, room, message, rest: Bytes::new(), life }
    }

    fn counted(&mut self, bytes: Bytes) -> Bytes {
        // The reservation becomes the charge.
        self.message.replace_answer(None);
        if bytes.len() < COUNTED_BYTES_MIN {
            return bytes;
        }
        let (budget, client) = (self.room.budget(), self.room.client());
        let share = budget.charge(MemoryPart::Answers, client, bytes.len());
        Bytes::from_owner(Counted { bytes, _share: share })
    }

    /// Ends the answer once its time is over.
    fn poll_life(&mut self, cx: &mut Context<'_>) -> Poll<Frame<Bytes>> {
        let Some(life) = &mut self.life else { return Poll::Pending };
        ready!(life.as_mut().poll(cx));
        self.life = None;
        self.body = tonic::body::Body::empty();
        let mut trailers = HeaderMap::new();
        let status = Status::unavailable("this stream has reached its largest age: open another");
        if let Err(error) = status.add_header(&mut trailers) {
            tracing::debug!(%error, "the end of a stream has no status");
        }
        Poll::Ready(Frame::trailers(trailers))
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
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = this.counted(data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Poll::Ready(other) => return Poll::Ready(other),
                Poll::Pending => return this.poll_life(cx).map(|end| Some(Ok(end))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(Progress::hand_over(this.room.progress(), piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
