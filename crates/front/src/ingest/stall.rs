//! Keeps order across refusals (P30): which batches of one client stream must be sent again, and in
//! which order.
//!
//! ```text
//!  reader: in order? -- push to all its senders --.
//!             | no: refuse, remember               >  each of these is one step under the lock
//!  sender: head expired: remember and refuse all   |
//!          parts in the sender that are unanswered '
//! ```
//!
//! Invariant: while a batch that was answered RETRY has not been pushed again, no batch that was
//! read after it and shares a sender with it is sent to a node. A later batch that shares a sender
//! with it
//! - was pushed before the refusal: then it is in that sender behind the refused batch, and the
//!   same step refuses it too; a sender sends only what it holds;
//! - or is to be pushed after the refusal: then the step that would push it finds the refused batch
//!   here, and only the first batch here may be pushed.
//!
//! The refused batches are kept in the order in which the stream first brought them, whichever
//! sender refused them and when. A batch that is refused again gets its former place back. So they
//! are pushed again in their original order, and new batches come after all of them.
//!
//! A batch is removed when it is pushed again, or when it is answered REJECTED: the client does not
//! send it again, so no batch may wait for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// At this many refused batches of a stream, the reader adds no further one. Senders add batches
/// beyond this limit; the limit of unanswered batches bounds their number.
const REFUSED_MAX: usize = 4_096;

/// The place of a batch on its stream. A batch that is sent again after RETRY keeps its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    place: u64,
    number: u64,
}

impl Turn {
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

/// The order of one stream, shared by its reader and its senders.
#[derive(Debug, Default)]
pub(crate) struct Stall(Mutex<Order>);

impl Stall {
    /// Locks the order. The lock is held for a few steps for each batch, never across an await, and
    /// never while a ticket is settled or dropped, because settling a ticket may take the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Order> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Order {
    next_place: u64,
    /// Sorted by place. Batch numbers are distinct.
    refused: VecDeque<Turn>,
    /// The last reason for a refusal other than order, for messages.
    why: String,
}

/// The stream has more refused batches than the front remembers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overfull;

impl Order {
    /// If another batch must be sent before this one: the number of that batch, and the last reason
    /// for a refusal.
    pub(crate) fn is_out_of_turn(&self, number: u64) -> Option<(u64, &str)> {
        let first = self.refused.front().filter(|first| first.number != number)?;
        Some((first.number, &self.why))
    }

    /// Whether any batch must still be sent again.
    pub(crate) fn is_stalled(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Records that the batch is pushed, which the order permits now. Returns the place of the
    /// batch.
    pub(crate) fn push(&mut self, number: u64) -> Turn {
        self.refused.pop_front_if(|first| first.number == number).unwrap_or_else(|| {
            let place = self.new_place();
            Turn { place, number }
        })
    }

    /// Remembers a batch that the reader refuses. `why` is `None` when the only reason is the order
    /// of the batches.
    ///
    /// # Errors
    /// [`Overfull`]: the batch is not remembered, so the stream must end.
    pub(crate) fn refuse(&mut self, number: u64, why: Option<&str>) -> Result<(), Overfull> {
        if let Some(why) = why {
            why.clone_into(&mut self.why);
        }
        if self.refused.iter().any(|turn| turn.number == number) {
            return Ok(());
        }
        if self.refused.len() >= REFUSED_MAX {
            return Err(Overfull);
        }
        let place = self.new_place();
        self.refused.push_back(Turn { place, number });
        Ok(())
    }

    /// Remembers a batch that a sender refuses after it was pushed.
    pub(crate) fn refuse_pushed(&mut self, turn: Turn, why: &str) {
        why.clone_into(&mut self.why);
        match self.refused.iter().position(|other| other.number == turn.number) {
            // Another sender refused it before, or it was sent twice: the earliest place is kept.
            Some(at) if self.refused.get(at).is_some_and(|other| other.place <= turn.place) => {
                return;
            }
            Some(at) => drop(self.refused.remove(at)),
            None => {}
        }
        let at = self.refused.partition_point(|other| other.place < turn.place);
        self.refused.insert(at, turn);
    }

    /// Removes a batch that is answered REJECTED.
    pub(crate) fn forget(&mut self, number: u64) {
        self.refused.retain(|turn| turn.number != number);
    }

    fn new_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_batches_are_pushed_again_in_the_order_of_their_first_sending() {
        let mut order = Order::default();
        let turns: Vec<Turn> = [10, 11, 12, 13].map(|number| order.push(number)).into();
        // Two senders expire, the one with the later batches first. Both hold parts of batch 13.
        order.refuse_pushed(turns[1], "sender b");
        order.refuse_pushed(turns[3], "sender b");
        assert_eq!(order.refuse(14, None), Ok(()));
        order.refuse_pushed(turns[0], "sender a");
        order.refuse_pushed(turns[3], "sender a");
        assert_eq!(order.is_out_of_turn(11), Some((10, "sender a")));
        assert_eq!(order.is_out_of_turn(10), None);
        // Batch 10 is sent again and refused again: it keeps its former place.
        let again = order.push(10);
        assert_eq!((again, order.is_out_of_turn(10)), (turns[0], Some((11, "sender a"))));
        order.refuse_pushed(again, "sender a");
        order.forget(11);
        for number in [10, 13, 14] {
            assert!(order.is_stalled());
            assert_eq!(order.is_out_of_turn(number), None);
            order.push(number);
        }
        assert!(!order.is_stalled());
    }

    #[test]
    fn more_than_the_maximum_of_refused_sub_batches_is_an_error() {
        let mut order = Order::default();
        for number in 0..REFUSED_MAX as u64 {
            assert_eq!(order.refuse(number, Some("full")), Ok(()));
        }
        assert_eq!(order.refuse(0, Some("full")), Ok(()));
        assert_eq!(order.refuse(u64::MAX, None), Err(Overfull));
    }
}
