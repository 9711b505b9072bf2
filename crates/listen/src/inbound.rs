//! The body of a request: gRPC messages are withheld until they are complete, so that no reader
//! behind this one reserves memory for a length that a client only claims.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use crate::budget::{Budget, BudgetShare, Evict, Incomplete, MemoryPart};
use crate::config::Deadlines;
use crate::locking::lock;
use crate::methods::MethodLimits;
use crate::refusal::exhausted;

/// The prefix of a message: a flag and the length.
const PREFIX_BYTES: usize = 5;
/// The first size of a message's buffer, which the share of an open request covers.
const BUFFER_BYTES_MIN: usize = 4 * 1024;

/// The charges of the message that the service is processing, and of its answer. The request and its
/// answer hold them.
#[derive(Debug, Default)]
pub(crate) struct MessageCharge {
    message: Mutex<Option<BudgetShare>>,
    /// Room for the answer, until its bytes are counted themselves.
    answer: Mutex<Option<BudgetShare>>,
}

impl MessageCharge {
    fn replace(&self, share: Option<BudgetShare>) {
        // The old share is dropped after the lock is released.
        let old = std::mem::replace(&mut *lock(&self.message), share);
        drop(old);
    }

    /// Sets or releases the room for the answer.
    pub(crate) fn replace_answer(&self, share: Option<BudgetShare>) {
        let old = std::mem::replace(&mut *lock(&self.answer), share);
        drop(old);
    }
}

/// The received part of a message.
#[derive(Default)]
struct Received {
    buffer: Vec<u8>,
    share: Option<BudgetShare>,
    evicted: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Withheld(Mutex<Received>);

impl Evict for Withheld {
    fn evict(&self) {
        let mut received = lock(&self.0);
        received.evicted = true;
        let dropped = (std::mem::take(&mut received.buffer), received.share.take());
        let waker = received.waker.take();
        drop(received);
        drop(dropped);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A message of which not all bytes have arrived.
struct Partial {
    withheld: Arc<Withheld>,
    place: Incomplete,
    /// The size with the prefix; `None` until the prefix is complete.
    size: Option<usize>,
}

/// The body of a request, of which whole messages are passed on.
pub(crate) struct Inbound<B> {
    body: B,
    limits: &'static MethodLimits,
    budget: Budget,
    charge: Arc<MessageCharge>,
    deadlines: Deadlines,
    /// Runs while a message, or the body of a unary request, is incomplete.
    timer: Option<Pin<Box<Sleep>>>,
    /// What the last chunk contains after the messages that were taken from it.
    chunk: Bytes,
    partial: Option<Partial>,
    /// Reserves room for the answer, once the request is complete: a client that only begins
    /// requests takes none.
    room: Option<Pin<Box<dyn Future<Output = Option<BudgetShare>> + Send>>>,
    is_over: bool,
}

impl<B> Inbound<B> {
    pub(crate) fn new(
        body: B,
        limits: &'static MethodLimits,
        budget: Budget,
        charge: Arc<MessageCharge>,
        deadlines: Deadlines,
    ) -> Self {
        let timer =
            (!limits.client_streams).then(|| Box::pin(tokio::time::sleep(deadlines.message)));
        let (chunk, partial, room, is_over) = (Bytes::new(), None, None, false);
        Self { body, limits, budget, charge, deadlines, timer, chunk, partial, room, is_over }
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

    /// A complete message of the present chunk and what was withheld before.
    fn next_message(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_none() {
            match self.size(&self.chunk)? {
                Some(size) if size <= self.chunk.len() => {
                    let share = self.reserve(size)?;
                    self.charge.replace(Some(share));
                    return Ok(Some(self.chunk.split_to(size)));
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
                return self.complete(partial).map(Some);
            }
        }
        self.partial = Some(partial);
        Ok(None)
    }

    fn begin(&mut self, size: Option<usize>) {
        let withheld = Arc::new(Withheld::default());
        let place = self.budget.enter(withheld.clone());
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
        let mut share = match share {
            Some(share) => share,
            None => self.reserve(0)?,
        };
        let mut growth = 0;
        if length + count > capacity {
            // Doubled, so that few bytes are moved; never beyond the message.
            let wanted = (length + count).max(2 * capacity).max(BUFFER_BYTES_MIN);
            growth = wanted.min(partial.size.unwrap_or(BUFFER_BYTES_MIN)) - length;
            let more = (length + growth).saturating_sub(share.bytes());
            if !partial.place.grow(&mut share, more) {
                refused("memory");
                return Err(exhausted("the server's memory for messages is used up"));
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

    fn reserve(&self, bytes: usize) -> Result<BudgetShare, Status> {
        self.budget.reserve(MemoryPart::Messages, bytes).ok_or_else(|| {
            refused("memory");
            exhausted("the server's memory for messages is used up")
        })
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
        self.charge.replace(share);
        if self.limits.client_streams {
            self.timer = None;
        }
        Ok(message.into())
    }

    /// Fails when the message was given up, or took too long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if let Some(partial) = &self.partial {
            let mut received = lock(&partial.withheld.0);
            if received.evicted {
                return Poll::Ready(given_up());
            }
            received.waker = Some(cx.waker().clone());
        }
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        refused("deadline");
        Poll::Ready(Status::deadline_exceeded(format!(
            "a message was not complete after {:?}: send it faster",
            self.deadlines.message
        )))
    }

    /// Ends the body, once there is room for the answer.
    fn poll_end<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Status>>> {
        self.timer = None;
        // A small budget has room for a large answer too, but only for one or two at once.
        let bytes = self.limits.answer_bytes.min(self.budget.max(MemoryPart::Answers) / 2);
        if bytes > 0 {
            let (budget, wait) = (&self.budget, self.deadlines.room);
            let room = self.room.get_or_insert_with(|| {
                let budget = budget.clone();
                Box::pin(
                    async move { budget.reserve_within(MemoryPart::Answers, bytes, wait).await },
                )
            });
            let share = ready!(room.as_mut().poll(cx));
            self.room = None;
            if share.is_none() {
                refused("answers");
                return self.fail(exhausted("the server's memory for answers is used up"));
            }
            self.charge.replace_answer(share);
        }
        self.is_over = true;
        Poll::Ready(None)
    }

    fn fail<T>(&mut self, status: Status) -> Poll<Option<Result<T, Status>>> {
        self.is_over = true;
        self.partial = None;
        self.timer = None;
        self.chunk = Bytes::new();
        Poll::Ready(Some(Err(status)))
    }
}

fn given_up() -> Status {
    refused("evicted");
    exhausted("the server's memory for messages is used up, and this message was not complete")
}

fn refused(cause: &'static str) {
    metrics::counter!("turnpike_requests_refused_total", "cause" => cause).increment(1);
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
        if this.room.is_some() {
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
                    Ok(data) => this.chunk = data,
                    // No method reads the trailers of a request.
                    Err(_) if this.partial.is_none() => return this.poll_end(cx),
                    Err(_) => {
                        let why = "the request ended within a message";
                        return this.fail(Status::internal(why));
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    let error: tonic::codegen::StdError = error.into();
                    return this.fail(Status::from_error(error));
                }
                Poll::Ready(None) if this.partial.is_some() => {
                    return this.fail(Status::internal("the request ended within a message"));
                }
                Poll::Ready(None) => return this.poll_end(cx),
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

    use super::*;
    use crate::methods::method_limits;

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
            let mut inbound =
                Inbound::new(body, limits, budget.clone(), Arc::clone(&charge), deadlines);
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
