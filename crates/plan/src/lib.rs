//! Price plans: XML -> graph -> checked -> object code -> rated portions. No I/O, no clock.
//!
//! ```text
//!  plan.xml
//!     |  xml.rs        a tree of elements that know their lines
//!     |  document.rs   head, parameters, primitives as written
//!     |  example.rs    what usage must come to, by its author
//!     |  values.rs     parameters and defaults filled in, syntax of every value
//!     |  defaults.rs   is a plan sound whose default values are not? nearest.rs: "did you mean"
//!     |  check/        wiring, order, units, currencies
//!     v
//!   Plan  (graph.rs)   the public graph; a naive interpreter can walk it
//!     |  build/        each primitive builds its own code (primitives/, one file each)
//!     v
//!   ObjectCode (code.rs)
//!     |  rater.rs      + account, state, record; operations share run.rs
//!     |  sweep.rs      or what falls due without usage; options.rs compares alternatives,
//!     |                offset.rs carries on what bonuses exceed charges by
//!     |  stream.rs     units as spans         calendar.rs  zones and periods
//!     |  price.rs      exact fractions         ladder.rs    steps of a level
//!     |  level.rs      the level that units read
//!     |  tables/       dial plans, taxes, holidays, rates, addresses: published like plans
//!     v
//!   Rated: lines, and new values of the account's variables (state.rs)
//!          watch.rs tells each primitive's part in it; remembered.rs says state in words
//! ```
//!
//! What a plan means is defined unit by unit; the code works on spans of units, and must come to
//! the same. A record's cost grows with the number of portions, not with its quantity.
//!
//! Invariants:
//! - [`parse`], [`compile`] and [`parse_table`] refuse or accept and never panic, whatever the
//!   text; a plan that was parsed compiles with its defaults, or with other values that a
//!   subscription may give (defaults.rs).
//! - [`Rater::rate`] is a function of its arguments: it changes no state, and what it held from
//!   the record before does not show.
//! - A unit that reaches a rater is priced there once for each time it arrives; overflow is an
//!   error, never zero, never a wrapped number.
//! - A variable is named by plan id, primitive id and unit alone, so state outlives versions.
//!
//! Not promised here: which version is in force, or in which order records come (the owner of
//! the account decides); that charges without usage are booked when they fall due (the owner
//! sweeps); that two versions of a plan agree on anything.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod build;
mod calendar;
mod check;
mod code;
mod defaults;
mod document;
mod error;
mod example;
mod graph;
mod ladder;
mod level;
mod measure;
mod nearest;
mod offset;
mod options;
mod price;
mod primitives;
mod rater;
mod remembered;
mod run;
mod spec;
mod state;
mod stream;
mod subscribing;
mod sweep;
mod tables;
mod trial;
mod values;
mod watch;
mod xml;
mod zone;

use std::collections::BTreeMap;

pub use code::{Component, ComponentKind, ObjectCode, TableName, Variable};
pub use error::{Cause, PlanError, PlanErrors, Warning};
pub use example::{
    Example, ExampleAccount, ExampleBody, ExampleRecord, ExampleSettings, Expectation, Expected,
    ExpectedQuantity, ExpectedTotal, InlineExample, POSTINGS, Subject, Tolerance, parse_amount,
};
pub use graph::{Child, Input, Link, Parameter, Plan, Primitive};
pub use measure::Unit;
pub use nearest::hint;
pub use offset::PostedAmount;
pub use options::{Comparison, Cycle, OfferId, OptionInForce, comparison, winner};
pub use primitives::{
    ChildType, InputType, OutputType, PrimitiveType, PropertyType, primitive_types,
};
pub use rater::{AccountContext, Line, PlanInForce, Rated, Rater};
pub use remembered::{Reading, Remembered};
pub use state::{AccountState, Keep, Period, StateEntry, VariableId, plan_number};
pub use stream::PORTIONS_MAX;
pub use subscribing::{
    ANY_START, Compiled, PublishedVersion, SubscriberSettings, SubscriptionAsked,
    SubscriptionFault, check_subscription,
};
pub use sweep::{DUE_USAGE_TYPE, Due, Stretch};
pub use tables::{Table, TableError, TableErrors, TableKind, parse_table};
pub use values::ACCOUNT_CURRENCY;
pub use watch::{Carried, InTime, Step, Watch};
pub use zone::{Zone, ZoneError, first_instant_of, tz_database_version};

use error::Findings;

/// Parses and checks a plan that is to be published (docs/architecture.md section 7).
///
/// A plan that its default values make impossible, and other values do not, is accepted with a
/// warning: its subscriptions must give such values.
///
/// # Errors
/// Everything found wrong, each with its line and primitive.
pub fn parse(xml: &str) -> Result<Plan, PlanErrors> {
    read(xml, Findings::default())
}

/// Parses a plan that was published before, perhaps by an earlier program: what younger rules would
/// refuse is a warning, since accounts are rated by it already.
///
/// # Errors
/// As [`parse`], for a plan that no program has accepted.
pub fn parse_published(xml: &str) -> Result<Plan, PlanErrors> {
    read(xml, Findings::of_published(true))
}

fn read(xml: &str, mut findings: Findings) -> Result<Plan, PlanErrors> {
    let Some(document) = document::read(xml, &mut findings) else {
        return Err(refused(findings));
    };
    let nothing = BTreeMap::new();
    let is_sound_document = findings.clean();
    let (primitives, code) = match make(&document, &nothing, &mut findings) {
        Some(made) => made,
        // What is wrong with the document itself, no value mends.
        None if is_sound_document => {
            let Some(sound) = defaults::sound(&document) else { return Err(refused(findings)) };
            findings.blame_defaults(&sound.parameters);
            let primitives = values::fill_in(&document, &nothing, &mut Findings::default());
            (primitives, sound.code)
        }
        None => return Err(refused(findings)),
    };
    let warnings = findings.into_result()?;
    Ok(Plan { document, primitives, warnings, tables: code.tables })
}

/// Compiles a plan, with a subscription's values for its parameters.
///
/// # Errors
/// An override that the plan does not declare or that is of the wrong type, and whatever its
/// value makes impossible. Without overrides a parsed plan compiles, unless [`parse`] warned that its
/// default values are not sound.
pub fn compile(
    plan: &Plan,
    overrides: &BTreeMap<String, String>,
) -> Result<ObjectCode, PlanErrors> {
    let mut findings = Findings::of_published(plan.document.is_published);
    match make(&plan.document, overrides, &mut findings) {
        Some((_, code)) => findings.into_result().map(|_| code),
        None => Err(refused(findings)),
    }
}

/// Fills in, checks and builds; `None`, with findings, when that can't be done.
fn make(
    document: &document::Document,
    overrides: &BTreeMap<String, String>,
    findings: &mut Findings,
) -> Option<(Vec<Primitive>, ObjectCode)> {
    let primitives = values::fill_in(document, overrides, findings);
    let checked = check::check(document, &primitives, findings)?;
    let code = build::build(document, &primitives, &checked, findings)?;
    Some((primitives, code))
}

fn refused(findings: Findings) -> PlanErrors {
    match findings.into_result() {
        Err(errors) => errors,
        // A stage that gives up says why; this only keeps the promise that the list is not empty.
        Ok(_) => PlanErrors(vec![PlanError {
            line: 1,
            primitive: None,
            cause: Cause::Malformed,
            message: "the plan can't be read".to_owned(),
        }]),
    }
}
