//! Files that a command of the program can't hold in memory, and an output that takes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use attacks::form::Form;
use attacks::site::Site;
use chaos_tests::cluster::{Cluster, ProcessBounds, Ran};
use tokio::time::Instant;

const MIB: usize = 1 << 20;
/// A command may take this much address space: the code and idle stacks of the program take about
/// 140 MiB in a debug build, and its largest input is a table of 32 MiB.
const BOUNDS: ProcessBounds =
    ProcessBounds { address_space_bytes: Some(512 << 20), descriptors: None };
/// The time in which each command must end, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a command within its bound, on a thread that may block.
async fn ends(cluster: &Cluster, arguments: &[&str]) -> Result<Ran> {
    let began = Instant::now();
    let ran = tokio::task::block_in_place(|| cluster.attempt_within(BOUNDS, arguments))?;
    let took = began.elapsed();
    println!(
        "W10 turnpike {}: exit {:?} after {took:?}: {:.100}",
        arguments.join(" "),
        ran.code,
        ran.err.lines().last().unwrap_or_default()
    );
    let code = ran.code.with_context(|| format!("a signal ended {arguments:?}: {}", ran.err))?;
    ensure!((1..=3).contains(&code), "{arguments:?} ended with {code}: {}{}", ran.out, ran.err);
    let is_told = !ran.err.contains("panicked") && !ran.err.contains("memory allocation");
    ensure!(is_told && !ran.err.is_empty(), "{arguments:?}: {}", ran.err);
    ensure!(took < LIMIT, "{arguments:?} took {took:?}");
    Ok(ran)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_within_bounds_and_notice_when_nothing_can_be_written() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    crate::shares::fill(&mut site, 1_000).await?;
    let megabytes = site.form.pick(100, 300);
    let head = "account_number,record_id,usage_type,start_time,quantity\n";
    let long = head.to_owned() + &"9".repeat(megabytes * MIB);
    let long = site.cluster.file("long.csv", &long)?;
    let line = site.cluster.file("long.jsonl", &"[".repeat(megabytes * MIB))?;
    let wide: Vec<String> = (0..500_000).map(|n| format!("column{n}")).collect();
    let wide = site.cluster.file("wide.csv", &(wide.join(",") + "\n1\n"))?;
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/octets.xml");
    let form = site.form;
    for file in [&long, &wide, "/dev/zero"] {
        for command in [
            &["plan", "publish", file][..],
            &["table", "publish", file],
            &["rate", "--plan", file, "--usage", &line],
            &["status", "--token-file", file],
            &["--config", file, "status"],
        ] {
            ends(&site.cluster, command).await?;
        }
    }
    ends(&site.cluster, &["ingest", "/dev/zero", "--format", "csv"]).await?;
    // Each reads 4 GiB of a line without an end.
    let endless: &[&str] = if form == Form::Long { &["/dev/zero"] } else { &[] };
    for file in [&long, &wide].into_iter().map(String::as_str).chain(endless.iter().copied()) {
        for command in [
            &["ingest", file, "--format", "csv"][..],
            &["account", "import", file],
            &["rate", "--plan", plan, "--usage", file, "--format", "csv"],
        ] {
            ends(&site.cluster, command).await?;
        }
    }
    for file in [line.as_str()].into_iter().chain(endless.iter().copied()) {
        ends(&site.cluster, &["ingest", file, "--format", "jsonl"]).await?;
        ends(&site.cluster, &["collect", "access-log", file]).await?;
    }
    let pull = ["pull", "--consumer", "full", "--output", "/dev/full"];
    ends(&site.cluster, &pull).await?;
    site.finish().await
}
