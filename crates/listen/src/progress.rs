//! What a connection does: since when it is idle, and since when a client has not taken a
//! piece of an answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use turnpike_types::capped;

use crate::locking::lock;

/// Instants as milliseconds since the connection began, plus 1; 0 stands for none.
#[derive(Debug)]
pub(crate) struct Moment {
    start: Instant,
    value: AtomicU64,
}

impl Moment {
    pub(crate) fn none(start: Instant) -> Self {
        Self { start, value: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self) {
        let elapsed: u64 = capped(self.start.elapsed().as_millis());
        self.value.store(elapsed.saturating_add(1), Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.value.store(0, Ordering::Release);
    }

    /// How long ago; `None` without an instant.
    pub(crate) fn age(&self) -> Option<Duration> {
        let since = self.value.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(since)))
    }
}

/// The state of a connection that its requests share.
#[derive(Debug)]
pub(crate) struct Progress {
    requests: Mutex<Requests>,
    /// The pieces of answers that were given to the HTTP/2 library and are not written yet, by age.
    unwritten: Mutex<(u64, BTreeMap<u64, Instant>)>,
}

/// The requests that were assigned to a client. Others don't keep the connection open.
#[derive(Debug)]
struct Requests {
    open: usize,
    served: u64,
    idle_since: Instant,
}

/// An open request that was assigned to a client.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Progress>);

/// A piece of an answer, until it is written.
struct Piece {
    bytes: Bytes,
    progress: Arc<Progress>,
    number: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let requests = Requests { open: 0, served: 0, idle_since: Instant::now() };
        Self { requests: Mutex::new(requests), unwritten: Mutex::default() }
    }

    /// Whether there has been a request, and since when none is open; `None` if one is open.
    pub(crate) fn idle(&self) -> Option<(bool, Instant)> {
        let requests = lock(&self.requests);
        (requests.open == 0).then_some((requests.served > 0, requests.idle_since))
    }

    pub(crate) fn open(self: &Arc<Self>) -> OpenRequest {
        let mut requests = lock(&self.requests);
        requests.open += 1;
        requests.served += 1;
        OpenRequest(Arc::clone(self))
    }

    /// The same bytes, whose owner notes until when they are not written. The library drops them
    /// after it has written them.
    pub(crate) fn hand_over(this: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut unwritten = lock(&this.unwritten);
        let number = unwritten.0;
        unwritten.0 += 1;
        unwritten.1.insert(number, Instant::now());
        drop(unwritten);
        Bytes::from_owner(Piece { bytes, progress: Arc::clone(this), number })
    }

    /// For how long the oldest piece of an answer has not been written.
    pub(crate) fn longest_unread(&self) -> Option<Duration> {
        lock(&self.unwritten).1.first_key_value().map(|(_, since)| since.elapsed())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut requests = lock(&self.0.requests);
        requests.open -= 1;
        if requests.open == 0 {
            requests.idle_since = Instant::now();
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        lock(&self.progress.unwritten).1.remove(&self.number);
    }
}
