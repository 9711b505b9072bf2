//! Requests that are passed on to the owner, for fronts that can't reach it (P16).

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request as Call, Response, Status, Streaming};
use turnpike_proto::RELAYED;
use turnpike_proto::frame::SubBatchFrame;
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_types::{PartitionId, limits};

use crate::doors::{Came, Doors};

/// Sub-batches that wait to be passed on.
const STREAM_DEPTH: usize = 64;

/// Another node.
pub(crate) type Owner = NodeServiceClient<Channel>;

/// Passes a stream on until one of its ends is closed.
pub(crate) async fn pass_on(
    first: SubBatchFrame,
    mut stream: Streaming<SubBatchFrame>,
    onward: mpsc::Sender<SubBatchFrame>,
) {
    let mut next = Some(first);
    while let Some(frame) = next {
        if onward.send(frame).await.is_err() {
            return;
        }
        next = stream.message().await.ok().flatten();
    }
}

impl Doors {
    /// A stream to the partition's owner elsewhere, for a front that can't reach it (P16); `None`
    /// when there is no such owner that we know and reach.
    pub(crate) async fn relay(
        &self,
        frame: &SubBatchFrame,
    ) -> Option<(mpsc::Sender<SubBatchFrame>, Streaming<SubBatchAnswer>)> {
        let partition = PartitionId(frame.walk(|_| {}).ok()?.partition);
        let address = Some(self.owner_address(partition)).filter(|address| !address.is_empty())?;
        let mut owner = self.client(&address)?;
        let (onward, frames) = mpsc::channel(STREAM_DEPTH);
        let call = relayed(ReceiverStream::new(frames));
        // Who is in reach answers at once.
        let answers = tokio::time::timeout(self.config.heartbeat, owner.forward(call)).await;
        let answers = answers.ok()?.ok()?.into_inner();
        metrics::counter!("turnpike_relays_total").increment(1);
        Some((onward, answers))
    }

    /// The answer of the partition's owner elsewhere, for a front that complains that it can't reach
    /// it (P16); `None` when we can't either, and when it is served here.
    pub(crate) async fn relay_call<Req, Resp, Fut>(
        &self,
        partition: u32,
        came: Came,
        request: &Req,
        call: impl FnOnce(Owner, Call<Req>) -> Fut,
    ) -> Option<Response<Resp>>
    where
        Req: Clone,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        let partition = PartitionId(partition);
        let Came::Complaining(epoch) = came else { return None };
        if self.is_open(partition) || self.complain(partition, epoch) {
            return None;
        }
        let address = Some(self.owner_address(partition)).filter(|address| !address.is_empty())?;
        let asked = call(self.client(&address)?, relayed(request.clone()));
        // Past it, the front asks again: what it asks for may be carried out twice.
        let answer = tokio::time::timeout(self.config.admission() * 2, asked).await.ok()?.ok()?;
        metrics::counter!("turnpike_relays_total").increment(1);
        Some(answer)
    }

    fn client(&self, address: &str) -> Option<Owner> {
        let client = NodeServiceClient::new(self.dial.channel(address).ok()?);
        Some(
            client
                .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(limits::MESSAGE_BYTES_MAX),
        )
    }
}

/// Marked, so that it is not passed on once more.
fn relayed<T>(message: T) -> Call<T> {
    let mut call = Call::new(message);
    call.metadata_mut().insert(RELAYED, MetadataValue::from_static("1"));
    call
}
