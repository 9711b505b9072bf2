//! Carries out one Pull: streams pages from the cursors on, with one segment in memory at a time.
//!
//! A page holds lines of one partition, of one or more segments. It ends when it has the requested
//! number of lines, or is large enough. A consumer must not rely on anything else about it.

use std::time::Duration;

use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;
use turnpike_listen::{Budget, BudgetShare, ClientKey, MemoryPart};
use turnpike_proto::feed::v1::{ChargeLine, ControlTotals, FeedPage};
use turnpike_types::{SegmentHash, SegmentNumber};

use crate::FeedError;
use crate::line::{bytes_of, charge_line, control_totals};
use crate::log::{Committed, Log};
use crate::position::FeedPosition;
use crate::slots::HeldPage;

/// The channel for pages. It is bounded, so that a slow consumer slows the reading down.
pub(crate) type Pages = mpsc::Sender<Result<HeldPage, Status>>;

/// The budget takes room for a page in steps of this size.
const STEP_BYTES: usize = 256 * 1024;

/// Where pages take room.
pub(crate) struct PageRoom {
    pub(crate) budget: Budget,
    /// The client that the pages count for.
    pub(crate) client: ClientKey,
    /// How long an empty page waits for room.
    pub(crate) wait: Duration,
}

/// The range of one partition's log that a Pull covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentRange {
    pub(crate) from: FeedPosition,
    /// The last segment that was committed when the call began, and its hash.
    pub(crate) end: SegmentNumber,
    pub(crate) end_hash: SegmentHash,
}

/// The limits of a page and of the whole call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) page_lines: usize,
    pub(crate) page_bytes: usize,
    /// The number of lines that the call may still deliver.
    pub(crate) lines_left: u64,
}

/// Why the reading of a range ended.
pub(crate) enum PullEnd {
    /// The whole range was delivered.
    Whole,
    /// The call's limit was reached, or the consumer disconnected.
    Stopped,
}

/// Reads the range of one partition.
pub(crate) struct Puller<'a> {
    log: &'a Log,
    pages: &'a Pages,
    room: &'a PageRoom,
    limits: &'a mut Limits,
    page: FeedPage,
    page_bytes: usize,
    /// The room that the page has in the budget, and how much of it is used.
    share: Option<BudgetShare>,
    share_used: usize,
    at: FeedPosition,
}

impl<'a> Puller<'a> {
    pub(crate) fn new(
        log: &'a Log,
        (pages, room): (&'a Pages, &'a PageRoom),
        limits: &'a mut Limits,
        from: FeedPosition,
    ) -> Self {
        let (page, page_bytes, share, share_used) = (FeedPage::default(), 0, None, 0);
        Self { log, pages, room, limits, page, page_bytes, share, share_used, at: from }
    }

    /// Streams all lines of the range.
    pub(crate) async fn run(mut self, range: &SegmentRange) -> Result<PullEnd, FeedError> {
        let (partition, end) = (range.from.partition, range.end);
        if let Some(first) = self.log.check(&range.from).await?
            && range.from.row < first.segment.line_count() as u64
            && !self.segment(&first).await?
        {
            return self.stop().await;
        }
        while self.at.segment < end {
            let rows = self.log.rows(partition, self.at.segment).await?;
            if rows.is_empty() {
                let (segment, why) = (self.at.segment.next(), "the log ends before it");
                return Err(FeedError::Diverged { partition, segment, why });
            }
            for row in rows {
                if row.segment > end {
                    break;
                }
                let next = self.log.decode(partition, &row)?;
                self.check_chain(&next, range)?;
                self.at = FeedPosition { partition, segment: next.number, row: 0, hash: next.hash };
                if !self.segment(&next).await? {
                    return self.stop().await;
                }
            }
        }
        if self.flush().await { Ok(PullEnd::Whole) } else { Ok(PullEnd::Stopped) }
    }

    /// Checks that a segment follows the one before it, and that the last one is the segment that
    /// ended the log when the call began (P18).
    fn check_chain(&self, next: &Committed, range: &SegmentRange) -> Result<(), FeedError> {
        let (partition, segment) = (self.at.partition, next.number);
        if next.prev_hash != self.at.hash || segment != self.at.segment.next() {
            let why = "it does not follow the segment before it";
            return Err(FeedError::Diverged { partition, segment, why });
        }
        if segment == range.end && next.hash != range.end_hash {
            let why = "it was replaced during the pull";
            return Err(FeedError::Diverged { partition, segment, why });
        }
        Ok(())
    }

    /// Adds the lines of `found` that follow the cursor. Returns `false` when the pull must stop.
    async fn segment(&mut self, found: &Committed) -> Result<bool, FeedError> {
        let lines = found.segment.line_count() as u64;
        loop {
            while self.at.row < lines && !self.is_full() && self.limits.lines_left > 0 {
                let line = charge_line(&found.segment, self.at.row).map_err(|what| {
                    let (partition, segment) = (self.at.partition, found.number);
                    FeedError::Line { partition, segment, row: self.at.row, what }
                })?;
                if !self.make_room(line_room(&line)).await? {
                    return Ok(false);
                }
                self.page_bytes += bytes_of(&line);
                self.page.lines.push(line);
                self.at.row += 1;
                self.limits.lines_left -= 1;
            }
            let is_whole = self.at.row == lines;
            if is_whole {
                let totals = control_totals(&found.segment);
                // Encoded and in memory.
                if !self.make_room(2 * (totals.encoded_len() + size_of::<ControlTotals>())).await? {
                    return Ok(false);
                }
                self.page.totals.push(totals);
            }
            self.page.next = Some(self.at.to_wire());
            if self.is_full() && !self.flush().await {
                return Ok(false);
            }
            if is_whole {
                return Ok(self.limits.lines_left > 0);
            }
            if self.limits.lines_left == 0 {
                return Ok(false);
            }
        }
    }

    /// Takes room for `bytes` more of the page. Without room, the page ends here, and the next one
    /// waits. Returns `false` when the consumer has disconnected.
    async fn make_room(&mut self, bytes: usize) -> Result<bool, FeedError> {
        let lacking =
            |share: &BudgetShare, used: usize| (used + bytes).saturating_sub(share.bytes());
        if let Some(share) = &mut self.share {
            let lacking = lacking(share, self.share_used);
            // One page takes at most a quarter, so that a few pulls proceed side by side.
            let page_max = self.room.budget.max(MemoryPart::Answers) / 4;
            let may_grow = share.bytes() < page_max;
            if lacking == 0 || (may_grow && share.grow(lacking.max(STEP_BYTES))) {
                self.share_used += bytes;
                return Ok(true);
            }
            if !self.page.lines.is_empty() || !self.page.totals.is_empty() {
                self.page.next = Some(self.at.to_wire());
                if !self.flush().await {
                    return Ok(false);
                }
            }
        }
        let PageRoom { budget, client, wait } = self.room;
        let step = bytes.max(STEP_BYTES);
        let room = budget.reserve_within(MemoryPart::Answers, *client, step, *wait);
        self.share = Some(room.await.ok_or(FeedError::NoRoom)?);
        self.share_used = bytes;
        Ok(true)
    }

    fn is_full(&self) -> bool {
        // A segment without lines still adds control totals, so the number of totals is bounded
        // too.
        self.page.lines.len() >= self.limits.page_lines
            || self.page.totals.len() >= self.limits.page_lines
            || self.page_bytes >= self.limits.page_bytes
    }

    async fn stop(mut self) -> Result<PullEnd, FeedError> {
        self.flush().await;
        Ok(PullEnd::Stopped)
    }

    /// Sends the page. Returns `false` when the consumer has disconnected.
    async fn flush(&mut self) -> bool {
        let page = std::mem::take(&mut self.page);
        let share = self.share.take();
        self.page_bytes = 0;
        self.share_used = 0;
        if page.next.is_none() {
            return true;
        }
        metrics::counter!("turnpike_feed_pages_total").increment(1);
        metrics::counter!("turnpike_feed_lines_total").increment(page.lines.len() as u64);
        self.pages.send(Ok((page, share))).await.is_ok()
    }
}

/// The room of a line: in memory and encoded, and what a growing list reserves beyond it.
fn line_room(line: &ChargeLine) -> usize {
    2 * (size_of::<ChargeLine>() + bytes_of(line))
}
