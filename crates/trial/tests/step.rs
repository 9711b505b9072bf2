//! Stepping through a plan reports the inputs, outputs and effects of each primitive.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use support::{account, at, parsed, session};
use turnpike_trial::{Stepped, Stepper, Trial, TrialAccounts, TrialCatalogue, TrialOutcome};
use turnpike_types::AccountNumber;

#[derive(Default)]
struct Kept(Vec<Stepped>);

impl Stepper for Kept {
    fn step(&mut self, step: &Stepped) {
        self.0.push(step.clone());
    }
}

fn fig6b() -> Trial {
    let plan = parsed(include_str!("data/fig6b.xml"));
    let accounts =
        TrialAccounts::all_alike(account("America/New_York").with_all([plan.id().to_owned()]));
    Trial::new(TrialCatalogue::new([plan]), accounts)
}

/// A session from 18:00 to 20:00 in New York whose first half hour is free.
fn crossing_peak(stepper: &mut dyn Stepper) {
    let mut trial = fig6b();
    let first = session(1, "r1", "2026-01-05T00:00:00Z", 99);
    assert!(matches!(trial.rate(&first, 1).unwrap(), TrialOutcome::Rated(_)));
    let mut half = session(1, "r2", "2026-01-10T00:00:00Z", 0);
    half.duration_us = 30 * 60 * 1_000_000;
    assert!(matches!(trial.rate(&half, 2).unwrap(), TrialOutcome::Rated(_)));
    let mut crossing = session(1, "r3", "2026-01-12T23:00:00Z", 2);
    crossing.account = AccountNumber(1);
    assert_eq!(crossing.start, at("2026-01-12T18:00:00-05:00"));
    let outcome = trial.rate_stepping(&crossing, 3, stepper).unwrap();
    let TrialOutcome::Rated(charges) = outcome else { panic!("{outcome:?}") };
    assert_eq!(charges.iter().count(), 3);
}

#[test]
fn fig_6b_crossing_peak_step_by_step() {
    let mut kept = Kept::default();
    crossing_peak(&mut kept);
    let shown: Vec<String> = kept.0.iter().map(ToString::to_string).collect();
    let shown = shown.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fig6b_steps.txt");
    if std::env::var_os("TURNPIKE_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(path).unwrap());
}

/// A step is one JSON object with the inputs, outputs and effects of the primitive.
#[test]
fn a_step_is_also_written_as_json() {
    let mut kept = Kept::default();
    crossing_peak(&mut kept);
    let rater = kept.0.iter().find(|step| step.primitive == "peak").unwrap();
    let json: serde_json::Value = serde_json::to_value(rater).unwrap();
    assert_eq!((&json["record"], &json["type"]), (&"r3".into(), &"StepRater".into()));
    assert_eq!(json["inputs"][0]["runs"][0]["from"], "2026-01-12T19:00:00-05:00");
    assert_eq!(json["booked"][0]["amount"], "1.000000000");
    assert!(json.get("suspended").is_none());
}

#[test]
fn the_primitive_that_suspends_a_record_is_named() {
    let plan = parsed(
        r#"<plan xmlns="urn:turnpike:plan:1" id="w" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <Weigher id="points" in="record.quantity" attribute="function"><weight value="search" weight="3"/></Weigher>
    <StepRater id="rate" in="points.out"><step id="point" price="1" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#,
    );
    let accounts = TrialAccounts::all_alike(account("UTC").with_all(["w"]));
    let mut trial = Trial::new(TrialCatalogue::new([plan]), accounts);
    let mut record = session(1, "r1", "2026-01-05T00:00:00Z", 0);
    record.quantity = Some(2);
    record.attributes.insert("function".to_owned(), "print".to_owned());
    let mut kept = Kept::default();
    let outcome = trial.rate_stepping(&record, 1, &mut kept).unwrap();
    assert!(matches!(outcome, TrialOutcome::Suspended(_)));
    let told: Vec<_> = kept.0.iter().map(|step| (&*step.primitive, step.suspended)).collect();
    assert_eq!(told, [("points", Some("no-weight"))]);
}

/// Stepping reads the inputs of a primitive before the primitive runs. The primitive must still
/// find that the record lacks the measure, and suspend the record instead of rating a quantity of
/// zero.
#[test]
fn a_record_that_lacks_a_measure_is_suspended_step_by_step_as_it_is_at_once() {
    let plan = parsed(
        r#"<plan xmlns="urn:turnpike:plan:1" id="w" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="point" price="1" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#,
    );
    let accounts = TrialAccounts::all_alike(account("UTC").with_all(["w"]));
    let mut trial = Trial::new(TrialCatalogue::new([plan]), accounts);
    let record = |id: &str| session(1, id, "2026-01-05T00:00:00Z", 0);
    let at_once = trial.rate(&record("r1"), 1).unwrap();
    let TrialOutcome::Suspended(suspension) = at_once else { panic!("{at_once:?}") };
    assert_eq!(suspension.to_string(), "missing-input: record.quantity");
    let mut kept = Kept::default();
    let stepped = trial.rate_stepping(&record("r2"), 2, &mut kept).unwrap();
    let TrialOutcome::Suspended(suspension) = stepped else { panic!("{stepped:?}") };
    assert_eq!(suspension.to_string(), "missing-input: record.quantity");
    assert_eq!(kept.0[0].detail.as_deref(), Some("record.quantity"));
}
