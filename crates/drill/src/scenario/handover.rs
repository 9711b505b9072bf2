//! Planned changes of owners, by an operator. Clients must not see an error.

use anyhow::{Context as _, Result};
use turnpike_proto::cluster::v1::{DrainRequest, HandoverRequest};

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::undo::OperatorRequest;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Size, Target, USUAL};

pub(super) const HANDOVER: Scenario = Scenario {
    name: "handover",
    help: "requests the handover of a partition from its owner to its standby (turnpike handover)",
    holds: "requests are delayed, none is refused, and no client sees an error",
    proves: "I1 I2 I3 I7, P13",
    needs: Needs::Anything,
    harmless: true,
    guarantee: Guarantee::NoErrorSeen,
    targets: &[Target { of: Quantile::P99, millis: 50.0 }],
    size: Size { repeat: 20, ..USUAL },
    layout: ClusterLayout::default,
    run: |world| Box::pin(handover(world)),
};

pub(super) const DRAIN: Scenario = Scenario {
    name: "drain",
    help: "drains a node (turnpike drain), then lets it claim its partitions again",
    holds: "requests are delayed, none is refused, and no client sees an error",
    proves: "I1 I2 I3 I7, P13 P14",
    needs: Needs::Anything,
    harmless: true,
    guarantee: Guarantee::NoErrorSeen,
    targets: &[Target { of: Quantile::P99, millis: 50.0 }],
    size: Size { repeat: 5, ..USUAL },
    layout: ClusterLayout::default,
    run: |world| Box::pin(drain(world)),
};

/// The time limit of a handover request: a request that remains after the drill expires soon.
const WISH_MS: u64 = 120_000;

async fn handover(world: &mut World) -> Result<()> {
    let mut wished = Vec::new();
    for _ in 0..world.repeat() {
        world.steady().await?;
        let (partition, to) = world.some_standby().context("no partition has a warm standby")?;
        world.fault(format!("{partition} to {to}"), vec![partition], PauseMeasure::LongestWait);
        let request = HandoverRequest { partition, to: to.clone(), for_ms: WISH_MS };
        world.undo.note(OperatorRequest::Pin(partition));
        world.operator().handover(request).await?;
        world.owned(&[partition], |owner| owner == to).await?;
        let since = world.ends();
        world.served_since(since).await?;
        wished.push(partition);
    }
    wished.sort_unstable();
    wished.dedup();
    for partition in wished {
        // Cancel the request, so that the members' priorities determine the owner again.
        let request = HandoverRequest { partition, ..HandoverRequest::default() };
        world.operator().handover(request).await?;
        world.undo.undone(&OperatorRequest::Pin(partition));
    }
    world.steady().await
}

async fn drain(world: &mut World) -> Result<()> {
    for _ in 0..world.repeat() {
        world.steady().await?;
        let node = world.some_owner().context("no node owns a partition")?;
        let partitions = world.owned_by(&node);
        world.fault(format!("drain {node}"), partitions.clone(), PauseMeasure::LongestWait);
        let mut request = DrainRequest { node: node.clone(), drained: true };
        let in_force = OperatorRequest::Drain(node.clone());
        world.undo.note(in_force.clone());
        world.operator().drain(request.clone()).await?;
        let emptied = world.owned(&partitions, |owner| owner != node).await;
        let since = world.ends();
        request.drained = false;
        world.operator().drain(request).await?;
        world.undo.undone(&in_force);
        emptied?;
        world.served_since(since).await?;
    }
    world.steady().await
}
