//! A feed in memory, for tests.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Context as _;
use turnpike_proto::feed::v1::{AcknowledgeRequest, ChargeLine, Cursor, FeedPage, PullRequest};

use crate::feed::{CursorMove, Feed};

/// A feed of these lines. The lines of each partition must be in the order of the log.
#[derive(Default)]
pub(super) struct FakeFeed {
    pub(super) lines: Vec<ChargeLine>,
    pub(super) acknowledged: RefCell<Vec<Cursor>>,
}

impl FakeFeed {
    pub(super) fn of(lines: &[ChargeLine]) -> Self {
        Self { lines: lines.to_vec(), acknowledged: RefCell::default() }
    }
}

impl Feed for FakeFeed {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<CursorMove> {
        self.acknowledged.borrow_mut().extend(request.to);
        Ok(CursorMove::Here)
    }

    /// Returns each line on a page of its own.
    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>> {
        let [from] = &request.from[..] else { anyhow::bail!("one cursor is expected") };
        let follows = |line: &&ChargeLine| {
            line.partition == from.partition && (line.segment, line.row) >= (from.segment, from.row)
        };
        let lines_max = usize::try_from(request.lines_max).context("too many lines")?;
        let lines = self.lines.iter().filter(follows).take(lines_max);
        let page = |line: &ChargeLine| FeedPage {
            lines: vec![line.clone()],
            next: Some(after(line)),
            totals: Vec::new(),
        };
        Ok(lines.map(page).collect())
    }
}

/// The cursor that follows a line.
pub(super) fn after(line: &ChargeLine) -> Cursor {
    let ChargeLine { partition, segment, row, .. } = *line;
    Cursor { partition, segment, row: row + 1, ..Cursor::default() }
}

/// The cursors of a new consumer.
pub(super) fn beginnings(partitions: &[u32]) -> BTreeMap<u32, Cursor> {
    let beginning = |&partition| (partition, Cursor { partition, ..Cursor::default() });
    partitions.iter().map(beginning).collect()
}

pub(super) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}
