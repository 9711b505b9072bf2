//! The database commits an append, and its answer is lost.

use anyhow::{Context as _, Result, ensure};

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Target, USUAL};

pub(super) const LOST_ANSWER: Scenario = Scenario {
    name: "lost-answer",
    help: "lets an append commit in the database and cuts the connection instead of the answer",
    holds: "the owner claims again and reads the outcome of the append; committed records are not rated again",
    proves: "I1 I2 I3 I5, P2 P5 P31",
    needs: Needs::Connections,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::P99, millis: 500.0 }],
    size: USUAL,
    layout: || ClusterLayout { proxies: true, ..ClusterLayout::default() },
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    let mut lost = 0;
    for _ in 0..world.repeat() {
        world.steady().await?;
        let node = world.some_owner().context("no node owns a partition")?;
        let partitions = world.owned_by(&node);
        let proxy = world.cluster.database_edge(&node)?;
        let before = proxy.answers_lost();
        proxy.lose_answers("INSERT INTO segments", 1);
        let at = world.fault(format!("{node}: answer lost"), partitions, PauseMeasure::LongestWait);
        world.served_since(at + 200_000).await?;
        lost += world.cluster.database_edge(&node)?.answers_lost() - before;
        world.ends();
    }
    ensure!(lost > 0, "no answer was lost: is the database connection unencrypted?");
    world.steady().await
}
