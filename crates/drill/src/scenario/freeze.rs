//! A node freezes and resumes.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cluster::ClusterLayout;
use crate::pause::PauseMeasure;
use crate::world::World;

use super::{Guarantee, Needs, Quantile, Scenario, Target, USUAL};

pub(super) const FREEZE: Scenario = Scenario {
    name: "freeze",
    help: "freezes (SIGSTOP) a node that owns partitions, and resumes it (SIGCONT) 3 s later",
    holds: "its standby takes over when its heartbeat is overdue; after it resumes it is fenced, and answers nothing",
    proves: "I1 I2 I3 I6 I7, P1 P9 P10 P17",
    // A process that is frozen during a write keeps the lock of SQLite (P7).
    needs: Needs::Connections,
    harmless: false,
    guarantee: Guarantee::NothingRefused,
    targets: &[Target { of: Quantile::P99, millis: 1_500.0 }],
    size: super::Size { repeat: 6, ..USUAL },
    layout: ClusterLayout::default,
    run: |world| Box::pin(run(world)),
};

async fn run(world: &mut World) -> Result<()> {
    for _ in 0..world.repeat() {
        world.steady().await?;
        let victim = world.some_owner().context("no node owns a partition")?;
        let partitions = world.owned_by(&victim);
        world.cluster.freeze(&victim)?;
        let at = world.fault(format!("freeze {victim}"), partitions, PauseMeasure::FromFault);
        world.pass(Duration::from_secs(3)).await;
        let served = world.served_since(at).await;
        world.cluster.resume(&victim)?;
        world.ends();
        served?;
    }
    world.steady().await
}
