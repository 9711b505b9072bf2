//! A node that dies again soon after each restart.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Size, Target, USUAL};

pub(super) const FLAPPING: Scenario = Scenario {
    name: "flapping",
    help: "kills the preferred node of all partitions every 2.5 to 4 s, soon after its restart",
    holds: "the standby keeps the partitions: a node gets them back only after it was alive for a minimum time",
    proves: "I1 I2 I3 I7, P14",
    needs: Needs::Anything,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::P99, millis: 500.0 }],
    size: Size { repeat: 8, ..USUAL },
    layout: || ClusterLayout { first_owns_all: true, ..ClusterLayout::default() },
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    world.steady().await?;
    for _ in 0..world.repeat() {
        let partitions = world.owned_by("a");
        world.cluster.kill("a")?;
        world.fault("kill -9 a".to_owned(), partitions, PauseMeasure::FromFault);
        world.pass(Duration::from_millis(500)).await;
        world.cluster.start_again("a").await?;
        world.ends();
        world.pass_by_chance(2_000..3_500).await;
    }
    world.steady().await
}
