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
use turnpike_store::{Observation, PinOutcome};
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

    /// Refuses a request in which `fault` finds a fault, before it has an entry in the audit log. What
    /// the last read of the shared database does not show may be newer: it is looked for again in one
    /// that begins now. If there is none in time, the database decides.
    async fn check(
        &self,
        fault: impl Fn(&Observation) -> Option<FrontError>,
    ) -> Result<(), FrontError> {
        self.core.enter()?;
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        if fault(&table.observation).is_none() {
            return Ok(());
        }
        let mut tables = self.core.routes.subscribe();
        for read in 1..=2 {
            // The read that is under way now may have begun too early.
            self.core.routes.hint_stale();
            let newer = tables.wait_for(|newer| newer.generation >= table.generation + read);
            let Ok(Ok(newer)) = tokio::time::timeout_at(wait, newer).await else { return Ok(()) };
            let fault = fault(&newer.observation);
            match fault {
                None => return Ok(()),
                Some(fault) if read == 2 => return Err(fault),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn pin_fault(seen: &Observation, partition: PartitionId, member: &NodeName) -> Option<FrontError> {
    let Some(row) = seen.partition(partition) else { return Some(no_partition(partition)) };
    let is_member = row.spec.members.iter().any(|other| other.node == *member);
    (!member.0.is_empty() && !is_member).then(|| not_a_member(partition, member))
}

fn node_fault(seen: &Observation, node: &NodeName) -> Option<FrontError> {
    let is_known = seen.nodes.iter().any(|row| row.beat.node == *node);
    (!is_known).then(|| unknown_node(node))
}

fn not_a_member(partition: PartitionId, member: &NodeName) -> FrontError {
    FrontError::Conflict(format!("node {member} is not a member of partition {partition}"))
}

fn no_partition(partition: PartitionId) -> FrontError {
    FrontError::NotFound(format!("partition {partition} does not exist"))
}

fn unknown_node(node: &NodeName) -> FrontError {
    FrontError::NotFound(format!(
        "node {node} is not known: no node of this name has written a heartbeat"
    ))
}

fn cannot_forget(node: &NodeName) -> FrontError {
    FrontError::Conflict(format!(
        "node {node} is not known, or wrote a heartbeat within the last minute: only a stopped node \
         can be forgotten"
    ))
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
        let what = match member.0.is_empty() {
            false => format!("pinned to node {member} for {within:?}"),
            true => "pin removed".to_owned(),
        };
        let partition = PartitionId(partition);
        let find = |seen: &Observation| pin_fault(seen, partition, &member);
        self.check(find).await?;
        let intent = Intent::of(format!("partition {partition}")).with(what);
        let core = Arc::clone(&self.core);
        audited(&self.core, &actor, Action::PartitionPin, intent, async move {
            let pin = (!member.0.is_empty()).then_some((&member, within));
            match core.db.pin(partition, pin).await? {
                PinOutcome::Pinned => {
                    core.routes.hint_stale();
                    Ok(())
                }
                PinOutcome::NotAMember => Err(not_a_member(partition, &member)),
                PinOutcome::NoSuchPartition => Err(no_partition(partition)),
            }
        })
        .await?;
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
        self.check(|seen| node_fault(seen, &node)).await?;
        let intent = Intent::of(format!("node {node}")).with(what);
        let core = Arc::clone(&self.core);
        audited(&self.core, &actor, Action::NodeDrain, intent, async move {
            if core.db.set_drained(&node, drained).await? {
                core.routes.hint_stale();
                return Ok(());
            }
            Err(unknown_node(&node))
        })
        .await?;
        Ok(Response::new(DrainResponse {}))
    }

    async fn forget(
        &self,
        request: Request<ForgetRequest>,
    ) -> Result<Response<ForgetResponse>, Status> {
        let actor = Actor::of(&request);
        let node = named(request.into_inner().node)?;
        self.check(|seen| node_fault(seen, &node).map(|_| cannot_forget(&node))).await?;
        let intent = Intent::of(format!("node {node}"));
        let core = Arc::clone(&self.core);
        audited(&self.core, &actor, Action::NodeForget, intent, async move {
            if core.db.forget_node(&node).await? {
                core.routes.hint_stale();
                return Ok(());
            }
            Err(cannot_forget(&node))
        })
        .await?;
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
