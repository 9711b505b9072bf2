//! The ingest service.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use turnpike_access::{Actor, Permit, request_id};
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
        let permit = self.core.permit(&request)?;
        let client = client_of(&request);
        let (acks, answers) = mpsc::unbounded_channel();
        let (core, admission) = (&self.core, &self.admission);
        let stream = ClientStream::new(core, admission, client, Arrival::First, acks, permit);
        self.core.tasks.spawn(request_id::carried(stream.run(request.into_inner())));
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
        let permit = self.core.permit(&request)?;
        let client = client_of(&request);
        Ok(Response::new(self.once(request.into_inner(), client, Arrival::First, permit).await?))
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
        permit: Permit,
    ) -> Result<BatchAck, FrontError> {
        let (acks, mut answers) = mpsc::unbounded_channel();
        let (core, admission) = (&self.core, &self.admission);
        let mut stream = ClientStream::new(core, admission, client, arrival, acks, permit);
        let unanswered = stream.slot().await.ok_or(FrontError::ShuttingDown)?;
        let taken = stream.take(frame, unanswered).await;
        taken.must("the list of refused batches of a new stream has room");
        // The senders end once everything is answered.
        drop(stream);
        let answer = answers.recv().await.and_then(Result::ok);
        answer.map(|delivery| delivery.ack).ok_or(FrontError::ShuttingDown)
    }
}

/// The client that is held responsible for a request.
pub(crate) fn client_of<T>(request: &Request<T>) -> ClientKey {
    Actor::of(request).client_key()
}
