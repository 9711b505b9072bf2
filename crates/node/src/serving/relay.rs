//! Relays requests to the owner, for fronts that can't reach it (P16).

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request as Call, Response, Status, Streaming};
use turnpike_access::request_id;
use turnpike_proto::frame::SubBatchFrame;
use turnpike_proto::node::v1::SubBatchAnswer;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::{CLIENT, RELAYED};
use turnpike_shares::ClientKey;
use turnpike_types::{PartitionId, limits};

use super::gates::{Asker, Gates, RequestOrigin};

/// The most sub-batches that wait to be relayed.
const STREAM_DEPTH: usize = 64;

/// A client of the node that owns the partition.
pub(crate) type OwnerClient = NodeServiceClient<Channel>;

/// Relays a stream until one of its ends is closed.
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

impl Gates {
    /// Opens a stream to the partition's owner on another node, for a front that can't reach it
    /// (P16). `None` if no such owner is known and reachable.
    pub(crate) async fn relay(
        &self,
        frame: &SubBatchFrame,
    ) -> Option<(mpsc::Sender<SubBatchFrame>, Streaming<SubBatchAnswer>)> {
        let partition = PartitionId(frame.walk(|_| {}).ok()?.partition);
        let address = Some(self.owner_address(partition)).filter(|address| !address.is_empty())?;
        let mut owner = self.client(&address)?;
        let (onward, frames) = mpsc::channel(STREAM_DEPTH);
        let call = relayed(ClientKey::NONE, ReceiverStream::new(frames));
        // A reachable owner opens the stream at once: one interval is enough.
        let answers = tokio::time::timeout(self.config.heartbeat, owner.forward(call)).await;
        let answers = answers.ok()?.ok()?.into_inner();
        metrics::counter!("turnpike_relays_total").increment(1);
        Some((onward, answers))
    }

    /// The answer of the partition's owner on another node, for a front that complains that it
    /// can't reach the owner (P16). `None` if this node can't reach the owner either, or serves the
    /// partition itself.
    pub(crate) async fn relay_call<Req, Resp, Fut>(
        &self,
        partition: u32,
        asker: Asker,
        request: &Req,
        call: impl FnOnce(OwnerClient, Call<Req>) -> Fut,
    ) -> Option<Response<Resp>>
    where
        Req: Clone,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        let partition = PartitionId(partition);
        let RequestOrigin::Complaining(epoch) = asker.origin else { return None };
        if self.is_open(partition) || self.complain(partition, epoch) {
            return None;
        }
        let address = Some(self.owner_address(partition)).filter(|address| !address.is_empty())?;
        let asked = call(self.client(&address)?, relayed(asker.client, request.clone()));
        // After this time the front sends the request again; a request that is carried out twice
        // has the effect of one.
        let answer = tokio::time::timeout(self.config.admission() * 2, asked).await.ok()?.ok()?;
        metrics::counter!("turnpike_relays_total").increment(1);
        Some(answer)
    }

    pub(super) fn client(&self, address: &str) -> Option<OwnerClient> {
        let client = NodeServiceClient::new(self.dial.channel(address).ok()?);
        Some(
            client
                .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(limits::MESSAGE_BYTES_MAX),
        )
    }
}

/// Marks a call for a client as relayed, so that the receiver does not relay it again.
pub(super) fn relayed<T>(client: ClientKey, message: T) -> Call<T> {
    let mut call = Call::new(message);
    request_id::add_to(call.metadata_mut());
    call.metadata_mut().insert(CLIENT, MetadataValue::from(client.0));
    call.metadata_mut().insert(RELAYED, MetadataValue::from_static("1"));
    call
}
