//! A node dies without a warm replica of its partitions.

use anyhow::{Context as _, Result};

use crate::cluster::ClusterLayout;
use crate::world::World;

use super::crash::kill_and_restart;
use super::{Guarantee, Needs, Quantile, Scenario, Size, Target, USUAL};

pub(super) const COLD: Scenario = Scenario {
    name: "cold",
    help: "kills a node with 1,000,000 accounts of which no member keeps a warm replica",
    holds: "another member loads the newest checkpoint and the log's tail, and serves within 5 s",
    proves: "I1 I2 I3 I4 I7, P11 P22",
    needs: Needs::Anything,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::Max, millis: 5_000.0 }],
    size: Size { repeat: 3, accounts: 1_000_000, ..USUAL },
    layout: || ClusterLayout { warm_standbys: 0, ..ClusterLayout::default() },
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    for _ in 0..world.repeat() {
        world.steady().await?;
        let victim = world.some_owner().context("no node owns a partition")?;
        kill_and_restart(world, &victim).await?;
    }
    world.steady().await
}
