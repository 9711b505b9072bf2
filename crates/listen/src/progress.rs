//! What a connection does: since when it is idle, and since when a client has not taken an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_types::capped;

use crate::lock;

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
    start: Instant,
    requests: Mutex<Requests>,
    /// For each answer: since when its last piece has not been taken.
    answers: Mutex<(u64, HashMap<u64, Arc<Moment>>)>,
}

#[derive(Debug)]
struct Requests {
    open: usize,
    served: u64,
    idle_since: Instant,
}

/// An open request.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<Progress>);

/// An answer that is being sent.
#[derive(Debug)]
pub(crate) struct Answering {
    request: OpenRequest,
    number: u64,
    waiting: Arc<Moment>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        let requests = Mutex::new(Requests { open: 0, served: 0, idle_since: start });
        Self { start, requests, answers: Mutex::default() }
    }

    /// Since when no request is open, and whether there has been one; `None` if one is open.
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

    /// The longest time for which an answer has not been taken.
    pub(crate) fn longest_unread(&self) -> Option<Duration> {
        lock(&self.answers).1.values().filter_map(|waiting| waiting.age()).max()
    }
}

impl OpenRequest {
    pub(crate) fn answering(self) -> Answering {
        let waiting = Arc::new(Moment::none(self.0.start));
        let mut answers = lock(&self.0.answers);
        let number = answers.0;
        answers.0 += 1;
        answers.1.insert(number, Arc::clone(&waiting));
        drop(answers);
        Answering { request: self, number, waiting }
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

impl Answering {
    /// A piece was given to the transport.
    pub(crate) fn offered(&self) {
        self.waiting.set();
    }

    /// The transport has room for the next piece.
    pub(crate) fn taken(&self) {
        self.waiting.clear();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        lock(&self.request.0.answers).1.remove(&self.number);
    }
}
