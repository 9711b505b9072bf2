//! The cluster service: the state of the cluster as of the last read of the shared database, and
//! the operators' requests to move partitions and drain nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use turnpike_access::Actor;
use turnpike_access::audit::{Action, Intent};
use turnpike_proto::cluster::v1::cluster_service_server::ClusterService;
use turnpike_proto::cluster::v1::{
    DrainRequest, DrainResponse, ForgetRequest, ForgetResponse, HandoverRequest, HandoverResponse,
    StatusRequest, StatusResponse,
};
use turnpike_store::PinOutcome;
use turnpike_types::{NodeName, PartitionId, text};

use crate::FrontError;
use crate::core::Core;
use crate::routing::status::status;
use crate::services::audited::audited;

/// The gRPC service `ClusterService`.
pub struct ClusterApi {
    core: Arc<Core>,
}

impl ClusterApi {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        Ok(Response::new(status(self.core.config.suspicion(), &table)))
    }

    async fn handover(
        &self,
        request: Request<HandoverRequest>,
    ) -> Result<Response<HandoverResponse>, Status> {
        let actor = Actor::of(&request);
        let HandoverRequest { partition, to, for_ms } = request.into_inner();
        let member = named(to)?;
        let within = if for_ms == 0 { PIN_DEFAULT } else { Duration::from_millis(for_ms) };
        if within > PIN_MAX {
            let most = PIN_MAX.as_secs() / 86_400;
            Err(FrontError::Invalid(format!(
                "a handover request can pin a partition for at most {most} days"
            )))?;
        }
        let pin = (!member.0.is_empty()).then_some((&member, within));
        let what = match pin {
            Some((member, within)) => format!("pinned to node {member} for {within:?}"),
            None => "pin removed".to_owned(),
        };
        let intent = Intent::of(format!("partition {partition}")).with(what);
        audited(&self.core, &actor, Action::PartitionPin, &intent, async {
            match self.core.db.pin(PartitionId(partition), pin).await? {
                PinOutcome::Pinned => Ok(()),
                PinOutcome::NotAMember => Err(FrontError::Conflict(format!(
                    "node {member} is not a member of partition {partition}"
                ))),
                PinOutcome::NoSuchPartition => {
                    Err(FrontError::NotFound(format!("partition {partition} does not exist")))
                }
            }
        })
        .await?;
        self.core.routes.hint_stale();
        Ok(Response::new(HandoverResponse {}))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        let actor = Actor::of(&request);
        let DrainRequest { node, drained } = request.into_inner();
        let node = named(node)?;
        let what = if drained { "drained" } else { "drain ended" };
        let intent = Intent::of(format!("node {node}")).with(what);
        audited(&self.core, &actor, Action::NodeDrain, &intent, async {
            if self.core.db.set_drained(&node, drained).await? {
                return Ok(());
            }
            Err(FrontError::NotFound(format!(
                "node {node} is not known: no node of this name has written a heartbeat"
            )))
        })
        .await?;
        self.core.routes.hint_stale();
        Ok(Response::new(DrainResponse {}))
    }

    async fn forget(
        &self,
        request: Request<ForgetRequest>,
    ) -> Result<Response<ForgetResponse>, Status> {
        let actor = Actor::of(&request);
        let node = named(request.into_inner().node)?;
        let intent = Intent::of(format!("node {node}"));
        audited(&self.core, &actor, Action::NodeForget, &intent, async {
            if self.core.db.forget_node(&node).await? {
                return Ok(());
            }
            Err(FrontError::Conflict(format!(
                "node {node} is not known, or wrote a heartbeat within the last minute: only a \
                 stopped node can be forgotten"
            )))
        })
        .await?;
        self.core.routes.hint_stale();
        Ok(Response::new(ForgetResponse {}))
    }
}

/// The node of this name, which may be empty.
fn named(name: String) -> Result<NodeName, FrontError> {
    text::NODE.check(&name).map_err(|why| FrontError::Invalid(why.to_string()))?;
    Ok(NodeName(name))
}

/// How long a pin holds when the request gives no duration.
const PIN_DEFAULT: Duration = Duration::from_secs(3_600);
/// The longest duration of a pin. For a longer preference, change the priorities.
const PIN_MAX: Duration = Duration::from_secs(30 * 86_400);
