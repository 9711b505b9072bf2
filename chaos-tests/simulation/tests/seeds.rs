//! Thousands of runs of the simulated cluster, each from a number (issue: "simulation").
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use simulation::run::{Verdict, run};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 2_000;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// `SEED=n cargo test -p simulation one -- --nocapture` tells the story of seed n.
#[test]
fn one() {
    let seed = from_env("SEED").unwrap_or(1);
    simulation::entropy::seed(seed);
    // A new thread draws its chance anew.
    let verdict = std::thread::spawn(move || run(seed)).join().unwrap();
    let Verdict { story, found, healed } = verdict;
    if std::env::var("QUIET").is_err() || found.is_err() {
        println!("{story}");
    }
    println!("seed {seed}: healed in {} ms", healed.as_millis());
    println!(
        "seed {seed}: {}",
        match &found {
            Ok(found) => format!("all holds: {found:?}"),
            Err(error) => format!("FAILED: {error:#}"),
        }
    );
    assert!(found.is_ok(), "seed {seed}: {:#}", found.unwrap_err());
}

/// A run takes well under a second; one that takes so long does not let time go on.
const STUCK: Duration = Duration::from_secs(60);

/// A run in a process of its own: the only way to have all of its chance in hand.
fn child(seed: u64, quiet: bool) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "one", "--nocapture"]).env("SEED", seed.to_string());
    if quiet {
        command.env("QUIET", "1");
    } else {
        command.env_remove("QUIET");
    }
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let watched = running.id();
    let (done, over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(STUCK) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &watched.to_string()]).status();
        }
    });
    let mut output = Output { status: Default::default(), stdout: Vec::new(), stderr: Vec::new() };
    let errors = running.stderr.take().unwrap();
    let reading = std::thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
    running.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    output.status = running.wait().unwrap();
    drop(done);
    watch.join().unwrap();
    output.stderr = reading.join().unwrap().into_bytes();
    output
}

/// Many, each in its turn, on all processors; the seeds that failed, with their stories.
fn many(seeds: std::ops::Range<u64>) -> Vec<(u64, String)> {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let output = child(seed, true);
                    if !output.status.success() {
                        let told = String::from_utf8_lossy(&output.stdout).into_owned();
                        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                        failed.lock().unwrap().push((seed, told + &errors));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

/// `SEEDS=100000` for more, `FROM=5000` to begin elsewhere.
#[test]
fn i1_to_i7_hold_for_thousands_of_seeds() {
    let (from, count) = (from_env("FROM").unwrap_or(1), from_env("SEEDS").unwrap_or(SEEDS));
    let failed = many(from..from + count);
    if let Some((seed, told)) = failed.first() {
        println!("{told}");
        let numbers: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
        println!("failed: {numbers:?}");
        panic!(
            "{} of {count} seeds failed; the story of the first, {seed}, is above. Replay: \
                SEED={seed} cargo test -p simulation one -- --nocapture",
            failed.len()
        );
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [1, 2, 3, 500, 500, 500] {
        let (once, again) = (child(seed, false), child(seed, false));
        let text = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // The harness measures real time.
            text.lines().filter(|line| !line.contains("finished in")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(text(&once), text(&again));
    }
}

fn holds(seed: u64) {
    let output = child(seed, true);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The node that had forgotten it spun for ever, and time stood still.
#[test]
fn seed_56_a_standby_that_is_forgotten_ends() {
    holds(56);
}
