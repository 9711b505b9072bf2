//! Half messages, requests that are never finished, answers that are never read, and connections
//! that are silent.

use std::time::Duration;

use anyhow::{Result, ensure};
use attacks::flood::{WINDOW, answered, open_all};
use attacks::raw::{RawClient, claim, connect, message};
use attacks::site::{Effect, Site};
use tokio::net::TcpStream;
use tonic::Code;
use turnpike_types::PartitionId;

const INGEST: &str = "/turnpike.ingest.v1.IngestService/Ingest";
const INGEST_ONCE: &str = "/turnpike.ingest.v1.IngestService/IngestOnce";
const PUBLISH_TABLE: &str = "/turnpike.plan.v1.PlanService/PublishTable";
const PULL: &str = "/turnpike.feed.v1.FeedService/Pull";
const FORWARD: &str = "/turnpike.node.v1.NodeService/Forward";
const MIB: usize = 1 << 20;

/// Streams that each send the head of a large message and one byte of it.
async fn claims(to: &str, path: &str, count: usize, bytes: u32) -> Result<Effect> {
    let head = [claim(bytes), vec![10]].concat();
    let (calls, failed) = open_all(to, path, count, &head).await;
    let opened = calls.len();
    ensure!(opened > count / 20, "{opened} of {count} requests could be opened");
    Ok(Effect::of(format!("{opened} claims of {bytes} bytes, {failed} not taken")).keeping(calls))
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_not_taken_on_a_claim() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (front, (_, node)) = (site.front(), site.owner(PartitionId(1)).await?);
    // Below the 768 requests for which there is room, so that it is the claims that are tried.
    let count = site.form.pick(600, 700);
    let attack = claims(&front, INGEST, count, 0x0400_0000);
    site.withstands("W1 claims of 64 MiB at a front", attack).await?;
    let attack = claims(&front, INGEST, count, 4 << 20);
    site.withstands("W1 claims of 4 MiB at a front", attack).await?;
    let attack = claims(&node, FORWARD, count, 8 << 20);
    site.withstands("W1 claims of 8 MiB at a node", attack).await?;
    site.finish().await
}

/// Large messages of which the last byte is missing.
async fn unfinished(to: &str, path: &str, count: usize, bytes: usize) -> Result<Effect> {
    let mut body = claim(u32::try_from(bytes)?);
    body.resize(bytes + 4, 0);
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (to, path, body) = (to.to_owned(), path.to_owned(), body.clone());
        senders.spawn(async move {
            let mut call = RawClient::connect(&to, WINDOW).await?.open(&path).await?;
            let sent = call.send(body).await;
            anyhow::Ok((call, sent.is_ok()))
        });
    }
    let (mut calls, mut taken) = (Vec::new(), 0);
    while let Some(sent) = senders.join_next().await {
        let (call, was_taken) = sent??;
        taken += usize::from(was_taken);
        calls.push(call);
    }
    let codes = answered(calls).await;
    let open = codes.get("open").copied().unwrap_or_default();
    ensure!(open < count, "no message was given up: {codes:?}");
    Ok(Effect::of(format!("{count} messages of {} MiB, {taken} taken, {codes:?}", bytes / MIB)))
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_given_up_when_the_budget_is_used_up() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (front, (_, node)) = (site.front(), site.owner(PartitionId(1)).await?);
    let count = site.form.pick(6, 40);
    let attack = unfinished(&front, PUBLISH_TABLE, count, 31 * MIB);
    site.withstands("W1 unfinished tables at a front", attack).await?;
    let attack = unfinished(&front, INGEST_ONCE, 4 * count, 4 * MIB);
    site.withstands("W1 unfinished batches at a front", attack).await?;
    let attack = unfinished(&node, FORWARD, 2 * count, 7 * MIB);
    site.withstands("W1 unfinished sub-batches at a node", attack).await?;
    site.finish().await
}

/// Requests that send one byte of their message after another.
async fn slow(to: &str, count: usize, seconds: usize) -> Result<Effect> {
    let (mut calls, failed) = open_all(to, INGEST_ONCE, count, &claim(1_000)).await;
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for call in &mut calls {
            // The server may have ended the request.
            drop(call.send(vec![10]).await);
        }
    }
    let opened = calls.len();
    let codes = answered(calls).await;
    ensure!(opened > count / 2, "{opened} of {count} requests could be opened");
    Ok(Effect::of(format!("{opened} for {seconds} s, {failed} not taken, {codes:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_hold_little() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (front, count) = (site.front(), site.form.pick(300, 500));
    // A message has 60 seconds: the long form sees each request refused for its age.
    let attack = slow(&front, count, site.form.pick(3, 63));
    site.withstands("W1 a byte a second", attack).await?;
    site.finish().await
}

/// Pulls of large pages by one consumer, of which the client permits no byte.
async fn unread_pulls(to: &str, count: usize) -> Result<Effect> {
    let mut request = vec![10, 6];
    request.extend_from_slice(b"greedy");
    // page_lines = 100,000
    request.extend_from_slice(&[24, 0xa0, 0x8d, 6]);
    let (mut calls, mut refused) = (Vec::new(), 0);
    for _ in 0..count {
        let client = RawClient::connect(to, 0).await?;
        let mut call = client.open(PULL).await?;
        call.finish(message(&request)?).await?;
        match call.begun().await {
            Ok(()) => calls.push((client, call)),
            Err(_) => refused += 1,
        }
    }
    let opened = calls.len();
    ensure!(opened > 0 && refused > 0, "{opened} pulls began, {refused} were refused");
    Ok(Effect::of(format!("{opened} pulls that nobody reads, {refused} refused")).keeping(calls))
}

/// A cluster with rated output, and a consumer of it.
async fn with_output() -> Result<Site> {
    let mut site = Site::start().await?;
    crate::shares::fill(&mut site, 40_000).await?;
    let call = RawClient::connect(&site.front(), WINDOW).await?;
    let mut register = call.open("/turnpike.feed.v1.FeedService/Register").await?;
    register.finish(message(b"\x0a\x06greedy")?).await?;
    ensure!(register.code().await == Code::Ok, "the consumer is not registered");
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_nobody_reads_do_not_use_up_the_room_for_other_answers() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = with_output().await?;
    let (front, count) = (site.front(), site.form.pick(40, 100));
    let attack = unread_pulls(&front, count);
    site.withstands("M2 pulls with window 0", attack).await?;
    site.finish().await
}

/// TCP connections on which nothing is sent.
async fn silent(to: &str, count: usize) -> Result<Effect> {
    let (mut open, mut failed) = (Vec::new(), 0);
    for _ in 0..count {
        match tokio::time::timeout(Duration::from_secs(2), connect(to)).await {
            Ok(Ok(stream)) => open.push(stream),
            Ok(Err(_)) | Err(_) => failed += 1,
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let closed = open.iter().filter(|stream| is_closed(stream)).count();
    let all = open.len();
    ensure!(closed + failed > 0, "all of {all} connections stay open");
    Ok(Effect::of(format!("{all} connections, {closed} closed by the front")).keeping(open))
}

/// Connections with an open request each, none of which is idle.
async fn busy(to: &str, count: usize) -> Result<Effect> {
    let (mut open, mut failed) = (Vec::new(), 0);
    for _ in 0..count {
        let call = async {
            let client = RawClient::connect(to, WINDOW).await?;
            let mut call = client.open(INGEST).await?;
            call.send(claim(1_000)).await?;
            anyhow::Ok((client, call))
        };
        match call.await {
            Ok(call) => open.push(call),
            Err(_) => failed += 1,
        }
    }
    let opened = open.len();
    ensure!(failed > 0, "all of {opened} connections are taken");
    Ok(Effect::of(format!("{opened} connections, {failed} refused")).keeping(open))
}

fn is_closed(stream: &TcpStream) -> bool {
    let mut bytes = [0; 1_024];
    loop {
        match stream.try_read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_use_up_the_descriptors() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::with(Some(128)).await?;
    let (front, count) = (site.front(), site.form.pick(300, 2_000));
    site.withstands("W7 silent connections, nofile 128", silent(&front, count)).await?;
    let status = site.cluster.attempt(&["status"])?;
    ensure!(status.code == Some(0), "status: {}{}", status.out, status.err);
    site.withstands("W7 connections with a request", busy(&front, count)).await?;
    let log = site.cluster.log("front");
    ensure!(log.contains("connections_max"), "the front does not log its refusals:\n{log}");
    site.finish().await
}
