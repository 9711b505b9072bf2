//! The feed service: Register, Pull and Acknowledge.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use turnpike_access::audit::{Action, AuditLog, Intent};
use turnpike_access::{Actor, request_id};
use turnpike_listen::Budget;
use turnpike_proto::feed::v1::feed_service_server::{
    FeedService as FeedServiceTrait, FeedServiceServer,
};
use turnpike_proto::feed::v1::{
    AcknowledgeRequest, AcknowledgeResponse, FeedPage, ListConsumersRequest, ListConsumersResponse,
    PullRequest, RegisterRequest, RegisterResponse, RemoveConsumerRequest, RemoveConsumerResponse,
};
use turnpike_store::{Consumer, CursorAck, Observation, SharedDatabase};
use turnpike_types::SegmentNumber;
use turnpike_types::limits::{FEED_PAGE_LINES_MAX, MESSAGE_BYTES_MAX};

use crate::consumers::{self, ended};
use crate::log::Log;
use crate::position::FeedPosition;
use crate::pull::{Limits, PageRoom, Pages, PullEnd, Puller, SegmentRange};
use crate::request::check_name;
use crate::slots::{PageStream, PullSlots};
use crate::{FeedConfig, FeedError};

/// The gRPC service. Clones share all state.
#[derive(Clone)]
pub struct FeedService {
    db: Arc<dyn SharedDatabase>,
    log: Log,
    config: FeedConfig,
    budget: Budget,
    slots: PullSlots,
    audit: AuditLog,
}

impl FeedService {
    /// A feed of the committed segments in `db`. Registrations are recorded in `audit`.
    pub fn new(db: Arc<dyn SharedDatabase>, config: FeedConfig, audit: AuditLog) -> Self {
        let log = Log::new(db.clone(), &config);
        let (budget, slots) = (Budget::unlimited(), PullSlots::default());
        Self { db, log, config, budget, slots, audit }
    }

    /// The same feed, whose pages take room in `budget`.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The tonic service with its message size limits.
    pub fn server(&self) -> FeedServiceServer<Self> {
        FeedServiceServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Refuses a consumer that is not the sender's own.
    fn check_reach<T>(&self, request: &Request<T>, consumer: &str) -> Result<(), Status> {
        self.config.guarded.permit(request.extensions())?.check_consumer(consumer)
    }

    /// The cursors of a registered consumer, including those of partitions created since the
    /// registration.
    async fn consumer(&self, name: &str, seen: &Observation) -> Result<Vec<Consumer>, FeedError> {
        let cursors = self.db.consumer(name).await?;
        if cursors.is_empty() {
            return Err(FeedError::UnknownConsumer(name.to_owned()));
        }
        let known: BTreeSet<_> = cursors.iter().map(|cursor| cursor.partition).collect();
        if seen.partitions.iter().all(|row| known.contains(&row.spec.id)) {
            return Ok(cursors);
        }
        // The consumer must not miss the output of a partition that was created after its
        // registration.
        self.db.register_consumer(name).await?;
        Ok(self.db.consumer(name).await?)
    }

    async fn register_name(
        &self,
        actor: &Actor,
        name: &str,
    ) -> Result<RegisterResponse, FeedError> {
        check_name(name)?;
        // Registering again changes nothing if the consumer has all cursors.
        let seen = self.db.observe().await?;
        let known = self.db.consumer(name).await?;
        if known.len() < seen.partitions.len() {
            let intent = Intent::of(format!("consumer {name}"));
            let (db, name) = (Arc::clone(&self.db), name.to_owned());
            let change = async move {
                let done = db.register_consumer(&name).await;
                let end = ended(&done);
                (done, end)
            };
            self.audit.change(actor, Action::ConsumerRegister, intent, change).await??;
        }
        let cursors = self.db.consumer(name).await?;
        if cursors.is_empty() {
            return Err(FeedError::NoPartitions);
        }
        tracing::info!(consumer = name, "consumer registered");
        let cursors = cursors.iter().map(|cursor| FeedPosition::from(cursor).to_wire()).collect();
        Ok(RegisterResponse { cursors })
    }

    async fn plan_pull(
        &self,
        request: &PullRequest,
    ) -> Result<(Vec<SegmentRange>, Limits), FeedError> {
        check_name(&request.consumer)?;
        let limits = self.limits(request)?;
        let seen = self.db.observe().await?;
        let kept = self.consumer(&request.consumer, &seen).await?;
        let mut positions = if request.from.is_empty() {
            kept.iter().map(FeedPosition::from).collect()
        } else {
            request.from.iter().map(FeedPosition::from_wire).collect::<Result<Vec<_>, _>>()?
        };
        positions.sort_by_key(|position| position.partition);
        if let Some([twice, _]) =
            positions.array_windows::<2>().find(|[a, b]| a.partition == b.partition)
        {
            let partition = twice.partition;
            let why = format!("two cursors of partition {partition}: send only one");
            return Err(FeedError::Invalid(why));
        }
        let range = |from: FeedPosition| {
            let row = seen.partition(from.partition);
            let row = row.ok_or_else(|| FeedError::NoCursor {
                consumer: request.consumer.clone(),
                partition: from.partition,
            })?;
            let end = SegmentNumber(row.next.next.0.saturating_sub(1));
            Ok(SegmentRange { from, end, end_hash: row.next.last_hash })
        };
        let ranges = positions.into_iter().map(range).collect::<Result<Vec<_>, FeedError>>()?;
        for range in &ranges {
            // Checked before the first page, so that a consumer of another history gets no lines at
            // all.
            self.log.check(&range.from).await?;
        }
        Ok((ranges, limits))
    }

    fn limits(&self, request: &PullRequest) -> Result<Limits, FeedError> {
        let asked = match request.page_lines {
            0 => self.config.page_lines as usize,
            lines => lines as usize,
        };
        if asked > FEED_PAGE_LINES_MAX {
            let why = format!("page_lines is at most {FEED_PAGE_LINES_MAX}, not {asked}");
            return Err(FeedError::Invalid(why));
        }
        Ok(Limits {
            page_lines: asked.max(1),
            page_bytes: self.config.page_bytes,
            lines_left: match request.lines_max {
                0 => u64::MAX,
                lines => lines,
            },
        })
    }

    async fn move_cursor(
        &self,
        request: AcknowledgeRequest,
    ) -> Result<AcknowledgeResponse, FeedError> {
        let AcknowledgeRequest { consumer, from, to } = request;
        check_name(&consumer)?;
        let (Some(from), Some(to)) = (from, to) else {
            let why = "set from to the present cursor, and to to the new one".to_owned();
            return Err(FeedError::Invalid(why));
        };
        let (from, to) = (FeedPosition::from_wire(&from)?, FeedPosition::from_wire(&to)?);
        if from.partition != to.partition {
            let why = format!(
                "a cursor moves within its partition, not from {} to {}",
                from.partition, to.partition
            );
            return Err(FeedError::Invalid(why));
        }
        let kept = self.db.consumer(&consumer).await?;
        if kept.is_empty() {
            return Err(FeedError::UnknownConsumer(consumer));
        }
        if !kept.iter().any(|cursor| cursor.partition == to.partition) {
            return Err(FeedError::NoCursor { consumer, partition: to.partition });
        }
        self.log.check(&to).await?;
        let stands_at = |was_there| AcknowledgeResponse { cursor: Some(to.to_wire()), was_there };
        match self.db.acknowledge(&from.of(&consumer), &to.of(&consumer)).await? {
            CursorAck::Moved => Ok(stands_at(false)),
            // The answer to an earlier attempt was lost, or another puller moved the cursor. Only
            // the caller knows whether there was an earlier attempt.
            CursorAck::Elsewhere(stands) if FeedPosition::from(&stands) == to => {
                Ok(stands_at(true))
            }
            CursorAck::Elsewhere(stands) => {
                Err(FeedError::Moved { consumer, stands: FeedPosition::from(&stands) })
            }
            CursorAck::Unknown => Err(FeedError::UnknownConsumer(consumer)),
        }
    }
}

async fn pull_all(
    log: Log,
    ranges: Vec<SegmentRange>,
    mut limits: Limits,
    pages: Pages,
    room: PageRoom,
) {
    for range in ranges {
        let puller = Puller::new(&log, (&pages, &room), &mut limits, range.from);
        match puller.run(&range).await {
            Ok(PullEnd::Whole) => {}
            Ok(PullEnd::Stopped) => return,
            Err(error) => {
                tracing::warn!(%error, "a pull ended early");
                // A send error means that the consumer has disconnected: no reason is needed.
                let _ = pages.send(Err(error.into())).await;
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl FeedServiceTrait for FeedService {
    type PullStream = Pin<Box<dyn Stream<Item = Result<FeedPage, Status>> + Send>>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.check_reach(&request, &request.get_ref().consumer)?;
        let actor = Actor::of(&request);
        Ok(Response::new(self.register_name(&actor, &request.into_inner().consumer).await?))
    }

    async fn pull(
        &self,
        request: Request<PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        self.check_reach(&request, &request.get_ref().consumer)?;
        let client = Actor::of(&request).client_key();
        let request = request.into_inner();
        check_name(&request.consumer)?;
        let slot = self.slots.enter(&request.consumer, &self.config)?;
        let (ranges, limits) = self.plan_pull(&request).await?;
        let (pages, stream) = mpsc::channel(self.config.pages_ahead.max(1));
        let room = PageRoom { budget: self.budget.clone(), client, wait: self.config.room_wait };
        let pulling = pull_all(self.log.clone(), ranges, limits, pages, room);
        tokio::spawn(request_id::carried(pulling));
        Ok(Response::new(Box::pin(PageStream::new(stream, slot))))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        self.check_reach(&request, &request.get_ref().consumer)?;
        Ok(Response::new(self.move_cursor(request.into_inner()).await?))
    }

    async fn list_consumers(
        &self,
        _: Request<ListConsumersRequest>,
    ) -> Result<Response<ListConsumersResponse>, Status> {
        Ok(Response::new(consumers::listed(&*self.db).await?))
    }

    async fn remove_consumer(
        &self,
        request: Request<RemoveConsumerRequest>,
    ) -> Result<Response<RemoveConsumerResponse>, Status> {
        let actor = Actor::of(&request);
        let name = request.into_inner().consumer;
        consumers::remove(&self.db, &self.audit, &actor, &name).await?;
        Ok(Response::new(RemoveConsumerResponse {}))
    }
}
