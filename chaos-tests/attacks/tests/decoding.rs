//! Messages that take many times their size when they are decoded.

use anyhow::{Result, ensure};
use attacks::flood::{WINDOW, answered, open_all};
use attacks::raw::{RawClient, message};
use attacks::site::{Effect, Site};
use tonic::Code;

const APPLY: &str = "/turnpike.account.v1.AccountService/Apply";
const CHECK: &str = "/turnpike.account.v1.AccountService/Check";
const RESOLVE: &str = "/turnpike.account.v1.AccountService/Resolve";
const PULL: &str = "/turnpike.feed.v1.FeedService/Pull";
const MIB: usize = 1 << 20;

/// A message of `bytes` bytes: field `tag`, empty, again and again.
fn repeated(tag: u8, bytes: usize) -> Vec<u8> {
    [tag, 0].repeat(bytes / 2)
}

/// Sends the message, complete, `count` times one after the other. Each must be refused.
async fn refused(to: &str, path: &str, body: Vec<u8>, count: usize) -> Result<Effect> {
    let (bytes, mut codes) = (body.len(), Vec::new());
    for _ in 0..count {
        let mut call = RawClient::connect(to, WINDOW).await?.open(path).await?;
        // The front may end the request before it has taken the whole message.
        drop(call.finish(message(&body)?).await);
        codes.push(call.code().await);
    }
    let taken = codes.contains(&Code::Ok);
    ensure!(!taken, "{path} takes the message: {codes:?}");
    Ok(Effect::of(format!("{count} messages of {bytes} bytes, {codes:?}")))
}

/// Sends whole messages on requests that are not ended, so that their decoded form is kept.
async fn kept(to: &str, path: &str, body: Vec<u8>, count: usize) -> Result<Effect> {
    let bytes = body.len();
    let (calls, failed) = open_all(to, path, count, &message(&body)?).await;
    let opened = calls.len();
    ensure!(opened + failed == count && opened > 0, "{opened} of {count} requests were opened");
    let codes = answered(calls).await;
    Ok(Effect::of(format!("{opened} messages of {bytes} bytes, {failed} not taken, {codes:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_takes_no_more_memory_decoded_than_is_reserved_for_it() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    let front = site.front();
    for path in [APPLY, CHECK] {
        let name = format!("16 MiB of empty commands, {path}");
        let attack = refused(&front, path, repeated(0x0a, 16 * MIB - 64), 2);
        site.withstands(&name, attack).await?;
    }
    let attack = refused(&front, PULL, repeated(0x12, MIB - 64), 8);
    site.withstands("a mebibyte of empty cursors, Pull", attack).await?;
    let count = site.form.pick(600, 5_000);
    let attack = kept(&front, RESOLVE, repeated(0x0a, 64 * 1_024 - 64), count);
    site.withstands("64 KiB of empty identities, Resolve", attack).await?;
    let attack = kept(&front, APPLY, repeated(0x0a, 4 * MIB), site.form.pick(8, 30));
    site.withstands("4 MiB of empty commands, requests left open", attack).await?;
    site.finish().await
}
