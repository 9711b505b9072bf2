//! The database stops and starts again.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Size, Target, USUAL};

pub(super) const DATABASE_RESTART: Scenario = Scenario {
    name: "database-restart",
    help: "ends the database server without a shutdown, and starts it again up to 3 s later",
    holds: "no acknowledged record is lost; service resumes within 1 s after the restart (the pause counts from it)",
    proves: "I1 I2 I3 I7, P2 P10 P19",
    needs: Needs::OurServer,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::Max, millis: 1_000.0 }],
    size: Size { repeat: 5, ..USUAL },
    layout: ClusterLayout::default,
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    for round in 0..world.repeat() {
        world.steady().await?;
        let partitions = world.partitions();
        world.fault("database down".to_owned(), partitions, PauseMeasure::FromEnd);
        world.restart_database(Duration::from_millis(750) * (round % 5)).await?;
        let back = world.ends();
        world.served_since(back).await?;
    }
    world.steady().await
}
