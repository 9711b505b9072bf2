//! The order of a client's batches, and the limit on unanswered ones. A synchronous core: the caller
//! sends the bytes, reads the answers and passes the time in.
//!
//! ```text
//!  push --> waiting --next_to_send--> in flight --done----> removed
//!              ^                          |
//!              +--- retry, stream_broke --+
//! ```
//!
//! Invariants (the property tests in `window/tests.rs` check them with random steps):
//! - Batches are sent in the order in which they were pushed, also when they are sent again.
//! - At most [`SendWindow::size`] batches are unanswered, and their numbers are distinct.
//! - After [`SendWindow::retry`], nothing is sent until all batches in flight are answered and the
//!   wait has passed (P30). Otherwise a later batch could overtake the one that is sent again.
//! - Each batch leaves the window once: with its final answer.

use std::collections::VecDeque;
use std::time::Instant;

/// The maximum number of unanswered batches on a stream; a front does not read beyond it.
pub const WINDOW_MAX: usize = 64;

/// The batch can't be added to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The window is full, or batches wait to be sent again.
    #[error("batch {number}: the window has no room; wait for an answer first")]
    NoRoom {
        /// The number of the refused batch.
        number: u64,
    },
    /// An unanswered batch has the same number.
    #[error("batch {number}: an unanswered batch has this number; use another one")]
    NumberInUse {
        /// The number of the refused batch.
        number: u64,
    },
}

/// An answer to a batch that is not in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer to batch {number}, which is not in flight")]
pub struct UnknownBatch {
    /// The number in the answer.
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchState {
    Waiting,
    InFlight,
}

#[derive(Debug)]
struct Unanswered<B> {
    number: u64,
    state: BatchState,
    batch: B,
}

/// The unanswered batches of one stream, in their order.
#[derive(Debug)]
pub struct SendWindow<B> {
    size: usize,
    unanswered: VecDeque<Unanswered<B>>,
    in_flight: usize,
    /// Set after a batch was answered RETRY: the instant before which nothing is sent.
    held_until: Option<Instant>,
}

impl<B> SendWindow<B> {
    /// A window of at most `size` unanswered batches.
    ///
    /// # Panics
    /// When `size` is not from 1 to [`WINDOW_MAX`].
    pub fn new(size: usize) -> Self {
        assert!((1..=WINDOW_MAX).contains(&size), "a window of {size} batches");
        Self { size, unanswered: VecDeque::new(), in_flight: 0, held_until: None }
    }

    /// The maximum number of unanswered batches.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The number of unanswered batches.
    pub fn len(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether every batch is answered.
    pub fn is_empty(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// The number of batches that were sent and are not answered.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether an unanswered batch has this number.
    pub fn contains(&self, number: u64) -> bool {
        self.unanswered.iter().any(|known| known.number == number)
    }

    /// The unanswered batches in their order.
    pub fn batches(&self) -> impl Iterator<Item = &B> {
        self.unanswered.iter().map(|one| &one.batch)
    }

    /// Whether [`Self::push`] takes another batch. It does not after a RETRY, until sending
    /// continues.
    pub fn has_room(&self) -> bool {
        self.held_until.is_none() && self.unanswered.len() < self.size
    }

    /// Adds a batch behind all others. The number must differ from those of all unanswered batches:
    /// to have a second copy of a batch in flight, give it another number.
    ///
    /// # Errors
    /// There is no room, or the number is in use; the window is unchanged.
    pub fn push(&mut self, number: u64, batch: B) -> Result<(), PushError> {
        if !self.has_room() {
            return Err(PushError::NoRoom { number });
        }
        if self.contains(number) {
            return Err(PushError::NumberInUse { number });
        }
        self.unanswered.push_back(Unanswered { number, state: BatchState::Waiting, batch });
        Ok(())
    }

    /// The first batch that may be sent at `now`; it counts as sent from now on. `None` if no batch
    /// waits, or if sending has to wait: for answers, or until [`Self::resumes_at`].
    pub fn next_to_send(&mut self, now: Instant) -> Option<&mut B> {
        if let Some(until) = self.held_until {
            if self.in_flight > 0 || now < until {
                return None;
            }
            self.held_until = None;
        }
        let waiting = |one: &&mut Unanswered<B>| one.state == BatchState::Waiting;
        let next = self.unanswered.iter_mut().find(waiting)?;
        next.state = BatchState::InFlight;
        self.in_flight += 1;
        Some(&mut next.batch)
    }

    /// Whether a batch was answered RETRY, and sending has not continued since.
    pub const fn is_held(&self) -> bool {
        self.held_until.is_some()
    }

    /// The instant at which sending continues after a RETRY, once all batches in flight are
    /// answered; `None` before that, and without a RETRY.
    pub fn resumes_at(&self) -> Option<Instant> {
        self.held_until.filter(|_| self.in_flight == 0)
    }

    /// Removes a batch that has its final answer.
    ///
    /// # Errors
    /// The batch is not in flight; the window is unchanged.
    pub fn done(&mut self, number: u64) -> Result<B, UnknownBatch> {
        let place = self.place_in_flight(number)?;
        let answered = self.unanswered.remove(place).ok_or(UnknownBatch { number })?;
        self.in_flight -= 1;
        Ok(answered.batch)
    }

    /// Keeps a batch that was answered RETRY, to send it again. Nothing is sent before `not_before`.
    ///
    /// # Errors
    /// The batch is not in flight; the window is unchanged.
    pub fn retry(&mut self, number: u64, not_before: Instant) -> Result<&B, UnknownBatch> {
        let place = self.place_in_flight(number)?;
        let answered = self.unanswered.get_mut(place).ok_or(UnknownBatch { number })?;
        answered.state = BatchState::Waiting;
        self.in_flight -= 1;
        self.held_until = self.held_until.max(Some(not_before));
        Ok(&answered.batch)
    }

    /// Lengthens the wait after a RETRY. Without a RETRY, it has no effect.
    pub fn hold_until(&mut self, not_before: Instant) {
        self.held_until = self.held_until.map(|until| until.max(not_before));
    }

    /// The stream ended: all unanswered batches have to be sent on a new stream, in their order. A
    /// front starts a stream without the state of an earlier one, so the wait after a RETRY ends
    /// too.
    pub fn stream_broke(&mut self) {
        self.unanswered.iter_mut().for_each(|one| one.state = BatchState::Waiting);
        self.in_flight = 0;
        self.held_until = None;
    }

    fn place_in_flight(&self, number: u64) -> Result<usize, UnknownBatch> {
        let is_it = |one: &Unanswered<B>| one.number == number && one.state == BatchState::InFlight;
        self.unanswered.iter().position(is_it).ok_or(UnknownBatch { number })
    }
}

#[cfg(test)]
mod tests;
