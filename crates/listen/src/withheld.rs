//! What is withheld of a message, and what a message is charged.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::budget::BudgetShare;
use crate::evictions::{Evict, Evictable};
use crate::locking::lock;

/// The charges of the message that the service is processing, and of its answer. The request and its
/// answer hold them.
#[derive(Debug, Default)]
pub(crate) struct MessageCharge {
    message: Mutex<Option<BudgetShare>>,
    /// Room for the answer, until its bytes are counted themselves.
    answer: Mutex<Option<BudgetShare>>,
}

impl MessageCharge {
    /// Sets or releases the charge of the message.
    pub(crate) fn replace(&self, share: Option<BudgetShare>) {
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
pub(crate) struct Received {
    pub(crate) buffer: Vec<u8>,
    pub(crate) share: Option<BudgetShare>,
    pub(crate) evicted: bool,
    pub(crate) waker: Option<Waker>,
}

/// The received part of a message, which the budget may give up.
#[derive(Default)]
pub(crate) struct Withheld(pub(crate) Mutex<Received>);

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

    fn bytes(&self) -> usize {
        lock(&self.0).share.as_ref().map_or(0, BudgetShare::bytes)
    }
}

/// A message of which not all bytes have arrived; of a unary request also while its end has not.
pub(crate) struct Partial {
    pub(crate) withheld: Arc<Withheld>,
    pub(crate) place: Evictable,
    /// The size with the prefix; `None` until the prefix is complete.
    pub(crate) size: Option<usize>,
}
