//! The properties of the core, each over random histories.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use turnpike_types::{AccountNumber, LineKind, Outcome, Posting};

use super::answers::Tally;
use super::driver::{Counts, HOUR_US, Setup};
use super::history::{Step, one_order_an_account, quiet, restless};
use super::run::{Answer, Run};

/// More keys than any history needs.
const MANY_KEYS: usize = 1_000;
const USUAL: Setup = Setup {
    segment_bytes_max: 1 << 20,
    keys_max: MANY_KEYS,
    horizon_us: 30 * HOUR_US,
    drops_loaded: false,
};
/// Each record, and each charge, is a segment of its own.
const SMALLEST: Setup = Setup { segment_bytes_max: 1, ..USUAL };
/// A job waits as often as it can.
const WAITING: Setup = Setup { drops_loaded: true, ..SMALLEST };

/// Runs `check` for histories of `strategy`. `usual`: their number in the gate.
fn for_all<S: Strategy>(usual: u32, strategy: S, check: impl Fn(S::Value)) {
    let checked = Cell::new(0u32);
    let mut runner = TestRunner::new(test_cases::cases(usual));
    let result = runner.run(&strategy, |history| {
        check(history);
        checked.set(checked.get() + 1);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(checked.get() > 0, "no history was tried");
}

/// The number of keys, mostly more than a history needs, and the horizon: the longer one lets records
/// come after the close of their cycle.
fn bounds() -> impl Strategy<Value = (usize, i64)> {
    let keys_max = prop::sample::select(vec![12, MANY_KEYS, MANY_KEYS]);
    let horizon_us = prop::sample::select(vec![30 * HOUR_US, 130 * HOUR_US]);
    (keys_max, horizon_us)
}

fn setups() -> impl Strategy<Value = Setup> {
    let bytes = prop::sample::select(vec![1, 300, 1_000, 1 << 20]);
    (bytes, bounds(), any::<bool>()).prop_map(|(segment_bytes_max, bounds, drops_loaded)| {
        let (keys_max, horizon_us) = bounds;
        Setup { segment_bytes_max, keys_max, horizon_us, drops_loaded }
    })
}

/// What a test's histories did. Each number that the test names must not stay zero.
#[derive(Default)]
struct Seen {
    counts: RefCell<BTreeMap<&'static str, usize>>,
}

impl Seen {
    fn add(&self, what: &'static str, count: usize) {
        *self.counts.borrow_mut().entry(what).or_default() += count;
    }

    fn add_run(&self, run: &Run) {
        let Counts { commits, compared, full, loads, catalogues, .. } = run.driver.counts;
        let Counts { checkpoints, owners, from_checkpoint, lost_segments, pages, .. } =
            run.driver.counts;
        let Tally { accepted, suspended, duplicates, replayed, replayed_rated, .. } =
            run.known.tally;
        let Tally { conflicts, too_old, in_the_future, otherwise_rejected, .. } = run.known.tally;
        let counts = [
            ("commits", commits),
            ("comparisons", compared),
            ("full segments", full),
            ("loads", loads),
            ("reads of the catalogue", catalogues),
            ("checkpoints", checkpoints),
            ("owners", owners),
            ("owners from a checkpoint", from_checkpoint),
            ("lost segments", lost_segments),
            ("pages of postings", pages),
            ("accepted", accepted),
            ("suspended", suspended),
            ("duplicates", duplicates),
            ("replayed", replayed),
            ("replayed as rated", replayed_rated),
            ("conflicts", conflicts),
            ("too old", too_old),
            ("in the future", in_the_future),
            ("otherwise rejected", otherwise_rejected),
        ];
        for (what, count) in counts {
            self.add(what, count);
        }
        let contents = run.contents();
        let count = |is: &dyn Fn(Outcome) -> bool| {
            contents.records.iter().filter(|record| is(record.outcome)).count()
        };
        self.add("due", count(&|outcome| outcome == Outcome::FellDue));
        self.add("posted", count(&|outcome| outcome == Outcome::Posted));
        self.add("late", count(&|outcome| outcome == Outcome::RatedLate));
        let recycled = contents.records.iter().filter(|record| record.is_recycled);
        self.add("recycled", recycled.count());
        self.add("moved away", contents.moved_away().len());
        let lines = contents.records.iter().flat_map(|record| &record.lines);
        self.add("tentative", lines.filter(|line| line.posting == Posting::Tentative).count());
    }

    fn assert(&self, names: &[&'static str]) {
        let counts = self.counts.borrow();
        for name in names {
            let count = counts.get(name).copied().unwrap_or(0);
            assert!(count > 0, "no history had any {name:?}: {counts:?}");
        }
    }
}

/// I4, at each commit, at each checkpoint, at each takeover and at rest. The driver compares.
#[test]
fn i4_the_state_is_a_replay_of_the_log_after_each_commit_and_through_each_checkpoint() {
    let seen = Seen::default();
    for_all(256, (setups(), restless()), |(setup, steps)| {
        let mut run = Run::of(setup, false, &steps);
        run.driver.assert_replays();
        seen.add_run(&run);
    });
    seen.assert(&[
        "comparisons",
        "full segments",
        "loads",
        "reads of the catalogue",
        "checkpoints",
        "owners",
        "owners from a checkpoint",
        "lost segments",
        "due",
        "posted",
        "late",
        "recycled",
        "moved away",
        "tentative",
    ]);
}

/// I1, I2, I5 over all owners: what a client was told is in the log; each record is taken once and
/// rated at most once; a retry gets its first answer and is not logged.
#[test]
fn i1_i2_i5_each_record_is_taken_once_whatever_is_sent_again_and_whoever_owns() {
    let seen = Seen::default();
    for_all(256, (setups(), restless()), |(setup, steps)| {
        let run = Run::of(setup, false, &steps);
        run.known.assert_in_the_log(&run.contents());
        seen.add_run(&run);
    });
    seen.assert(&[
        "accepted",
        "suspended",
        "duplicates",
        "replayed",
        "replayed as rated",
        "conflicts",
        "too old",
        "in the future",
        "otherwise rejected",
        "lost segments",
        "recycled",
    ]);
}

/// Where segments end, and how often a job waits, changes neither an answer nor what is logged.
#[test]
fn the_answers_and_the_log_do_not_depend_on_where_segments_end_and_how_often_a_job_waits() {
    let seen = Seen::default();
    for_all(160, (bounds(), quiet()), |((keys_max, horizon_us), steps)| {
        let of = |setup: Setup| Run::of(Setup { keys_max, horizon_us, ..setup }, true, &steps);
        let (usual, waiting) = (of(USUAL), of(WAITING));
        for (at, answer) in usual.answers() {
            assert_eq!(Some(answer), waiting.answers().get(at), "the answer to request {at}");
        }
        let (one, other) = (usual.contents(), waiting.contents());
        assert_same(&one.sorted(), &other.sorted());
        assert_eq!(one.totals(), other.totals());
        seen.add_run(&waiting);
        let more = waiting.driver.waits().saturating_sub(usual.driver.waits());
        seen.add("waits of one run only", more);
    });
    seen.assert(&["waits of one run only", "accepted", "due", "posted", "recycled", "too old"]);
}

fn assert_same(one: &[String], other: &[String]) {
    let left = one.iter().filter(|text| !other.contains(text)).collect::<Vec<_>>();
    let right = other.iter().filter(|text| !one.contains(text)).collect::<Vec<_>>();
    assert!(one == other, "the logs differ; only in one: {left:#?}; only in the other: {right:#?}");
}

/// A job that waits has changed nothing that is not in the open segment: whenever its owner ends, the
/// next owner has the log alone, is sent again what was not answered, and comes to the same log.
#[test]
fn an_owner_that_ends_at_any_wait_leaves_nothing_but_its_log() {
    let seen = Seen::default();
    let ends = prop::collection::vec((0..1_000usize, any::<bool>()), 1..5);
    let steps = quiet().prop_map(one_order_an_account);
    // With few keys, what is refused depends on what an owner took before it ended.
    let horizons = bounds().prop_map(|(_, horizon_us)| horizon_us);
    for_all(160, (horizons, steps, ends), |(horizon_us, steps, ends)| {
        let setup = Setup { horizon_us, ..SMALLEST };
        let whole = Run::of(setup, true, &steps);
        let expected = whole.contents();
        for (place, commits) in ends {
            let mut run = Run::new(setup, true);
            run.set_ending(commits, false);
            let (begun, all) = (run.driver.waits(), whole.driver.waits());
            run.driver.end_after(place * (all - begun) / 1_000);
            run.perform_all(&steps);
            run.known.assert_in_the_log(&run.contents());
            assert_same(&expected.sorted(), &run.contents().sorted());
            run.driver.assert_replays();
            seen.add_run(&run);
        }
    });
    seen.assert(&["owners", "lost segments", "accepted", "duplicates", "due", "posted"]);
}

/// The money in the log is that of its records: each rated record costs its units at the price of
/// the plans, each posting arrives once, the one-time charge is charged once, and what falls due is
/// charged before later usage.
#[test]
fn i1_the_log_charges_each_record_its_price_and_each_posting_once() {
    let seen = Seen::default();
    let without_orders = |steps: Vec<Step>| -> Vec<Step> {
        steps.into_iter().filter(|step| !matches!(step, Step::Apply(_))).collect()
    };
    let histories = prop_oneof![restless(), restless().prop_map(without_orders)];
    for_all(160, (setups(), histories), |(setup, steps)| {
        let run = Run::of(setup, false, &steps);
        let contents = run.contents();
        contents.assert_prices();
        seen.add("sent postings", contents.assert_posted_once());
        let has_orders = steps.iter().any(|step| matches!(step, Step::Apply(_)));
        // Not every record that was rated was answered as rated: a sub-batch that is refused for its
        // keys may have been taken in part. After a lost answer, a retry past the horizon is too old,
        // and one whose identities must be looked up again is refused as a whole, although the first
        // attempt was rated.
        let refused =
            run.answers().values().filter(|answer| matches!(answer, Answer::Sent(Err(_))));
        let is_all_told = setup.keys_max == MANY_KEYS
            && (run.driver.counts.owners == 0
                || (run.known.tally.too_old == 0 && refused.count() == 0));
        if !has_orders && is_all_told {
            assert_charged(&run);
            seen.add("histories without orders", 1);
        }
        seen.add_run(&run);
    });
    seen.assert(&["histories without orders", "sent postings", "posted", "due", "accepted"]);
}

/// The totals of accounts whose plans stay the same: the price of what clients were told is rated,
/// and of what left suspense; for account 2 the one-time charge, once.
fn assert_charged(run: &Run) {
    let contents = run.contents();
    let mut expected = run.known.accepted_amounts();
    for record in contents.records.iter().filter(|record| record.is_recycled) {
        *expected.entry(record.account).or_default() += record.price();
    }
    for account in [1, 2, 3, 6].map(AccountNumber) {
        let of = contents.records.iter().filter(|record| record.account == account);
        let lines = of.flat_map(|record| &record.lines);
        let used = lines.clone().filter(|line| line.kind == LineKind::Usage);
        let used: i128 = used.map(|line| line.amount).sum();
        let expected = expected.get(&account).copied().unwrap_or(0);
        assert_eq!(used, expected, "account {account} is charged for its usage");
        contents.assert_due_first(account);
        let once: Vec<i128> =
            lines.filter(|line| line.component.0 == "setup").map(|line| line.amount).collect();
        let setup = if account.0 == 2 { vec![3_000_000_000] } else { Vec::new() };
        assert_eq!(once, setup, "account {account} is set up");
    }
}
