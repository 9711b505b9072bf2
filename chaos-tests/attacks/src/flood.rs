//! Many requests at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::raw::{RawCall, RawClient};

/// The bytes of each answer that a server may send.
pub const WINDOW: u32 = 1 << 20;
/// Requests that one connection opens: fewer than a front permits.
const A_CONNECTION: usize = 500;

/// Opens `count` requests to `path`, and sends `bytes` on each without ending it. Returns those
/// that could be opened, and the number of those that could not.
pub async fn open_all(to: &str, path: &str, count: usize, bytes: &[u8]) -> (Vec<RawCall>, usize) {
    let (mut calls, mut failed) = (Vec::new(), 0);
    while calls.len() + failed < count {
        let many = A_CONNECTION.min(count - calls.len() - failed);
        let Ok(client) = RawClient::connect(to, WINDOW).await else {
            failed += many;
            continue;
        };
        for _ in 0..many {
            match client.open(path).await {
                Ok(mut call) => match call.send(bytes.to_vec()).await {
                    Ok(()) => calls.push(call),
                    Err(_) => failed += 1,
                },
                Err(_) => failed += 1,
            }
        }
    }
    (calls, failed)
}

/// How many of `calls` the server has answered with each code.
pub async fn answered(calls: Vec<RawCall>) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for mut call in calls {
        let answer = tokio::time::timeout(Duration::from_millis(5), call.code()).await;
        let code = answer.map_or("open".to_owned(), |code| format!("{code:?}"));
        *codes.entry(code).or_default() += 1;
    }
    codes
}
