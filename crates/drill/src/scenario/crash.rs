//! A node dies.

use anyhow::{Context as _, Result};

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Target, USUAL};

pub(super) const CRASH: Scenario = Scenario {
    name: "crash",
    help: "kills (SIGKILL) a node that owns partitions, and starts it again",
    holds: "its standby takes them over at once with its warm replica",
    proves: "I1 I2 I3 I7, P1 P2 P11 P15",
    needs: Needs::Anything,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[
        Target { of: Quantile::P50, millis: 100.0 },
        Target { of: Quantile::P99, millis: 500.0 },
    ],
    size: USUAL,
    layout: ClusterLayout::default,
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

/// Kills a node, waits until its partitions are served, and starts it again.
pub(super) async fn kill_and_restart(world: &mut World, victim: &str) -> Result<()> {
    let partitions = world.owned_by(victim);
    world.cluster.kill(victim)?;
    let at = world.fault(format!("kill -9 {victim}"), partitions, PauseMeasure::FromFault);
    world.served_since(at).await?;
    world.cluster.start_again(victim).await?;
    world.ends();
    Ok(())
}
