//! The progress of an owner in taking postings from the logs of senders (P33).

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use turnpike_account::PartitionState;
use turnpike_segment::head::PostingCursor;
use turnpike_types::{PartitionId, SegmentNumber};

use super::page::Page;

/// The cursor is logged after this many segments without postings for this partition.
const PASSED_MAX: u32 = 64;

/// The outcome of a fetch.
#[derive(Debug)]
pub(crate) enum Fetched {
    Page(Page),
    Nothing,
    /// The database did not answer.
    Failed,
    /// The sender's log lacks the cursor's segment, or has it with another hash (P18), or can't be
    /// read.
    Diverged {
        sender: PartitionId,
        why: String,
    },
}

/// The progress in taking postings, as far as it is not in the log.
#[derive(Debug, Default)]
pub(crate) struct PostingProgress {
    /// Fetched postings that are not taken yet.
    page: Option<Page>,
    /// Positions in senders' logs that are beyond the logged cursors, each with the number of
    /// segments that were passed over since the cursor was logged.
    passed: HashMap<PartitionId, (PostingCursor, u32)>,
    /// Senders whose history diverged from the cursor: nothing more is fetched from them.
    diverged: HashSet<PartitionId>,
    /// Senders whose segment at the cursor has no posting left. An earlier owner may have stopped
    /// within that segment.
    finished: HashSet<PartitionId>,
    /// The sender of the last fetch. The next fetch goes to the sender after it.
    last: PartitionId,
    /// The next fetch does not start before this instant. It is set after a fetch without a result.
    not_before: Option<Instant>,
}

impl PostingProgress {
    /// Whether fetched postings wait to be taken.
    pub(crate) const fn has_page(&self) -> bool {
        self.page.is_some()
    }

    /// The fetched postings that are not taken yet.
    pub(super) const fn take_page(&mut self) -> Option<Page> {
        self.page.take()
    }

    /// Postings that are left for the next pass.
    pub(super) fn put_back(&mut self, page: Page) {
        self.page = Some(page);
    }

    /// The sender's segment at the cursor has no posting left.
    pub(super) fn finish(&mut self, sender: PartitionId) {
        self.finished.insert(sender);
    }

    /// Processes the outcome of a fetch for `receiver`. After a fetch without a result the next one
    /// starts at `again_at`.
    pub(super) fn note_fetched(
        &mut self,
        fetched: Fetched,
        receiver: PartitionId,
        again_at: Instant,
    ) {
        match fetched {
            Fetched::Page(page) => self.page = Some(page),
            // The cursor's segment has no posting left. After the first such result the next fetch
            // need not wait.
            Fetched::Nothing if self.finished.insert(self.last) => {}
            Fetched::Nothing | Fetched::Failed => self.not_before = Some(again_at),
            Fetched::Diverged { sender, why } => {
                metrics::counter!("turnpike_postings_diverged_total").increment(1);
                tracing::error!(
                    partition = %receiver, %sender, why,
                    "history diverged: no more postings are taken from this sender"
                );
                self.diverged.insert(sender);
            }
        }
    }

    /// The next sender whose log holds unread postings, and the position from which to read it;
    /// `None` if there is none, or if it is too early. `outboxes`: the newest segment with postings
    /// of each partition that has any.
    pub(super) fn next_fetch(
        &mut self,
        outboxes: &[(PartitionId, SegmentNumber)],
        state: &PartitionState,
        now: Instant,
    ) -> Option<(PartitionId, PostingCursor)> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let last = self.last;
        let waits = |&&(sender, newest): &&(PartitionId, SegmentNumber)| {
            let reached = self.reached(sender, state).segment;
            let is_left = reached != 0 && newest.0 == reached && !self.finished.contains(&sender);
            (newest.0 > reached || is_left) && !self.diverged.contains(&sender)
        };
        let after = outboxes.iter().filter(|(sender, _)| *sender > last).find(waits);
        let &(sender, _) = after.or_else(|| outboxes.iter().find(waits))?;
        self.last = sender;
        Some((sender, self.reached(sender, state)))
    }

    /// The position up to which the sender's postings were read.
    fn reached(&self, sender: PartitionId, state: &PartitionState) -> PostingCursor {
        let passed = self.passed.get(&sender).map(|(cursor, _)| cursor.clone());
        passed.unwrap_or_else(|| state.posting_cursor(sender))
    }

    /// The cursor after the postings taken from the page, if it must be logged now: a posting was
    /// taken, or many segments were passed over.
    pub(super) fn cursor_to_log(
        &mut self,
        page: &mut Page,
        state: &PartitionState,
    ) -> Option<PostingCursor> {
        let (sender, cursor) = (page.sender(), page.cursor());
        if cursor == self.reached(sender, state) {
            return None;
        }
        let passed = self.passed.get(&sender).map_or(0, |(_, count)| *count);
        let passed = passed.saturating_add(page.take_passed());
        if !page.take_unlogged() && passed < PASSED_MAX {
            self.passed.insert(sender, (cursor, passed));
            return None;
        }
        self.passed.remove(&sender);
        Some(cursor)
    }
}
