//! The number of pulls in progress, and the stream of pages that a pull sends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;
use turnpike_listen::BudgetShare;
use turnpike_proto::feed::v1::FeedPage;

use crate::{FeedConfig, FeedError};

/// A page and its share of the budget.
pub(crate) type HeldPage = (FeedPage, Option<BudgetShare>);

/// The pulls in progress, by consumer.
#[derive(Clone, Default)]
pub(crate) struct PullSlots(Arc<Mutex<HashMap<String, usize>>>);

/// A pull in progress.
pub(crate) struct PullSlot {
    slots: PullSlots,
    consumer: String,
}

impl PullSlots {
    /// Enters a pull of `consumer`.
    pub(crate) fn enter(&self, consumer: &str, config: &FeedConfig) -> Result<PullSlot, FeedError> {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if present.values().sum::<usize>() >= config.pulls_max {
            let (present, of) = (config.pulls_max, "of this front");
            return Err(FeedError::TooManyPulls { present, of });
        }
        let own = present.get(consumer).copied().unwrap_or(0);
        if own >= config.consumer_pulls_max {
            let (present, of) = (config.consumer_pulls_max, "of this consumer");
            return Err(FeedError::TooManyPulls { present, of });
        }
        present.insert(consumer.to_owned(), own + 1);
        Ok(PullSlot { slots: self.clone(), consumer: consumer.to_owned() })
    }
}

impl Drop for PullSlot {
    fn drop(&mut self) {
        let mut present = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = present.get_mut(&self.consumer) {
            *own -= 1;
            if *own == 0 {
                present.remove(&self.consumer);
            }
        }
    }
}

/// The pages of a pull. The share of a page is released when the next one is requested: by then the
/// page is encoded, and the transport counts its bytes.
pub(crate) struct PageStream {
    pages: mpsc::Receiver<Result<HeldPage, Status>>,
    held: Option<BudgetShare>,
    _slot: PullSlot,
}

impl PageStream {
    pub(crate) fn new(pages: mpsc::Receiver<Result<HeldPage, Status>>, slot: PullSlot) -> Self {
        Self { pages, held: None, _slot: slot }
    }
}

impl Stream for PageStream {
    type Item = Result<FeedPage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.held = None;
        Poll::Ready(ready!(self.pages.poll_recv(cx)).map(|page| {
            let (page, share) = page?;
            self.held = share;
            Ok(page)
        }))
    }
}
