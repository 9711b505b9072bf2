//! The rated output, as a consumer pulls it.

use anyhow::{Result, ensure};
use turnpike_proto::feed::v1::feed_service_client::FeedServiceClient;
use turnpike_proto::feed::v1::{ChargeLine, Cursor, PullRequest, RegisterRequest};

/// The maximum size of a page of the feed.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// Pulls the rated output that follows these cursors as a consumer of this name; all output if there
/// are no cursors. The cursors of the consumer in the database are not moved.
///
/// # Errors
/// The feed can't be pulled, or its control totals differ from its lines. The control totals of a
/// segment are not compared if its first lines are before the cursor.
pub async fn pull(front: &str, consumer: &str, from: Vec<Cursor>) -> Result<Vec<ChargeLine>> {
    let feed = FeedServiceClient::connect(front.to_owned()).await?;
    let mut feed = feed.max_decoding_message_size(PAGE_BYTES_MAX);
    let consumer = consumer.to_owned();
    feed.register(RegisterRequest { consumer: consumer.clone() }).await?;
    let request = PullRequest { consumer, from, ..PullRequest::default() };
    let mut pages = feed.pull(request).await?.into_inner();
    let (mut lines, mut told) = (Vec::new(), 0);
    while let Some(page) = pages.message().await? {
        told += page.totals.iter().map(|totals| totals.lines).sum::<u64>();
        lines.extend(page.lines);
    }
    ensure!(told == lines.len() as u64, "control totals: {told}, lines: {}", lines.len());
    Ok(lines)
}
