//! Thousands of runs of the simulated cluster, each from a seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod mutants;
mod runs;

use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use runs::child;
use simulation::plan::FIRST_MOVING_SEED as FIRST_SEED;
use simulation::run::{Verdict, run};

/// The number of seeds that `cargo test` runs; scripts/nightly runs thousands.
const SEEDS: u64 = 400;
/// The number of seeds that `cargo test` runs with identities that move between accounts.
const WANDERING: u64 = 60;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// `SEED=n cargo test -p simulation one -- --nocapture` prints the log of the run of seed n.
#[test]
fn one() {
    let seed = from_env("SEED").unwrap_or(1);
    simulation::entropy::seed(seed);
    // The standard library draws its random numbers once for each thread, so only a new thread uses
    // those that follow from the seed.
    let verdict = std::thread::spawn(move || run(seed)).join().unwrap();
    let Verdict { run_log, found, healed } = verdict;
    if std::env::var("QUIET").is_err() || found.is_err() {
        println!("{run_log}");
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

/// Runs these seeds on all processors. Returns the seeds that failed, each with its log.
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
                    let output = child(seed, true, runs::named());
                    if !stands(&output) {
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

/// The environment variable `SEEDS` sets the number of seeds, and `FROM` the first one.
#[test]
fn i1_to_i7_hold_for_thousands_of_seeds() {
    let (from, count) = (from_env("FROM").unwrap_or(1), from_env("SEEDS").unwrap_or(SEEDS));
    let failed = many(from..from + count);
    if let Some((seed, told)) = failed.first() {
        println!("{told}");
        let numbers: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
        println!("failed: {numbers:?}");
        panic!(
            "{} of {count} seeds failed; the log of the first, {seed}, is above. Replay: \
                SEED={seed} cargo test -p simulation one -- --nocapture",
            failed.len()
        );
    }
}

/// Runs in which identities move between accounts while their records are sent. The environment
/// variable `WANDERING` sets the number of seeds.
#[test]
fn p28_i2_records_whose_identities_change_hands_are_rated_once() {
    let count = from_env("WANDERING").unwrap_or(WANDERING);
    let failed = many(FIRST_SEED..FIRST_SEED + count);
    if let Some((seed, told)) = failed.first() {
        println!("{told}");
        let numbers: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
        panic!("failed: {numbers:?}; the log of the first, {seed}, is above");
    }
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in [1, 2, 3, 500, 500, 500, FIRST_SEED] {
        let (once, again) = (child(seed, false, None), child(seed, false, None));
        let text = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // The test harness prints real time.
            text.lines().filter(|line| !line.contains("finished in")).collect::<Vec<_>>().join("\n")
        };
        assert!(stands(&once), "seed {seed}");
        assert_eq!(text(&once), text(&again));
    }
}

/// Whether the run printed that all invariants hold. The exit code is not sufficient, because a
/// process that ran no test succeeds too.
fn stands(output: &Output) -> bool {
    let told = String::from_utf8_lossy(&output.stdout);
    output.status.success() && told.contains(": all holds: ")
}

fn holds(seed: u64) {
    let output = child(seed, true, None);
    assert!(stands(&output), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Regression test: the task of a standby that was dropped looped without end, so that virtual time
/// did not advance.
#[test]
fn seed_56_a_standby_that_is_dropped_ends() {
    holds(56);
}
