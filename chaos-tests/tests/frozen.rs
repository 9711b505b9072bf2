//! Tests that an owner that is stopped (SIGSTOP), and continues after a takeover, gives no answer
//! from its old state (I6). The tests send every RPC of a node, before, during and after the stop.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::frozen_support;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos_tests::asked::{Answer, Rpc, TestPartition, answer_to, record, sub_batch};
use frozen_support::{Asked, World};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use turnpike_harness::proxy::{Direction, Flow};
use turnpike_proto::frame::SubBatchFrame;
use turnpike_proto::node::v1::SubBatchAnswer;

#[test]
fn every_rpc_of_a_node_is_tried() -> Result<()> {
    let files = prost_types::FileDescriptorSet::decode(turnpike_proto::DESCRIPTORS)?.file;
    let node = files.iter().find(|file| file.package() == "turnpike.node.v1");
    let services = node.context("there is no such package")?.service.iter();
    let methods: Vec<&str> =
        services.flat_map(|service| &service.method).map(|method| method.name()).collect();
    let tried: Vec<String> = Rpc::ALL.iter().map(|rpc| format!("{rpc:?}")).collect();
    assert_eq!(methods, tried, "add what is missing to `Rpc`");
    Ok(())
}

/// When node A is stopped, its last statements have not reached the database.
#[tokio::test(flavor = "multi_thread")]
async fn records_not_appended_before_the_freeze_are_not_answered_after_it() -> Result<()> {
    freeze_and_wake(Direction::ToServer).await
}

/// When node A is stopped, its last statements have committed, but the answers have not reached A.
#[tokio::test(flavor = "multi_thread")]
async fn requests_after_the_freeze_are_not_answered_from_the_old_state() -> Result<()> {
    freeze_and_wake(Direction::ToClient).await
}

/// Sends every RPC to node A, directly and through the front, at several moments: before the
/// freeze, while A's connection to the database is held in one direction, so that no request is
/// answered; while A and the front are stopped, before and after node B takes over and changes the
/// state of every partition; right after A and the front continue; and a moment later.
async fn freeze_and_wake(held: Direction) -> Result<()> {
    let _alone = crate::alone().await;
    let world = World::start().await?;
    let mut old_stream = OldStream::open(&world).await?;
    world.serves_everything("before").await?;

    let mut asked = Asked::default();
    world.proxy_of_a.set(held, Flow::Hold);
    old_stream.send("just before").await?;
    asked.everywhere(&world, "just before the freeze");
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.freeze()?;
    old_stream.send("stopped").await?;
    asked.everywhere(&world, "while it is stopped");
    let epochs = world.b_takes_over_and_changes_everything().await?;
    asked.everywhere(&world, "while it is stopped, after B's changes");
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The held bytes arrive at the database or at A now. The statements of A are fenced.
    world.proxy_of_a.set(held, Flow::Pass);
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.wake()?;
    old_stream.send("woken").await?;
    asked.everywhere(&world, "right after it wakes");
    tokio::time::sleep(Duration::from_millis(300)).await;
    asked.everywhere(&world, "a moment later");

    let mut answers = asked.answers().await?;
    println!("{}", answers.summary());
    ensure!(answers.refused() > 0, "A refused nothing: no request met its old state");
    answers.of_node.extend(world.a_owns_again().await?);
    let on_old_stream = old_stream.answers().await;
    for answer in answers.of_node.iter().chain(&on_old_stream) {
        let betrayed = answer.betrays_age(epochs[&answer.partition]);
        ensure!(betrayed.is_none(), "of an old state: {}", betrayed.unwrap_or_default());
    }
    check_process_in_heartbeats(world.process_of_a().await?, &answers.of_node)?;
    answers.check_node()?;
    answers.check_front(&epochs)?;
    world.check_logs(&answers.accepted()).await
}

/// Checks the heartbeats on watch streams: each names the process of A, some were sent before the
/// freeze and some after it.
fn check_process_in_heartbeats(process: u64, answers: &[Answer]) -> Result<()> {
    let (mut before, mut after) = (0, 0);
    for sign in answers.iter().filter(|answer| answer.asked.starts_with("Watch")) {
        let is_its_own = sign.told.is_empty() || sign.told == [format!("process {process:x}")];
        ensure!(is_its_own, "process {process:x}: {sign:?}");
        match sign.asked.ends_with("before the freeze") {
            true => before += sign.told.len(),
            false => after += sign.told.len(),
        }
    }
    ensure!(before > 0 && after > 0, "heartbeats of A: {before} before the freeze, {after} later");
    Ok(())
}

/// A stream to node A, as a front opens it. It is opened and answered before the freeze, and used
/// again afterwards.
struct OldStream {
    at: TestPartition,
    next: u64,
    frames: mpsc::Sender<SubBatchFrame>,
    answers: Streaming<SubBatchAnswer>,
}

impl OldStream {
    async fn open(world: &World) -> Result<Self> {
        let at = world.places[0];
        let (frames, outgoing) = mpsc::channel(16);
        frames.send(sub_batch(at, 0, &[record(at.known(), "opens a stream", 1)])).await?;
        let mut answers =
            world.a.clone().forward(ReceiverStream::new(outgoing)).await?.into_inner();
        let first = answers.message().await?.context("the stream ended")?;
        ensure!(answer_to(first, at, "opens a stream").is_done(), "A does not serve");
        Ok(Self { at, next: 1, frames, answers })
    }

    async fn send(&mut self, id: &str) -> Result<()> {
        let records = [record(self.at.known(), &format!("on an old stream, {id}"), 1)];
        // An error is expected here if the node has ended the stream.
        let _ = self.frames.send(sub_batch(self.at, self.next, &records)).await;
        self.next += 1;
        Ok(())
    }

    /// The answers on this stream since it was opened.
    async fn answers(self) -> Vec<Answer> {
        let Self { at, frames, mut answers, .. } = self;
        drop(frames);
        let mut all = Vec::new();
        while let Ok(Some(answer)) = answers.message().await {
            all.push(answer_to(answer, at, "on an old stream"));
        }
        all
    }
}
