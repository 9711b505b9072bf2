//! Requests that need no credentials, or nothing but an open stream.

use anyhow::{Result, ensure};
use attacks::flood::open_all;
use attacks::raw::{claim, message};
use attacks::site::{Effect, Site};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const INGEST: &str = "/turnpike.ingest.v1.IngestService/Ingest";

/// Requests that the front answers with a stream without an end, or that are never finished.
async fn held(to: &str, path: &str, count: usize, bytes: &[u8]) -> Result<Effect> {
    let (calls, failed) = open_all(to, path, count, bytes).await;
    let opened = calls.len();
    ensure!(opened > count / 20, "{opened} of {count} requests could be opened");
    Ok(Effect::of(format!("{opened} requests, {failed} not taken")).keeping(calls))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_credentials_do_not_use_up_the_room_for_others() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (front, count) = (site.front(), site.form.pick(2_000, 10_000));
    let whole = message(&[])?;
    let attack = held(&front, WATCH, count, &whole);
    site.withstands("H1 Health/Watch", attack).await?;
    let half = [claim(60_000), vec![10; 59_000]].concat();
    let attack = held(&front, CHECK, count, &half);
    site.withstands("H1 half a Health/Check", attack).await?;
    site.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_on_which_nothing_is_sent_do_not_use_up_the_room_for_others() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let (front, count) = (site.front(), site.form.pick(2_000, 40_000));
    let attack = held(&front, INGEST, count, &[]);
    site.withstands("W1 empty streams", attack).await?;
    site.finish().await
}
