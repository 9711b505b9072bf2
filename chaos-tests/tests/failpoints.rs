//! I1 to I4 hold under clients that retry when a process ends, is delayed, or gets an error at any
//! step of receiving, rating, appending, acknowledging, checkpointing, claiming and releasing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::failpoints_support;

use std::time::Duration;

use anyhow::{Context as _, Result};
use failpoints_support::{Load, World};
use turnpike_store::failpoint::Step;

/// The process that fails, and the work by which it reaches the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The front, which reaches the step with each batch.
    Front,
    /// The owner, which reaches the step while it processes records. It passes the step this number
    /// of times before it fails.
    Owner(u32),
    /// The claimant, which reaches the step when it becomes the owner.
    Claimant,
    /// The owner, which reaches the step when it releases its partitions.
    Releaser,
}

const fn victim(step: Step) -> Victim {
    match step {
        Step::FrontReceived => Victim::Front,
        Step::NodeAdmitted | Step::Rated => Victim::Owner(20),
        Step::AppendBefore | Step::AppendCommitted => Victim::Owner(15),
        Step::AnswerBefore | Step::AnswerAfter => Victim::Owner(10),
        Step::CheckpointBefore | Step::CheckpointParts | Step::CheckpointPublished => {
            Victim::Owner(1)
        }
        Step::ClaimBefore | Step::ClaimWon | Step::ClaimLoaded => Victim::Claimant,
        Step::ReleaseBefore | Step::ReleaseDone => Victim::Releaser,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_to_i4_hold_when_a_process_ends_at_any_step() -> Result<()> {
    at_every_step("abort").await
}

// This test takes longest. Tests start in alphabetical order, so its name must not come last:
// otherwise it would run alone at the end.
#[tokio::test(flavor = "multi_thread")]
async fn i1_to_i4_hold_when_a_step_takes_longer_than_an_owner_may_be_silent() -> Result<()> {
    at_every_step("sleep").await
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_to_i4_hold_when_any_step_fails() -> Result<()> {
    at_every_step("error").await
}

async fn at_every_step(action: &str) -> Result<()> {
    let _beside = crate::beside().await;
    let seed = std::env::var("TURNPIKE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let mut world = World::start().await?;
    let load = Load::start(&world.front(), seed);
    for &step in Step::ALL {
        let began = tokio::time::Instant::now();
        let at = || format!("{action} at {}", step.word());
        fail(&mut world, step, action).await.with_context(at)?;
        let hit = tokio::time::Instant::now();
        world.recover(victim(step) == Victim::Front).await.with_context(at)?;
        load.goes_on().await.with_context(|| format!("{}{}", at(), world.logs()))?;
        if action == "sleep" {
            // Wait until the delayed process continues, so that only one process fails at a time.
            tokio::time::sleep_until(hit + Duration::from_millis(3_100)).await;
        }
        println!("{}: {:?}, then {:?}", at(), hit - began, hit.elapsed());
    }
    let sent = load.stop().await?;
    world.check(&sent).await
}

/// Makes one process fail at a step, once.
async fn fail(world: &mut World, step: Step, action: &str) -> Result<()> {
    let (word, victim) = (step.word(), victim(step));
    let before = if let Victim::Owner(times) = victim { times } else { 0 };
    let off = if before > 0 { format!("{before}*off->") } else { String::new() };
    let failpoint = format!("{word}={off}1*return({action})");
    match victim {
        Victim::Front => {
            world.start_anew("front", &failpoint).await?;
            world.wait_for("front", word).await
        }
        Victim::Owner(_) | Victim::Claimant => {
            world.wish_owner("a").await?;
            world.start_anew("a", &failpoint).await?;
            world.wait_for("a", word).await
        }
        Victim::Releaser => {
            world.wish_owner("a").await?;
            let before = world.epochs().await?;
            world.start_anew("a", &failpoint).await?;
            world.wait_for_owner("a", &before).await?;
            world.wish_owner("b").await?;
            world.wait_for("a", word).await
        }
    }
}
