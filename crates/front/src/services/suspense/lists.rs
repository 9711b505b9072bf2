//! The lists of suspended records in progress: their number, and the memory of their pages.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec::IntoIter;

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;
use turnpike_listen::{Budget, BudgetShare, ClientKey, MemoryPart, exhausted};
use turnpike_proto::suspense::v1::SuspendedRecord;
use turnpike_types::limits::{RECORD_BYTES_MAX, SUSPENSE_PAGE_BYTES_MAX};

/// The lists of a front at once, and those of one client.
const LISTS_MAX: usize = 64;
const CLIENT_LISTS_MAX: usize = 8;
/// A page as received from a node, and decoded; the last record may exceed the limit.
const PAGE_BYTES: usize = 2 * (SUSPENSE_PAGE_BYTES_MAX + 4 * RECORD_BYTES_MAX);
/// How long a page waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// The lists in progress. Clones share them.
#[derive(Clone)]
pub(crate) struct SuspenseLists {
    budget: Budget,
    by_client: Arc<Mutex<HashMap<ClientKey, usize>>>,
}

/// A list in progress.
pub(crate) struct SuspenseList {
    lists: SuspenseLists,
    client: ClientKey,
}

/// A page of records, and its share of the budget.
pub(crate) struct SuspensePage {
    pub(crate) records: Vec<SuspendedRecord>,
    pub(crate) share: BudgetShare,
}

impl SuspenseLists {
    /// Lists whose pages take room in `budget`.
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, by_client: Arc::default() }
    }

    /// Enters a list of `client`.
    pub(crate) fn enter(&self, client: ClientKey) -> Result<SuspenseList, Status> {
        let mut present = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        let own = present.get(&client).copied().unwrap_or(0);
        if own >= CLIENT_LISTS_MAX {
            let why = format!("{own} lists of this client are in progress: read or end one");
            return Err(exhausted(&why));
        }
        if present.values().sum::<usize>() >= LISTS_MAX {
            return Err(exhausted(&format!("{LISTS_MAX} lists of this front are in progress")));
        }
        present.insert(client, own + 1);
        drop(present);
        Ok(SuspenseList { lists: self.clone(), client })
    }
}

impl SuspenseList {
    /// Takes room for a page, before it is asked for.
    pub(crate) async fn room(&self) -> Result<BudgetShare, Status> {
        let budget = &self.lists.budget;
        let share =
            budget.reserve_within(MemoryPart::Answers, self.client, PAGE_BYTES, ROOM_WAIT).await;
        share.ok_or_else(|| exhausted("the server's memory for lists is used up: read the lists"))
    }
}

impl Drop for SuspenseList {
    fn drop(&mut self) {
        let mut present = self.lists.by_client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = present.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                present.remove(&self.client);
            }
        }
    }
}

/// The records of a list. The share of a page is released after its last record was taken.
pub(crate) struct SuspenseStream {
    pages: mpsc::Receiver<Result<SuspensePage, Status>>,
    records: IntoIter<SuspendedRecord>,
    share: Option<BudgetShare>,
}

impl SuspenseStream {
    pub(crate) fn new(pages: mpsc::Receiver<Result<SuspensePage, Status>>) -> Self {
        Self { pages, records: Vec::new().into_iter(), share: None }
    }
}

impl Stream for SuspenseStream {
    type Item = Result<SuspendedRecord, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.records.next() {
                return Poll::Ready(Some(Ok(record)));
            }
            self.share = None;
            match ready!(self.pages.poll_recv(cx)) {
                Some(Ok(SuspensePage { records, share })) => {
                    self.records = records.into_iter();
                    self.share = Some(share);
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}
