//! The fetched postings of one sender, in order, and the cursor behind those that were taken.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;
use turnpike_segment::head::PostingCursor;
use turnpike_segment::{ComponentInfo, LineKind, Segment};
use turnpike_types::{
    AccountNumber, AccountRange, Money, PartitionId, Posting, SegmentHash, SegmentNumber, Timestamp,
};

/// The sender and the accounts whose postings are fetched.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) sender: PartitionId,
    pub(crate) ours: AccountRange,
    /// Whether the sender is the receiver's own partition, which also takes postings to accounts
    /// that no partition covers.
    pub(crate) is_own: bool,
    pub(crate) ranges: Arc<Vec<AccountRange>>,
}

impl Scope {
    fn takes(&self, account: AccountNumber) -> bool {
        let is_covered = || self.ranges.iter().any(|range| range.contains(account));
        self.ours.contains(account) || (self.is_own && !is_covered())
    }
}

/// Segments of one sender, in order, whose postings are being taken.
#[derive(Debug)]
pub(crate) struct Page {
    sender: PartitionId,
    segments: VecDeque<Fresh>,
    cursor: PostingCursor,
    /// Whether a posting was taken since the cursor was logged.
    unlogged: bool,
    /// The number of segments that were passed over since the cursor was logged.
    passed: u32,
}

/// One segment, with its postings to accounts of this partition.
#[derive(Debug)]
struct Fresh {
    number: SegmentNumber,
    hash: SegmentHash,
    segment: Arc<Segment>,
    /// The number of postings to any account.
    total: u32,
    /// The ordinal and the row of each posting to an account of this partition.
    ours: VecDeque<(u32, u32)>,
}

impl Page {
    pub(crate) const fn sender(&self) -> PartitionId {
        self.sender
    }

    /// The cursor after all postings that were taken, and all segments that were passed over.
    pub(crate) fn cursor(&self) -> PostingCursor {
        self.cursor.clone()
    }

    /// The next posting to this partition. Segments without such a posting are passed over.
    pub(crate) fn next(&mut self) -> Option<PostedLine<'_>> {
        while self.segments.front().is_some_and(|fresh| fresh.ours.is_empty()) {
            let Some(fresh) = self.segments.pop_front() else { break };
            self.move_to(&fresh, fresh.total);
            self.passed += 1;
        }
        let fresh = self.segments.front()?;
        let &(_, row) = fresh.ours.front()?;
        posted(self.sender, fresh, row)
    }

    /// Moves the cursor past the posting that [`Page::next`] returned.
    pub(crate) fn step(&mut self) {
        let Some(mut fresh) = self.segments.pop_front() else { return };
        if let Some((ordinal, _)) = fresh.ours.pop_front() {
            self.move_to(&fresh, ordinal + 1);
            self.unlogged = true;
        }
        self.segments.push_front(fresh);
    }

    fn move_to(&mut self, fresh: &Fresh, ordinal: u32) {
        self.cursor = PostingCursor {
            sender: self.sender.0,
            segment: fresh.number.0,
            ordinal,
            hash: fresh.hash.0.to_vec(),
        };
    }

    pub(crate) fn take_unlogged(&mut self) -> bool {
        std::mem::take(&mut self.unlogged)
    }

    pub(crate) fn take_passed(&mut self) -> u32 {
        std::mem::take(&mut self.passed)
    }
}

/// A charge line that is posted to an account of this partition.
#[derive(Debug)]
pub(crate) struct PostedLine<'a> {
    pub(crate) account: AccountNumber,
    pub(crate) start: Timestamp,
    pub(crate) place: (PartitionId, SegmentNumber, u32),
    from: AccountNumber,
    amount: Money,
    component: &'a ComponentInfo,
}

/// The attribute that marks a posting as a bonus.
pub(crate) const KIND: &str = "kind";
pub(crate) const BONUS: &str = "bonus";

/// The contents of a posting, as text.
pub(crate) struct Texts<'a> {
    amount: String,
    currency: String,
    from: String,
    version: String,
    component: &'a ComponentInfo,
    /// Whether the posting grants a bonus to the account.
    is_bonus: bool,
}

impl<'a> PostedLine<'a> {
    /// A record id that is made of the posting's position in the sender's log.
    pub(crate) fn id(&self) -> String {
        let (sender, segment, row) = self.place;
        format!("{sender}/{segment}/{row}")
    }

    pub(crate) fn texts(&self) -> Texts<'a> {
        Texts {
            amount: self.amount.to_string(),
            currency: self.component.currency.to_string(),
            from: self.from.to_string(),
            version: self.component.plan_version.to_string(),
            component: self.component,
            is_bonus: self.component.kind == LineKind::Bonus && self.amount < Money::ZERO,
        }
    }
}

impl Texts<'_> {
    /// The attributes, sorted by name. They suffice to post the posting later.
    pub(crate) fn attributes(&self) -> impl AsRef<[(&str, &str)]> {
        let mut attributes = SmallVec::<[(&str, &str); 10]>::new();
        attributes.extend([
            ("amount", self.amount.as_str()),
            ("component", &self.component.component),
            ("currency", &self.currency),
            ("from", &self.from),
        ]);
        // Only bonuses need a mark: they are set off against charges in the receiver's cycle.
        attributes.extend(self.is_bonus.then_some((KIND, BONUS)));
        attributes.extend([
            ("plan", self.component.plan_id.as_str()),
            ("plan-version", &self.version),
            ("price", &self.component.price),
            ("primitive", &self.component.primitive),
            ("unit", &self.component.unit),
        ]);
        attributes
    }
}

fn posted(sender: PartitionId, fresh: &Fresh, row: u32) -> Option<PostedLine<'_>> {
    let line = fresh.segment.line(row as usize)?;
    let record = fresh.segment.record(line.record)?;
    let Posting::Second(account) = line.posting else { return None };
    Some(PostedLine {
        account,
        start: record.start,
        place: (sender, fresh.number, row),
        from: record.account,
        amount: line.amount,
        component: line.component,
    })
}

/// A segment of a sender's log, as it was read.
pub(crate) struct SenderSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) hash: SegmentHash,
    pub(crate) segment: Segment,
}

/// The postings of these segments behind the cursor. `None` if there are none.
pub(crate) fn page(
    scope: &Scope,
    from: PostingCursor,
    rows: impl IntoIterator<Item = SenderSegment>,
) -> Option<Page> {
    let mut segments = VecDeque::new();
    for row in rows {
        let done = if row.number.0 == from.segment { from.ordinal } else { 0 };
        let fresh = fresh(scope, row, done);
        if fresh.total > done {
            segments.push_back(fresh);
        }
    }
    let is_any = !segments.is_empty();
    is_any.then_some(Page {
        sender: scope.sender,
        segments,
        cursor: from,
        unlogged: false,
        passed: 0,
    })
}

fn fresh(scope: &Scope, row: SenderSegment, done: u32) -> Fresh {
    let SenderSegment { number, hash, segment } = row;
    let (mut ours, mut total) = (VecDeque::new(), 0u32);
    for at in segment.posting_rows() {
        let second = segment.line(at as usize).map(|line| line.posting);
        if let Some(Posting::Second(account)) = second
            && total >= done
            && scope.takes(account)
        {
            ours.push_back((total, at));
        }
        total += 1;
    }
    Fresh { number, hash, segment: Arc::new(segment), total, ours }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_posting_to_an_account_of_no_partition_stays_with_the_sender() {
        let (ours, theirs) = (AccountRange::new(1, 10), AccountRange::new(11, 20));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        let scope = |is_own| Scope {
            sender: PartitionId(1),
            ours,
            is_own,
            ranges: Arc::new(vec![ours, theirs]),
        };
        let takes = |is_own| [5, 15, 25].map(|account| scope(is_own).takes(AccountNumber(account)));
        assert_eq!(takes(true), [true, false, true]);
        assert_eq!(takes(false), [true, false, false]);
    }
}
