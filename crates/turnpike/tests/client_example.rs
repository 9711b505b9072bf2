//! The example of the Rust client against a cluster of this program, and the page that shows it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use turnpike_client::Fronts;

use crate::support::cluster::UpCluster;
use crate::support::file;

#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "../../client/examples/send_usage.rs"]
mod send_usage;

use send_usage::Outcomes;

fn started() -> UpCluster {
    let cluster = UpCluster::start(&["--nodes", "1", "--accept-since", "2026-01-01"]);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    for (command, name) in [("plan publish", "plan.xml"), ("account import", "accounts.csv")] {
        let path = format!("{root}/{name}");
        cluster.done(&command.split(' ').chain([&path[..]]).collect::<Vec<_>>());
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_client_sends_each_record_once_and_pulls_each_line_once() {
    let cluster = started();
    let url = cluster.url.clone();
    let (outcomes, lines) = send_usage::run(vec![url.clone()]).await.unwrap();
    assert_eq!(outcomes, Outcomes { accepted: 100, ..Outcomes::default() });
    let rated: BTreeSet<&str> = lines.iter().map(|line| line.record_id.as_str()).collect();
    let sent: Vec<String> = send_usage::records().into_iter().map(|r| r.record_id).collect();
    assert_eq!(rated, sent.iter().map(String::as_str).collect());
    // The program starts again: nothing is rated or delivered twice.
    let (outcomes, lines) = send_usage::run(vec![url.clone()]).await.unwrap();
    assert_eq!(outcomes, Outcomes { duplicates: 100, ..Outcomes::default() });
    assert_eq!(lines, []);
    // A record of an account that was never opened is reported with its id and the reason.
    let mut unknown = send_usage::records().swap_remove(0);
    unknown.account.0 = 999;
    let fronts = Fronts::connect(vec![url], Duration::from_secs(30)).await.unwrap();
    let outcomes = send_usage::send(fronts, &[unknown]).await.unwrap();
    let exceptions = vec![("example-0".to_owned(), "unknown-account".to_owned())];
    assert_eq!(outcomes, Outcomes { exceptions, ..Outcomes::default() });
}

/// The page shows excerpts of the example, which compiles.
#[test]
fn the_page_about_the_client_shows_the_example() {
    let text = |path: &str| std::fs::read_to_string(file(path)).unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let example = words(&text("../client/examples/send_usage.rs"));
    let page = text("../../docs/client.md");
    let blocks: Vec<&str> = page.split("```rust\n").skip(1).collect();
    assert!(blocks.len() >= 3, "{}", blocks.len());
    for block in blocks {
        let block = block.split("```").next().unwrap();
        assert!(example.contains(&words(block)), "not in the example:\n{block}");
    }
}
