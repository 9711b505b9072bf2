//! Sends one request to the owner of a partition, and follows the partition when its owner changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use turnpike_access::{client, request_id};
use turnpike_proto::UNREACHABLE;
use turnpike_proto::dial::DialError;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{
    NodeApplyResponse, NodeReassignResponse, NodeRecycleResponse, NodeShowResponse,
    NodeSuspenseResponse, Standing,
};
use turnpike_shares::Shares;
use turnpike_types::PartitionId;

use crate::chance::Chance;
use crate::routing::nodes::Nodes;
use crate::routing::routes::Routes;
use crate::routing::search::{NextTry, OwnerReply, OwnerSearch, OwnerTarget};
use crate::{FrontConfig, FrontError};

/// Reaches the owners of partitions.
pub(crate) struct Owners {
    pub(crate) config: FrontConfig,
    pub(crate) routes: Routes,
    pub(crate) nodes: Nodes,
    pub(crate) chance: Chance,
    /// Cancelled when the front abandons outstanding work.
    pub(crate) abort: CancellationToken,
}

/// An answer of a node that carries its standing: the verdict, and the epoch under which it was
/// given.
pub(crate) trait Answered {
    fn standing(&mut self) -> Option<Standing>;
}

macro_rules! answered {
    ($($answer:ty),+) => {
        $(impl Answered for $answer {
            fn standing(&mut self) -> Option<Standing> {
                self.standing.take()
            }
        })+
    };
}
answered!(
    NodeApplyResponse,
    NodeShowResponse,
    NodeSuspenseResponse,
    NodeRecycleResponse,
    NodeReassignResponse
);

/// The outcome of one attempt.
enum Tried<T> {
    Answer(T),
    /// The owner rejects the request as invalid.
    Refused(String),
    /// The next attempt may begin as `next` says, and not before `wait`.
    Again {
        next: NextTry,
        wait: Duration,
    },
}

/// The attempt failed without saying where the owner is.
fn failed<T>(search: &mut OwnerSearch, why: String) -> Tried<T> {
    search.failed(why);
    again(NextTry::AfterPause)
}

fn again<T>(next: NextTry) -> Tried<T> {
    Tried::Again { next, wait: Duration::ZERO }
}

impl Owners {
    /// Begins a search for the owner of `partition`.
    pub(crate) fn search(&self, partition: PartitionId) -> OwnerSearch {
        OwnerSearch::new(partition, self.config.suspicion())
    }

    /// A client for the node at `address`.
    pub(crate) fn client(&self, address: &str) -> Result<NodeServiceClient<Channel>, DialError> {
        self.nodes.client(address)
    }

    /// The room for sub-batches in flight to the node at `address`.
    pub(crate) fn room(&self, address: &str) -> Result<Arc<Shares>, DialError> {
        self.nodes.room(address)
    }

    /// The back-off after `failures` failed attempts in a row, with jitter: between half of the
    /// bound and the bound.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        self.chance.jitter(self.config.backoff(failures))
    }

    /// Sends a request to the owner of `partition`. After each failed attempt it requests fresh
    /// routes and retries, until the deadline.
    ///
    /// The request must be idempotent, because an answer can be lost after the request was carried
    /// out.
    ///
    /// # Errors
    /// [`FrontError::NoAnswer`] after the deadline, [`FrontError::Refused`] when the owner rejects
    /// the request as invalid, [`FrontError::ShuttingDown`].
    pub(crate) async fn ask<Req, Resp, Call, Fut>(
        &self,
        partition: PartitionId,
        request: Req,
        call: Call,
    ) -> Result<Resp, FrontError>
    where
        Req: Clone,
        Resp: Answered,
        Call: Fn(NodeServiceClient<Channel>, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        let within = self.config.answer_deadline();
        let deadline = Instant::now() + within;
        let mut search = self.search(partition);
        loop {
            let tried = tokio::select! {
                biased;
                () = self.abort.cancelled() => return Err(FrontError::ShuttingDown),
                tried = self.try_once(&mut search, &request, &call) => tried,
            };
            let wait = match tried {
                Tried::Answer(answer) => return Ok(answer),
                Tried::Refused(message) => return Err(FrontError::Refused { partition, message }),
                Tried::Again { next: NextTry::AtOnce, wait } => wait,
                Tried::Again { next: NextTry::AfterPause, wait } => {
                    wait.max(self.backoff(search.failures()))
                }
            };
            self.routes.hint_stale();
            metrics::counter!("turnpike_front_request_retries_total").increment(1);
            if Instant::now() + wait >= deadline {
                let last = search.last().to_owned();
                return Err(FrontError::NoAnswer { partition, within, last });
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_once<Req, Resp, Call, Fut>(
        &self,
        search: &mut OwnerSearch,
        request: &Req,
        call: &Call,
    ) -> Tried<Resp>
    where
        Req: Clone,
        Resp: Answered,
        Call: Fn(NodeServiceClient<Channel>, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Resp>, Status>>,
    {
        let Some(target) = search.target(&self.routes.table()) else {
            return again(NextTry::AfterPause);
        };
        let OwnerTarget { address, epoch, is_referred, complaint } = target;
        let mut request = Request::new(request.clone());
        request_id::add_to(request.metadata_mut());
        client::add_to(request.metadata_mut());
        // An owner that is tried again gets no complaint about itself.
        if let Some(epoch) = complaint.filter(|_| is_referred) {
            request.metadata_mut().insert(UNREACHABLE, MetadataValue::from(epoch));
        }
        let client = match self.client(&address) {
            Ok(client) => client,
            Err(error) => return failed(search, error.to_string()),
        };
        let partition = search.partition();
        let mut routes = self.routes.subscribe();
        let moved = routes.wait_for(|table| {
            table.route(partition).is_some_and(|route| {
                route.epoch > epoch && route.address.as_ref().is_some_and(|now| *now != address)
            })
        });
        let answer = tokio::select! {
            biased;
            answer = timeout(self.config.attempt(), call(client, request)) => answer,
            _ = moved => return failed(search, format!("the partition moved away from {address}")),
        };
        match answer {
            Err(_) => failed(search, format!("{address} did not answer")),
            Ok(Err(status)) if status.code() == Code::InvalidArgument => {
                Tried::Refused(status.message().to_owned())
            }
            Ok(Err(status)) => again(search.unreachable(&self.routes.table(), &address, &status)),
            Ok(Ok(answer)) => self.read(search, &address, answer.into_inner()),
        }
    }

    /// Decides by the standing of an answer.
    fn read<Resp: Answered>(
        &self,
        search: &mut OwnerSearch,
        address: &str,
        mut answer: Resp,
    ) -> Tried<Resp> {
        // Without a standing, an answer can't be read: the default names no kind of standing.
        let standing = answer.standing().unwrap_or_default();
        match search.read(&self.routes.table(), address, standing) {
            OwnerReply::Owner => Tried::Answer(answer),
            OwnerReply::Invalid(message) => Tried::Refused(message),
            OwnerReply::Stale { why, fresh } => again(search.stale(address, why, fresh)),
            OwnerReply::Overloaded { why, wait } => {
                search.failed(why);
                Tried::Again { next: NextTry::AfterPause, wait }
            }
            OwnerReply::Unreadable(why) => failed(search, why),
        }
    }
}
