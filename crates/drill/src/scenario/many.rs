//! A node with very many partitions dies.

use anyhow::Result;

use crate::cluster::ClusterLayout;
use crate::world::World;

use super::crash::kill_and_restart;
use super::{Guarantee, Needs, Quantile, Scenario, Size, Target};

pub(super) const MANY_PARTITIONS: Scenario = Scenario {
    name: "many-partitions",
    help: "kills the node that owns all of 1,000 partitions",
    holds: "its standby serves every one of them within 2 s",
    proves: "I1 I2 I3 I7, P15 P20",
    needs: Needs::Connections,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::Max, millis: 2_000.0 }],
    size: Size { repeat: 1, partitions: 1_000, accounts: 2_000, rate: 1.0, batch_records: 4 },
    layout: || ClusterLayout { first_owns_all: true, ..ClusterLayout::default() },
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    for _ in 0..world.repeat() {
        world.steady().await?;
        let victim = world.some_owner().unwrap_or_else(|| "a".to_owned());
        kill_and_restart(world, &victim).await?;
    }
    world.steady().await
}
