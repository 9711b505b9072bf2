//! Every process is restarted, one after the other, as in an upgrade.

use anyhow::Result;

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Size, Target, USUAL};

pub(super) const ROLLING_RESTART: Scenario = Scenario {
    name: "rolling-restart",
    help: "stops (SIGTERM) and starts each of two nodes and two fronts in turn, as an upgrade does",
    holds: "no record is refused; a client of a front that stops continues with the other front",
    proves: "I1 I2 I3 I5 I7, P13 P14",
    needs: Needs::Anything,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::P99, millis: 500.0 }],
    size: Size { repeat: 2, ..USUAL },
    layout: || ClusterLayout { fronts: 2, ..ClusterLayout::default() },
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    for _ in 0..world.repeat() {
        for name in world.cluster.all() {
            world.steady().await?;
            let owned = world.owned_by(&name);
            // A front owns no partition, but half of the clients, whose records go to every
            // partition.
            let touched = if owned.is_empty() { world.partitions() } else { owned };
            world.fault(format!("restart {name}"), touched, PauseMeasure::LongestWait);
            world.cluster.stop(&name).await?;
            world.cluster.start_again(&name).await?;
            world.ends();
        }
    }
    world.steady().await
}
