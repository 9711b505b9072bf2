//! The feed service as `pull` and `demo` use it: registration, pulls, acknowledgements.

use std::cell::Cell;
use std::collections::BTreeMap;

use tonic::Streaming;
use turnpike_proto::feed::v1::{
    AcknowledgeRequest, Cursor, FeedPage, PullRequest, RegisterRequest,
};

use crate::client::{Front, explain};
use crate::exit::usage;

/// Opens a pull.
pub(crate) async fn open_pull(
    front: &Front,
    request: &PullRequest,
) -> anyhow::Result<Streaming<FeedPage>> {
    front
        .call("rated output can't be pulled", || {
            let (mut feed, request) = (front.feed(), request.clone());
            async move { feed.pull(request).await }
        })
        .await
}

/// Registers a consumer and returns its cursors by partition.
pub(crate) async fn register(
    front: &Front,
    consumer: &str,
) -> anyhow::Result<BTreeMap<u32, Cursor>> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if consumer.is_empty() || consumer.len() > 128 || !consumer.chars().all(legal) {
        let remedy = "write 1 to 128 letters, digits, -, _ or .";
        return Err(usage(format!("--consumer {consumer:?} is not a valid name; {remedy}")));
    }
    let request = RegisterRequest { consumer: consumer.to_owned() };
    let answer = front
        .call("the consumer can't be registered", || {
            let (mut feed, request) = (front.feed(), request.clone());
            async move { feed.register(request).await }
        })
        .await?;
    Ok(answer.cursors.into_iter().map(|cursor| (cursor.partition, cursor)).collect())
}

/// The interface for acknowledgements and for small pulls; tests implement it without a cluster.
pub(crate) trait Feed {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<Acknowledged>;

    /// All pages of a pull.
    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>>;
}

/// How a cursor got to its new position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// This pull moved it.
    Here,
    /// The cursor was there before this pull asked.
    Elsewhere,
}

impl Acknowledged {
    /// After more than one attempt, an earlier one may have moved the cursor, and its answer was
    /// lost.
    pub(crate) const fn of(was_there: bool, attempts: u32) -> Self {
        if was_there && attempts == 1 { Self::Elsewhere } else { Self::Here }
    }
}

impl Feed for Front {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<Acknowledged> {
        let attempts = Cell::new(0u32);
        let answer = self
            .call("the cursor can't be moved; is another pull running under this name?", || {
                attempts.set(attempts.get().saturating_add(1));
                let (mut feed, request) = (self.feed(), request.clone());
                async move { feed.acknowledge(request).await }
            })
            .await?;
        Ok(Acknowledged::of(answer.was_there, attempts.get()))
    }

    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>> {
        let mut stream = open_pull(self, &request).await?;
        let mut pages = Vec::new();
        while let Some(page) = stream.message().await.map_err(|s| explain(&self.url, &s))? {
            pages.push(page);
        }
        Ok(pages)
    }
}
