//! Pulls rated output, and acknowledges it after it was stored.

use std::cell::Cell;
use std::collections::BTreeMap;

use tonic::Streaming;
use turnpike_proto::feed::v1::feed_service_client::FeedServiceClient;
use turnpike_proto::feed::v1::{
    AcknowledgeRequest, Cursor, FeedPage, PullRequest, RegisterRequest,
};
use turnpike_types::limits;

use crate::channel::FrontChannel;
use crate::error::ClientError;
use crate::fronts::Fronts;

const CONSUMER_BYTES_MAX: usize = 128;

/// A named consumer of the feed, with its cursors.
///
/// A line before the cursors is not delivered again, so a page is acknowledged after it was stored.
/// If the consumer ends between the two, the next pull delivers the page again. The store of the
/// lines recognizes a repeated line by its partition, segment and row.
#[derive(Debug)]
pub struct FeedConsumer {
    fronts: Fronts,
    name: String,
    /// The acknowledged cursors, by partition.
    cursors: BTreeMap<u32, Cursor>,
}

impl FeedConsumer {
    /// Registers the consumer, at the beginning of the feed if it is new.
    ///
    /// # Errors
    /// The name is not valid, or the call fails.
    pub async fn register(fronts: Fronts, name: &str) -> Result<Self, ClientError> {
        let cursors = register(&fronts, name).await?;
        Ok(Self { fronts, name: name.to_owned(), cursors })
    }

    /// The acknowledged cursors, by partition.
    pub const fn cursors(&self) -> &BTreeMap<u32, Cursor> {
        &self.cursors
    }

    /// Pulls the lines after the acknowledged cursors: `page_lines` lines a page (0: 10,000), and at
    /// most `lines_max` in all (0: no limit). The pages end at the end of the log when the call
    /// began.
    ///
    /// # Errors
    /// The call fails.
    pub async fn pull(&self, page_lines: u32, lines_max: u64) -> Result<FeedPages, ClientError> {
        let (consumer, from) = (self.name.clone(), Vec::new());
        pull(&self.fronts, &PullRequest { consumer, from, page_lines, lines_max }).await
    }

    /// Moves the cursor of the page's partition behind the page. Call it only after the lines are
    /// stored.
    ///
    /// # Errors
    /// Another process that uses the same name moved the cursor, to the end of the page
    /// ([`ClientError::Overtaken`]) or elsewhere ([`ClientError::Refused`] with the code `Aborted`);
    /// or the call fails.
    pub async fn acknowledge(&mut self, page: &FeedPage) -> Result<(), ClientError> {
        let Some(to) = &page.next else { return Ok(()) };
        let from = self.cursors.get(&to.partition).cloned();
        let from = from.unwrap_or_else(|| Cursor { partition: to.partition, ..Cursor::default() });
        if from == *to {
            return Ok(());
        }
        let consumer = self.name.clone();
        let (from, to) = (Some(from), to.clone());
        let request = AcknowledgeRequest { consumer, from, to: Some(to.clone()) };
        if acknowledge(&self.fronts, &request).await? == Acknowledged::Elsewhere {
            let (consumer, partition) = (self.name.clone(), to.partition);
            return Err(ClientError::Overtaken { consumer, partition });
        }
        self.cursors.insert(to.partition, to);
        Ok(())
    }
}

/// The pages of one pull.
#[derive(Debug)]
pub struct FeedPages {
    url: String,
    pages: Streaming<FeedPage>,
}

impl FeedPages {
    /// The next page; `None` at the end.
    ///
    /// # Errors
    /// The stream broke. Another pull continues after the acknowledged cursors.
    pub async fn next_page(&mut self) -> Result<Option<FeedPage>, ClientError> {
        let page = self.pages.message().await;
        page.map_err(|status| ClientError::from_status(&self.url, &status))
    }
}

/// Registers a consumer and returns its cursors by partition. A repeated registration changes
/// nothing.
///
/// # Errors
/// The name is not valid, or the call fails.
pub async fn register(
    fronts: &Fronts,
    consumer: &str,
) -> Result<BTreeMap<u32, Cursor>, ClientError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let (bytes, name) = (consumer.len(), consumer.to_owned());
    if !(1..=CONSUMER_BYTES_MAX).contains(&bytes) || !consumer.chars().all(legal) {
        return Err(ClientError::BadConsumer { name });
    }
    let request = RegisterRequest { consumer: name };
    let answer = fronts.call(|channel| {
        let request = request.clone();
        async move { client(channel).register(request).await }
    });
    let cursors = answer.await?.cursors.into_iter();
    Ok(cursors.map(|cursor| (cursor.partition, cursor)).collect())
}

/// Opens a pull.
///
/// # Errors
/// The call fails.
pub async fn pull(fronts: &Fronts, request: &PullRequest) -> Result<FeedPages, ClientError> {
    let pages = fronts.call(|channel| {
        let request = request.clone();
        async move { client(channel).pull(request).await }
    });
    Ok(FeedPages { pages: pages.await?, url: fronts.urls().join(", ") })
}

/// How a cursor got to its new position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// This call moved the cursor.
    Here,
    /// The cursor was there before this call asked.
    Elsewhere,
}

impl Acknowledged {
    /// After more than one attempt, an earlier one may have moved the cursor, and its answer was
    /// lost.
    pub const fn of(was_there: bool, attempts: u32) -> Self {
        if was_there && attempts == 1 { Self::Elsewhere } else { Self::Here }
    }
}

/// Moves a consumer's cursor. Tells whether this call or another process moved it.
///
/// # Errors
/// The cursor is at neither end of the move, or the call fails.
pub async fn acknowledge(
    fronts: &Fronts,
    request: &AcknowledgeRequest,
) -> Result<Acknowledged, ClientError> {
    let attempts = Cell::new(0u32);
    let answer = fronts.call(|channel| {
        attempts.set(attempts.get().saturating_add(1));
        let request = request.clone();
        async move { client(channel).acknowledge(request).await }
    });
    let was_there = answer.await?.was_there;
    Ok(Acknowledged::of(was_there, attempts.get()))
}

fn client(channel: FrontChannel) -> FeedServiceClient<FrontChannel> {
    FeedServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}
