//! Cuts the network between two parts of the cluster, in one direction or both.

use std::time::Duration;

use anyhow::{Context as _, Result};
use turnpike_harness::proxy::{Direction, Flow, Proxy};

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Size, Target, USUAL};

/// The ways to cut a connection: the directions, and whether bytes in flight arrive later (as after
/// a short cut, when TCP retransmits) or never.
const WAYS: [(&str, &[Direction], Flow); 6] = [
    ("both ways", &Direction::BOTH, Flow::Vanish),
    ("towards the server", &[Direction::ToServer], Flow::Vanish),
    ("towards the client", &[Direction::ToClient], Flow::Vanish),
    ("both ways, late", &Direction::BOTH, Flow::Hold),
    ("towards the server, late", &[Direction::ToServer], Flow::Hold),
    ("towards the client, late", &[Direction::ToClient], Flow::Hold),
];
/// The duration of a cut: long enough for a takeover, and shorter than TCP time-outs.
const LASTS: Duration = Duration::from_secs(3);

const fn scenario(name: &'static str, needs: Needs) -> Scenario {
    Scenario {
        name,
        help: "",
        holds: "",
        proves: "",
        needs,
        harmless: false,
        guarantee: Guarantee::NothingRefused,
        targets: &[],
        size: Size { repeat: 6, ..USUAL },
        layout: || ClusterLayout { proxies: true, ..ClusterLayout::default() },
        run: |_| Box::pin(async { Ok(()) }),
    }
}

/// Cuts between a node and the database.
pub(super) const NODE_DATABASE: Scenario = Scenario {
    help: "cuts a node off from the database for 3 s: in both directions, in one, with late arrival",
    holds: "its standby takes over when its heartbeat is overdue; its late appends are fenced",
    proves: "I1 I2 I3 I6 I7, P1 P2 P3 P9 P10 P17",
    targets: &[Target { of: Quantile::P99, millis: 1_500.0 }],
    run: |world| Box::pin(node_database(world)),
    ..scenario("cut-node-database", Needs::Connections)
};

/// Cuts between a node and the processes that connect to it.
pub(super) const FRONT_NODE: Scenario = Scenario {
    help: "cuts a node off from fronts and other nodes for 3 s, but not from the database",
    holds: "the front reports this to the standby, which takes over because it can't reach the node either",
    proves: "I1 I2 I3 I7, P15 P16 P30",
    targets: &[Target { of: Quantile::P99, millis: 1_500.0 }],
    run: |world| Box::pin(front_node(world)),
    ..scenario("cut-front-node", Needs::Anything)
};

/// Cuts between a front and the database.
pub(super) const FRONT_DATABASE: Scenario = Scenario {
    help: "cuts a front off from the database for 3 s",
    holds: "the front continues with its last routing table",
    proves: "I1 I2 I7",
    targets: &[Target { of: Quantile::P99, millis: 1_500.0 }],
    run: |world| Box::pin(front_database(world)),
    ..scenario("cut-front-database", Needs::Connections)
};

/// Cuts between the clients and a front.
pub(super) const CLIENT_FRONT: Scenario = Scenario {
    help: "cuts the clients off from their only front for 3 s",
    holds: "no record is lost or doubled; service resumes within 1 s after the cut (the pause counts from its end)",
    proves: "I1 I2 I5 I7, P30 P31",
    targets: &[Target { of: Quantile::Max, millis: 1_000.0 }],
    run: |world| Box::pin(client_front(world)),
    ..scenario("cut-client-front", Needs::Anything)
};

async fn node_database(world: &mut World) -> Result<()> {
    for round in 0..world.repeat() {
        world.steady().await?;
        let node = world.some_owner().context("no node owns a partition")?;
        let partitions = world.owned_by(&node);
        let edge = Edge {
            what: format!("{node} -/- database"),
            partitions,
            measure: PauseMeasure::FromFault,
        };
        edge.cut(world, round, |world| world.cluster.database_edge(&node)).await?;
    }
    world.steady().await
}

async fn front_node(world: &mut World) -> Result<()> {
    for round in 0..world.repeat() {
        world.steady().await?;
        let node = world.some_owner().context("no node owns a partition")?;
        let partitions = world.owned_by(&node);
        let edge = Edge {
            what: format!("front -/- {node}"),
            partitions,
            measure: PauseMeasure::FromFault,
        };
        edge.cut(world, round, |world| world.cluster.incoming_proxy(&node)).await?;
    }
    world.steady().await
}

async fn front_database(world: &mut World) -> Result<()> {
    for round in 0..world.repeat() {
        world.steady().await?;
        let partitions = world.partitions();
        let what = "front-1 -/- database".to_owned();
        let edge = Edge { what, partitions, measure: PauseMeasure::LongestWait };
        edge.cut(world, round, |world| world.cluster.database_edge("front-1")).await?;
    }
    world.steady().await
}

async fn client_front(world: &mut World) -> Result<()> {
    for round in 0..world.repeat() {
        world.steady().await?;
        let partitions = world.partitions();
        let what = "clients -/- front-1".to_owned();
        let edge = Edge { what, partitions, measure: PauseMeasure::FromEnd };
        edge.cut(world, round, |world| world.cluster.incoming_proxy("front-1")).await?;
    }
    world.steady().await
}

/// The connection to cut.
struct Edge {
    what: String,
    partitions: Vec<u32>,
    measure: PauseMeasure,
}

impl Edge {
    async fn cut<P>(self, world: &mut World, round: u32, proxy: P) -> Result<()>
    where
        P: Fn(&mut World) -> Result<&Proxy>,
    {
        let (way, directions, flow) = WAYS[round as usize % WAYS.len()];
        let cut = proxy(world)?;
        directions.iter().for_each(|direction| cut.set(*direction, flow));
        world.fault(format!("{} {way}", self.what), self.partitions, self.measure);
        world.pass(LASTS).await;
        proxy(world)?.set_both(Flow::Pass);
        let healed = world.ends();
        world.served_since(healed).await
    }
}
