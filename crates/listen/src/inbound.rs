//! The body of a request: gRPC messages are withheld until they are complete, so that no reader
//! behind this one reserves memory for a length that a client only claims.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use turnpike_shares::ClientKey;

use crate::budget::{BudgetShare, MemoryPart};
use crate::config::Deadlines;
use crate::elements::decoded_bytes;
use crate::evictions::Evictable;
use crate::locking::lock;
use crate::methods::MethodLimits;
use crate::refusal::{exhausted, refused};
use crate::room::RequestRoom;
use crate::withheld::{MessageCharge, Partial, Withheld};

/// The prefix of a message: a flag and the length.
const PREFIX_BYTES: usize = 5;
/// The first size of a message's buffer, which the share of an open request covers.
const BUFFER_BYTES_MIN: usize = 4 * 1024;

/// The body of a request, of which whole messages are passed on.
pub(crate) struct Inbound<B> {
    body: B,
    limits: &'static MethodLimits,
    room: RequestRoom,
    charge: Arc<MessageCharge>,
    deadlines: Deadlines,
    /// Runs while a message, or the body of a unary request, is incomplete.
    timer: Option<Pin<Box<Sleep>>>,
    /// What the last chunk contains after the messages that were taken from it.
    chunk: Bytes,
    partial: Option<Partial>,
    silence: Option<Silence>,
    /// Reserves room for the answer, once the request is complete: a client that only begins
    /// requests takes none.
    answer_room: Option<Pin<Box<dyn Future<Output = Option<BudgetShare>> + Send>>>,
    has_answer_room: bool,
    /// The client has sent everything.
    is_ended: bool,
    is_over: bool,
}

/// A pause between two messages of a stream.
struct Silence {
    timer: Pin<Box<Sleep>>,
    /// Only a stream that was assigned to a client takes room that others need.
    _place: Option<Evictable>,
}

impl<B> Inbound<B> {
    pub(crate) fn new(
        body: B,
        limits: &'static MethodLimits,
        room: RequestRoom,
        charge: Arc<MessageCharge>,
        deadlines: Deadlines,
    ) -> Self {
        let timer =
            (!limits.client_streams).then(|| Box::pin(tokio::time::sleep(deadlines.message)));
        Self {
            body,
            limits,
            room,
            charge,
            deadlines,
            timer,
            chunk: Bytes::new(),
            partial: None,
            silence: None,
            answer_room: None,
            has_answer_room: false,
            is_ended: false,
            is_over: false,
        }
    }

    /// The size of the message, prefix included, that begins with `prefix`.
    fn size(&self, prefix: &[u8]) -> Result<Option<usize>, Status> {
        let Some(&[flag, a, b, c, d]) = prefix.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 {
            refused("encoding");
            let why =
                format!("a message with the flag {flag}: send messages uncompressed (flag 0)");
            return Err(Status::unimplemented(why));
        }
        let max = self.limits.request_bytes_max;
        if length > max {
            refused("size");
            return Err(Status::out_of_range(format!(
                "a message of {length} bytes; {} takes at most {max}: send smaller messages",
                self.limits.path
            )));
        }
        Ok(Some(PREFIX_BYTES + length))
    }

    /// A complete message of the present chunk and what was withheld before. The message of a unary
    /// request is withheld until the request ends: its client could leave it open, decoded.
    fn next_message(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_none() {
            match self.size(&self.chunk)? {
                Some(size) if size <= self.chunk.len() && self.limits.client_streams => {
                    return self.whole(size).map(Some);
                }
                _ if self.chunk.is_empty() => return Ok(None),
                size => self.begin(size),
            }
        }
        let Some(mut partial) = self.partial.take() else { return Ok(None) };
        while !self.chunk.is_empty() {
            self.fill(&mut partial)?;
            let received = lock(&partial.withheld.0).buffer.len();
            if partial.size.is_none() && received == PREFIX_BYTES {
                let prefix: [u8; PREFIX_BYTES] = {
                    let received = lock(&partial.withheld.0);
                    received.buffer.first_chunk().copied().ok_or_else(given_up)?
                };
                partial.size = self.size(&prefix)?;
            }
            if partial.size == Some(received) {
                if self.limits.client_streams {
                    return self.complete(partial).map(Some);
                }
                if !self.chunk.is_empty() {
                    let why = "a second message: this method takes one";
                    return Err(Status::invalid_argument(why));
                }
            }
        }
        self.partial = Some(partial);
        Ok(None)
    }

    /// The message of `size` bytes at the beginning of the chunk.
    fn whole(&mut self, size: usize) -> Result<Bytes, Status> {
        let mut share = self.share();
        let taken = decoded_bytes(self.limits, &self.chunk[PREFIX_BYTES..size])?;
        if !self.room.budget().grow_message(&mut share, size + taken, None) {
            return Err(no_memory());
        }
        self.charge.replace(Some(share));
        Ok(self.chunk.split_to(size))
    }

    fn begin(&mut self, size: Option<usize>) {
        let withheld = Arc::new(Withheld::default());
        let place = self.room.budget().enter_incomplete(self.room.client(), withheld.clone());
        self.partial = Some(Partial { withheld, place, size });
        if self.timer.is_none() {
            self.timer = Some(Box::pin(tokio::time::sleep(self.deadlines.message)));
        }
    }

    /// Moves bytes of the chunk behind the bytes that are withheld.
    fn fill(&mut self, partial: &mut Partial) -> Result<(), Status> {
        let (length, capacity, share) = {
            let mut received = lock(&partial.withheld.0);
            if received.evicted {
                return Err(given_up());
            }
            (received.buffer.len(), received.buffer.capacity(), received.share.take())
        };
        let end = partial.size.unwrap_or(PREFIX_BYTES);
        let count = self.chunk.len().min(end - length);
        let mut share = share.unwrap_or_else(|| self.share());
        let mut growth = 0;
        if length + count > capacity {
            // Doubled, so that few bytes are moved; never beyond the message.
            let wanted = (length + count).max(2 * capacity).max(BUFFER_BYTES_MIN);
            growth = wanted.min(partial.size.unwrap_or(BUFFER_BYTES_MIN)) - length;
            let more = (length + growth).saturating_sub(share.bytes());
            let budget = self.room.budget();
            if !budget.grow_message(&mut share, more, Some(&partial.place)) {
                return Err(no_memory());
            }
        }
        let mut received = lock(&partial.withheld.0);
        if received.evicted {
            return Err(given_up());
        }
        if growth > 0 {
            received.buffer.reserve_exact(growth);
        }
        received.share = Some(share);
        received.buffer.extend_from_slice(&self.chunk[..count]);
        drop(received);
        self.chunk.advance(count);
        Ok(())
    }

    /// A share without bytes.
    fn share(&self) -> BudgetShare {
        self.room.budget().share(MemoryPart::Messages, self.room.client(), 0)
    }

    fn complete(&mut self, partial: Partial) -> Result<Bytes, Status> {
        let Partial { withheld, place, .. } = partial;
        // From here on, the message can't be given up.
        drop(place);
        let mut received = lock(&withheld.0);
        if received.evicted {
            return Err(given_up());
        }
        let (message, share) = (std::mem::take(&mut received.buffer), received.share.take());
        drop(received);
        let mut share = share.unwrap_or_else(|| self.share());
        let taken = decoded_bytes(self.limits, &message[PREFIX_BYTES..])?;
        if taken > 0 && !self.room.budget().grow_message(&mut share, taken, None) {
            return Err(no_memory());
        }
        self.charge.replace(Some(share));
        if self.limits.client_streams {
            self.timer = None;
        }
        Ok(message.into())
    }

    /// Fails when the message was given up or took too long, or the stream was silent for too long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if let Some(partial) = &self.partial {
            let mut received = lock(&partial.withheld.0);
            if received.evicted {
                return Poll::Ready(given_up());
            }
            received.waker = Some(cx.waker().clone());
        }
        let Some(timer) = &mut self.timer else { return self.poll_silence(cx) };
        ready!(timer.as_mut().poll(cx));
        refused("deadline");
        Poll::Ready(Status::deadline_exceeded(format!(
            "a message was not complete after {:?}: send it faster",
            self.deadlines.message
        )))
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.room.client() == ClientKey::NONE {
            // Members keep streams open for what clients may send.
            return Poll::Pending;
        }
        let (room, deadline) = (&self.room, self.deadlines.silence);
        let silence = self.silence.get_or_insert_with(|| {
            let enter = || room.budget().enter_silent(room.client(), room.evictable());
            let place = room.is_assigned().then(enter);
            Silence { timer: Box::pin(tokio::time::sleep(deadline)), _place: place }
        });
        if room.poll_given_up(cx) {
            refused("evicted");
            let why =
                "the server's memory for open requests is used up, and this stream was silent";
            return Poll::Ready(exhausted(why));
        }
        ready!(silence.timer.as_mut().poll(cx));
        refused("silence");
        Poll::Ready(Status::unavailable(format!(
            "no message arrived within {deadline:?}: open another stream to send more"
        )))
    }

    /// Ends the body, once there is room for the answer. A unary request passes its message on before
    /// that.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.is_ended = true;
        self.timer = None;
        if !self.has_answer_room {
            let reserved = ready!(self.poll_answer_room(cx));
            if let Err(status) = reserved {
                return self.fail(status);
            }
            self.has_answer_room = true;
        }
        match self.partial.take() {
            None => {
                self.is_over = true;
                Poll::Ready(None)
            }
            Some(partial) => match self.complete(partial) {
                Ok(message) => Poll::Ready(Some(Ok(Frame::data(message)))),
                Err(status) => self.fail(status),
            },
        }
    }

    fn poll_answer_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A small budget has room for a large answer too, but only for one or two at once.
        let budget = self.room.budget();
        let bytes = self.limits.answer_bytes.min(budget.max(MemoryPart::Answers) / 2);
        if bytes == 0 {
            return Poll::Ready(Ok(()));
        }
        let (room, wait) = (&self.room, self.deadlines.room);
        let reserving = self.answer_room.get_or_insert_with(|| {
            let (budget, client) = (room.budget().clone(), room.client());
            Box::pin(async move {
                budget.reserve_within(MemoryPart::Answers, client, bytes, wait).await
            })
        });
        let share = ready!(reserving.as_mut().poll(cx));
        self.answer_room = None;
        let Some(share) = share else {
            refused("answers");
            return Poll::Ready(Err(exhausted("the server's memory for answers is used up")));
        };
        self.charge.replace_answer(Some(share));
        Poll::Ready(Ok(()))
    }

    fn fail<T>(&mut self, status: Status) -> Poll<Option<Result<T, Status>>> {
        self.is_over = true;
        self.partial = None;
        self.silence = None;
        self.timer = None;
        self.chunk = Bytes::new();
        Poll::Ready(Some(Err(status)))
    }

    /// Whether the bytes of the body ended where a request may end.
    fn ends_whole(&self) -> bool {
        let Some(partial) = &self.partial else { return true };
        let received = lock(&partial.withheld.0).buffer.len();
        !self.limits.client_streams && partial.size == Some(received)
    }
}

fn cut() -> Status {
    Status::internal("the request ended within a message")
}

fn given_up() -> Status {
    refused("evicted");
    exhausted("the server's memory for messages is used up, and this message was not complete")
}

fn no_memory() -> Status {
    refused("memory");
    exhausted("the server's memory for messages is used up")
}

impl<B> Body for Inbound<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.is_ended {
            return this.poll_end(cx);
        }
        // The service of a stream is done with the message before. The charge of a unary request
        // stays until its answer ends.
        if this.limits.client_streams {
            this.charge.replace(None);
        }
        loop {
            match this.next_message() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                Err(status) => return this.fail(status),
            }
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        this.silence = None;
                        this.chunk = data;
                    }
                    // No method reads the trailers of a request.
                    Err(_) if this.ends_whole() => return this.poll_end(cx),
                    Err(_) => return this.fail(cut()),
                },
                Poll::Ready(Some(Err(error))) => {
                    let error: tonic::codegen::StdError = error.into();
                    return this.fail(Status::from_error(error));
                }
                Poll::Ready(None) if this.ends_whole() => return this.poll_end(cx),
                Poll::Ready(None) => return this.fail(cut()),
                Poll::Pending => {
                    let status = ready!(this.poll_overdue(cx));
                    return this.fail(status);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
            || (self.limits.answer_bytes == 0
                && self.chunk.is_empty()
                && self.partial.is_none()
                && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use std::net::IpAddr;

    use super::*;
    use crate::budget::Budget;
    use crate::methods::method_limits;
    use crate::progress::Progress;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend((0..length).map(|at| (at % 251) as u8));
        bytes
    }

    #[tokio::test]
    async fn messages_arrive_whole_wherever_the_stream_is_cut() {
        let messages = [0, 1, 5_000, 3, 20_000, 0, 4_091].map(message);
        let bytes = messages.concat();
        let limits = method_limits("/turnpike.ingest.v1.IngestService/Ingest");
        let sizes = (1..40).chain([4_095, 4_096, 4_097, 9_000, usize::MAX]);
        for size in sizes {
            let chunks: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
            let chunks = chunks.into_iter().map(|chunk| Ok::<_, Status>(Frame::data(chunk)));
            let body = StreamBody::new(tokio_stream::iter(chunks));
            let (budget, charge) = (Budget::new(1 << 20), Arc::default());
            let deadlines = Deadlines::default();
            let room = RequestRoom::new(
                budget.clone(),
                IpAddr::from([127, 0, 0, 1]),
                Arc::new(Progress::new()),
                deadlines.silence_min,
            );
            let mut inbound = Inbound::new(body, limits, room, Arc::clone(&charge), deadlines);
            for expected in &messages {
                let frame = inbound.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), expected, "cut by {size}");
                let used = budget.used(MemoryPart::Messages);
                assert!((expected.len()..=expected.len().max(BUFFER_BYTES_MIN)).contains(&used));
            }
            assert!(inbound.frame().await.is_none());
            drop((inbound, charge));
            assert_eq!(budget.used(MemoryPart::Messages), 0);
        }
    }
}
