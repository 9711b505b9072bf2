//! Random processes die at random times.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Scenario, Size, USUAL};

pub(super) const KILLS: Scenario = Scenario {
    name: "kills",
    help: "kills (SIGKILL) random nodes and fronts at random times, also both nodes at once",
    holds: "no record is lost or doubled, for any number of kills (try --repeat 200)",
    proves: "I1 I2 I3 I5 I7, P1 P2 P5 P11 P17 P30",
    needs: Needs::Anything,
    harmless: false,
    guarantee: Guarantee::Exactly,
    targets: &[],
    size: Size { repeat: 20, ..USUAL },
    layout: || ClusterLayout { fronts: 2, ..ClusterLayout::default() },
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    world.steady().await?;
    let mut down: Vec<String> = Vec::new();
    for _ in 0..world.repeat() {
        // Usually one process is down at a time. Sometimes the next process is killed before the
        // last one was started again.
        if down.len() > 1 || (!down.is_empty() && world.draw(0..4) > 0) {
            for name in down.drain(..) {
                world.cluster.start_again(&name).await?;
            }
        }
        let up: Vec<String> =
            world.cluster.all().into_iter().filter(|name| world.cluster.is_running(name)).collect();
        let drawn = world.draw(0..up.len());
        let Some(victim) = up.get(drawn) else { continue };
        // A front serves clients that send records for every partition.
        let is_node = world.cluster.nodes().contains(victim);
        let touched = if is_node { world.owned_by(victim) } else { world.partitions() };
        world.cluster.kill(victim)?;
        world.fault(format!("kill -9 {victim}"), touched, PauseMeasure::FromFault);
        down.push(victim.clone());
        world.pass_by_chance(50..1_500).await;
    }
    for name in down {
        world.cluster.start_again(&name).await?;
    }
    world.ends();
    world.pass(Duration::from_millis(100)).await;
    world.steady().await
}
