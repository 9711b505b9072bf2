//! Switches off each check that the simulated cluster needs: some seed must fail without the check,
//! and succeed with it. Missing checks that the simulation can't detect are detected by tests of
//! the crates; the table of all is in `chaos-tests/README.md`.
//!
//! Any change in the code changes the run of a seed. So the seeds that a test names are tried
//! first; if their runs succeed now, further seeds are tried.

use std::process::Output;

use simulation::plan::FIRST_MOVING_SEED as FIRST_SEED;
use turnpike_mutants::Check;

use crate::runs::child;

/// The number of further seeds that are tried when the runs with the seeds of the test succeed.
const MORE: u64 = 300;

/// The failure of the run; `None` if it succeeded.
fn fall(output: &Output) -> Option<String> {
    if output.status.success() {
        return None;
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let verdict = told.lines().find_map(|line| line.split_once(": FAILED: "));
    Some(verdict.map_or_else(|| "the run does not end".to_owned(), |(_, how)| how.to_owned()))
}

/// Asserts that a run without `check`, with one of `seeds` or a further seed, violates one of the
/// invariants `by`, and that the same run with all checks succeeds.
fn falls(check: Check, seeds: &[u64], by: &[&str]) {
    let first = if seeds.iter().all(|seed| *seed >= FIRST_SEED) { FIRST_SEED } else { 1 };
    for seed in seeds.iter().copied().chain(first..first + MORE) {
        let Some(how) = fall(&child(seed, true, Some(check))) else { continue };
        println!("{check:?}, seed {seed}: {how}");
        if by.iter().any(|invariant| how.starts_with(invariant)) {
            let whole = fall(&child(seed, true, None));
            assert_eq!(whole, None, "seed {seed} fails with every check on");
            return;
        }
    }
    panic!("{check:?} is switched off, and no seed fails");
}

#[test]
fn p6_a_checkpoint_of_uncommitted_changes_has_another_state() {
    falls(Check::CommittedState, &[1, 2, 9], &["I4"]);
}

#[test]
fn p17_without_the_barrier_an_account_shows_less_than_was_acknowledged() {
    falls(Check::Barrier, &[42, 77, 136, 225], &["P17", "I6"]);
}

#[test]
fn p27_other_content_under_the_same_key_is_taken_for_a_duplicate() {
    falls(Check::Content, &[1, 2, 3], &["I5"]);
}

#[test]
fn p28_intervals_that_a_move_takes_away_are_not_remembered() {
    falls(Check::TakenRemembered, &[FIRST_SEED], &["I2"]);
}

#[test]
fn p28_the_present_holder_is_charged_for_a_record_of_the_first_holder() {
    falls(Check::FirstDecides, &[FIRST_SEED], &["I2"]);
}

/// For each check, the table names the test that detects its absence, and that test exists.
#[test]
fn every_check_is_in_the_table_with_the_test_that_catches_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).expect(path);
    let readme = read("chaos-tests/README.md");
    for check in Check::ALL {
        let name = check.name();
        let rows = readme.lines().filter(|row| row.starts_with(&format!("| `{name}` |")));
        let [row] = rows.collect::<Vec<_>>()[..] else {
            panic!("{name} needs exactly one row of the table")
        };
        let quoted: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let files: Vec<&str> = quoted.iter().copied().filter(|q| q.ends_with(".rs")).collect();
        assert!(!files.is_empty(), "{name}: no test is named");
        for file in files {
            assert!(read(file).contains(&format!("Check::{name},")), "{name} is not in {file}");
        }
    }
    let rows = readme.lines().filter(|row| row.starts_with("| `")).count();
    assert!(rows >= Check::ALL.len(), "the table has fewer rows than there are checks");
}
