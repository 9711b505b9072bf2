//! The state of the cluster, as the last reading of the shared database shows it.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use turnpike_proto::cluster::v1::cluster_service_server::ClusterService;
use turnpike_proto::cluster::v1::{Member, Node, Partition, StatusRequest, StatusResponse};
use turnpike_store::{NodeRow, PartitionRow, Serving};

use crate::FrontError;
use crate::core::Core;
use crate::routes::RouteTable;

/// The gRPC service.
pub struct Cluster {
    core: Arc<Core>,
}

impl Cluster {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        Ok(Response::new(status(&self.core, &table)))
    }
}

fn status(core: &Core, table: &RouteTable) -> StatusResponse {
    let seen = &table.observation;
    let nodes: Vec<(&NodeRow, Node)> = seen
        .nodes
        .iter()
        .zip(&table.silent)
        .map(|(row, silent)| {
            let beat = &row.beat;
            let node = Node {
                name: beat.node.to_string(),
                address: beat.address.clone(),
                incarnation: beat.incarnation.to_string(),
                silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
                live: *silent < core.config.suspicion(),
                draining: beat.draining,
                serving: beat.serving.iter().map(|serving| serving.partition.0).collect(),
            };
            (row, node)
        })
        .collect();
    StatusResponse {
        partitions: seen.partitions.iter().map(|row| partition(row, &nodes)).collect(),
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        catalogue_version: seen.catalogue_version,
    }
}

fn partition(row: &PartitionRow, nodes: &[(&NodeRow, Node)]) -> Partition {
    let spec = &row.spec;
    let serving = Serving { partition: spec.id, epoch: row.epoch, claim: row.claim };
    let served = row.owner.as_ref().is_some_and(|(owner, incarnation)| {
        nodes.iter().any(|(node, shown)| {
            let beat = &node.beat;
            shown.live
                && (&beat.node, beat.incarnation) == (owner, *incarnation)
                && beat.serving.contains(&serving)
        })
    });
    Partition {
        id: spec.id.0,
        first_account: spec.range.first().0,
        last_account: spec.range.last().0,
        epoch: row.epoch.number(),
        owner: row.owner.as_ref().map(|(owner, _)| owner.to_string()).unwrap_or_default(),
        served,
        last_segment: row.next.next.0.saturating_sub(1),
        members: spec
            .members
            .iter()
            .map(|member| Member { node: member.node.to_string(), priority: member.priority.0 })
            .collect(),
    }
}
