//! The feed service as `pull` and `demo` use it: registration, pulls, acknowledgements.

use std::collections::BTreeMap;

use tonic::Code;
use turnpike_client::{Acknowledged, ClientError, FeedPages, feed};
use turnpike_proto::feed::v1::{AcknowledgeRequest, Cursor, FeedPage, PullRequest};

use crate::client::{Front, told};
use crate::exit::usage;

/// Opens a pull of rated output.
pub(crate) async fn open_pull(front: &Front, request: &PullRequest) -> anyhow::Result<FeedPages> {
    let pages = feed::pull(front.fronts(), request).await;
    pages.map_err(|error| told(error).context("rated output can't be pulled"))
}

/// Registers a consumer and returns its cursors by partition.
pub(crate) async fn register(
    front: &Front,
    consumer: &str,
) -> anyhow::Result<BTreeMap<u32, Cursor>> {
    feed::register(front.fronts(), consumer).await.map_err(|error| match error {
        ClientError::BadConsumer { .. } => {
            let remedy = "write 1 to 128 letters, digits, -, _ or .";
            usage(format!("--consumer {consumer:?} is not a valid name; {remedy}"))
        }
        error => told(error).context("the consumer can't be registered"),
    })
}

/// The outcome of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorMove {
    /// This pull moved the cursor.
    Here,
    /// Another pull under the same name moved the cursor to the same place first.
    ByAnother,
    /// The cursor is at another place, to which another pull under the same name moved it.
    Apart,
}

/// The interface for acknowledgements and for small pulls; tests implement it without a cluster.
pub(crate) trait Feed {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<CursorMove>;

    /// All pages of a pull.
    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>>;
}

impl Feed for Front {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<CursorMove> {
        match feed::acknowledge(self.fronts(), &request).await {
            Ok(Acknowledged::Here) => Ok(CursorMove::Here),
            Ok(Acknowledged::Elsewhere) => Ok(CursorMove::ByAnother),
            Err(ClientError::Refused { code: Code::Aborted, .. }) => Ok(CursorMove::Apart),
            Err(error) => Err(told(error).context("the cursor can't be moved")),
        }
    }

    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>> {
        let mut stream = open_pull(self, &request).await?;
        let mut pages = Vec::new();
        while let Some(page) = stream.next_page().await.map_err(told)? {
            pages.push(page);
        }
        Ok(pages)
    }
}
