//! Each line that the simulated cluster depends on, switched off: some seed must fall, and stand with
//! the line on.
//!
//! A seed tells another story when the code takes another turn anywhere. So the numbers here are where
//! to look first: when they hold by now, the seeds from 1 on are tried.

use std::process::Output;

use turnpike_mutants::Line;

use crate::runs::child;

/// Seeds that are tried when those of the table hold.
const MORE: u64 = 400;

/// How the run fell; `None`: all holds.
fn fall(output: &Output) -> Option<String> {
    if output.status.success() {
        return None;
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let verdict = told.lines().find_map(|line| line.split_once(": FAILED: "));
    Some(verdict.map_or_else(|| "it does not end".to_owned(), |(_, how)| how.to_owned()))
}

/// Without `line`, one of `seeds` falls by one of these.
fn falls(line: Line, seeds: &[u64], by: &[&str]) {
    for seed in seeds.iter().copied().chain(1..=MORE) {
        let Some(how) = fall(&child(seed, true, Some(line))) else { continue };
        if !by.iter().any(|what| how.contains(what)) {
            println!("{line:?}: seed {seed} falls otherwise: {how}");
            continue;
        }
        println!("{line:?}: seed {seed}: {how}");
        let whole = fall(&child(seed, true, None));
        assert_eq!(whole, None, "seed {seed} falls with every line on");
        return;
    }
    panic!("{line:?} survives {MORE} seeds");
}

/// `MUTANT_LINES=RowLock,Barrier SEEDS=200`: where each falls, to choose the seeds below from.
#[test]
#[ignore = "a search, not a test"]
fn search() {
    let names = std::env::var("MUTANT_LINES").unwrap_or_default();
    let count = crate::from_env("SEEDS").unwrap_or(100);
    for name in names.split(',') {
        let line = Line::ALL.iter().copied().find(|line| line.name() == name).expect(name);
        for seed in 1..=count {
            if let Some(how) = fall(&child(seed, true, Some(line))) {
                println!("{line:?} {seed}: {}", how.chars().take(150).collect::<String>());
            }
        }
    }
}

#[test]
fn p17_without_the_barrier() {
    falls(Line::Barrier, &[77, 136], &["P17", "I6"]);
}
