//! The ingest service.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::BatchAck;
use turnpike_proto::ingest::v1::ingest_service_server::IngestService;
use turnpike_shares::ClientKey;
use turnpike_types::Must;

use crate::FrontError;
use crate::core::Core;
use crate::ingest::admission::Admission;
use crate::ingest::stream::ClientStream;
use crate::ingest::sub_batch::Arrival;

/// The gRPC service `IngestService`. A clone shares the admission budget.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) core: Arc<Core>,
    admission: Arc<Admission>,
}

impl Ingest {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let admission = Arc::new(Admission::new(core.config.admitted_bytes_max));
        Self { core, admission }
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type IngestStream = Pin<Box<dyn Stream<Item = Result<BatchAck, Status>> + Send>>;

    async fn ingest(
        &self,
        request: Request<Streaming<BatchFrame>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        self.core.enter()?;
        let client = client_of(&request);
        let (acks, answers) = mpsc::unbounded_channel();
        let stream = ClientStream::new(&self.core, &self.admission, client, Arrival::First, acks);
        self.core.tasks.spawn(stream.run(request.into_inner()));
        // The delivery holds the permit: a batch counts as answered once its ack was read.
        let answers =
            UnboundedReceiverStream::new(answers).map(|answer| answer.map(|answer| answer.ack));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn ingest_once(
        &self,
        request: Request<BatchFrame>,
    ) -> Result<Response<BatchAck>, Status> {
        self.core.enter()?;
        let client = client_of(&request);
        Ok(Response::new(self.once(request.into_inner(), client, Arrival::First).await?))
    }
}

impl Ingest {
    /// Processes one batch on a new stream.
    ///
    /// # Errors
    /// [`FrontError::ShuttingDown`] when the front stops before the answer.
    pub(crate) async fn once(
        &self,
        frame: BatchFrame,
        client: ClientKey,
        arrival: Arrival,
    ) -> Result<BatchAck, FrontError> {
        let (acks, mut answers) = mpsc::unbounded_channel();
        let mut stream = ClientStream::new(&self.core, &self.admission, client, arrival, acks);
        let unanswered = stream.slot().await.ok_or(FrontError::ShuttingDown)?;
        let taken = stream.take(frame, unanswered).await;
        taken.must("the list of refused batches of a new stream has room");
        // The senders end once everything is answered.
        drop(stream);
        let answer = answers.recv().await.and_then(Result::ok);
        answer.map(|delivery| delivery.ack).ok_or(FrontError::ShuttingDown)
    }
}

/// The client that is held responsible for a request: its address, without the port.
pub(crate) fn client_of<T>(request: &Request<T>) -> ClientKey {
    let address = request.remote_addr();
    address.map_or(ClientKey::NONE, |address| ClientKey::of(&address.ip().to_string()))
}
