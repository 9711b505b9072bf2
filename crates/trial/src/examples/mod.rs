//! Runs a plan's examples, and compares the results with the expectations of its author
//! (docs/plan-semantics.md section 9).
//!
//! ```text
//!  Example + files --case.rs--> records, expectations (expected_csv.rs)
//!                                   |
//!                          Trial    v
//!                 found.rs: sums by record and component
//!                                   |
//!              compare.rs: every expected line occurs, every line is expected
//!                                   v
//!                        report.rs: ok, or differences
//! ```

mod case;
mod compare;
mod expected_csv;
mod found;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use turnpike_plan::{
    AccountContext, Example, ExampleBody, ExampleSettings, Plan, Table, first_instant_of,
};
use turnpike_types::limits::EXAMPLES_BYTES_MAX;
use turnpike_types::{AccountNumber, Timestamp};

use crate::accounts::{TrialAccount, TrialAccounts, TrialSubscription};
use crate::catalogue::TrialCatalogue;
use crate::error::TrialError;
use crate::outcome::TrialOutcome;
use crate::trial::Trial;
use case::Case;
use found::ExampleResults;

pub use report::{Difference, ExampleReport, ExamplesReport};

/// Maximum number of records in all examples of one plan.
pub const EXAMPLE_RECORDS_MAX: usize = 10_000;
/// Maximum number of due charges and closes in one example.
pub const EXAMPLE_DUES_MAX: usize = 20_000;

/// The inputs of a run of examples in addition to the plan.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    files: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    tables: &'a [Arc<Table>],
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Inputs<'a> {
    /// `files` returns a file by its name in the examples, or `None` if it does not exist. At most
    /// [`EXAMPLES_BYTES_MAX`] bytes of all files together are read.
    pub fn new(files: &'a dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        Self { files, tables: &[], stop: &|| false }
    }

    /// Adds the reference tables that the plan reads, in any number of versions.
    #[must_use]
    pub fn with_tables(self, tables: &'a [Arc<Table>]) -> Self {
        Self { tables, ..self }
    }

    /// Calls `stop` before each record. If it returns true, the example is not rated further and is
    /// reported as failed.
    #[must_use]
    pub fn stopping_when(self, stop: &'a dyn Fn() -> bool) -> Self {
        Self { stop, ..self }
    }
}

/// Runs all examples of a plan, each with its own accounts.
pub fn run_examples(plan: &Plan, inputs: &Inputs<'_>) -> ExamplesReport {
    let mut runner = Runner {
        plan,
        catalogue: TrialCatalogue::new([plan.clone()]).with_tables(inputs.tables.iter().cloned()),
        stop: inputs.stop,
        files: Files { source: inputs.files, held: BTreeMap::new(), bytes: 0 },
        records_left: EXAMPLE_RECORDS_MAX,
    };
    let examples = plan.examples().iter().map(|example| runner.example(example)).collect();
    ExamplesReport { examples }
}

struct Runner<'a> {
    plan: &'a Plan,
    /// A catalogue of this plan only, kept between examples so that the plan is compiled once.
    catalogue: TrialCatalogue,
    stop: &'a dyn Fn() -> bool,
    files: Files<'a>,
    records_left: usize,
}

impl Runner<'_> {
    fn example(&mut self, example: &Example) -> ExampleReport {
        let mut report = ExampleReport::of(example);
        let Some(case) = self.case(example, &mut report) else { return report };
        if let Some(found) = self.rate(&case, &mut report) {
            compare::compare(self.plan, &case, &found, &mut report);
        }
        report
    }

    /// The usage and expectations; `None` if they can't be read, with the errors in the report.
    fn case<'e>(&mut self, example: &'e Example, report: &mut ExampleReport) -> Option<Case<'e>> {
        match &example.body {
            ExampleBody::Inline(inline) => Some(Case::inline(example, inline)),
            ExampleBody::Files { usage, expect } => {
                let mut file = |name: &str| {
                    let bytes = self.files.read(name);
                    bytes.map_err(|why| report.fails(None, format!("the file {name}"), why)).ok()
                };
                let (usage_bytes, expect_bytes) = (file(usage), file(expect));
                let (usage, expect) =
                    ((usage.as_str(), usage_bytes?), (expect.as_str(), expect_bytes?));
                Case::from_files(example, usage, expect, self.records_left, report)
            }
        }
    }

    fn rate(&mut self, case: &Case<'_>, report: &mut ExampleReport) -> Option<ExampleResults> {
        let accounts = match accounts(self.plan, case) {
            Ok(accounts) => accounts,
            Err(error) => {
                report.fails(None, "accounts that can be rated", error);
                return None;
            }
        };
        let catalogue = std::mem::take(&mut self.catalogue);
        let mut trial = Trial::new(catalogue, accounts).with_dues_max(EXAMPLE_DUES_MAX);
        let found = self.feed(&mut trial, case, report);
        self.catalogue = trial.into_catalogue();
        found
    }

    fn feed(
        &mut self,
        trial: &mut Trial,
        case: &Case<'_>,
        report: &mut ExampleReport,
    ) -> Option<ExampleResults> {
        let mut found = ExampleResults::default();
        for (place, record) in (0u64..).zip(&case.records) {
            if self.records_left == 0 || (self.stop)() {
                let expected = format!("at most {EXAMPLE_RECORDS_MAX} records in all examples");
                let why = if self.records_left == 0 { "more" } else { "no time for more of them" };
                report.fails(Some(&record.at), expected, why);
                return None;
            }
            self.records_left -= 1;
            report.records += 1;
            match trial.rate(&record.usage, place) {
                Ok(TrialOutcome::Rated(charges)) => {
                    report.lines += charges.rated().lines.len();
                    found.rated(record, &charges);
                }
                Ok(TrialOutcome::Suspended(suspension)) => {
                    found.suspended(record, suspension.reason);
                }
                Ok(TrialOutcome::Duplicate(_)) => {}
                Ok(TrialOutcome::Conflict(earlier)) => {
                    let other = usize::try_from(earlier).ok().and_then(|at| case.records.get(at));
                    let other = other.map_or("an earlier record", |other| &other.at);
                    let id = &record.usage.record_id;
                    let found = format!("the id {id} of {other}, with other content");
                    report.fails(Some(&record.at), "a record with a unique id", found);
                }
                Err(error) => {
                    report.fails(None, CAN_RATE, error);
                    return None;
                }
            }
            take_due(trial, case, &mut found, report);
        }
        if let Some(until) = case.example.settings.until {
            let until = first_instant_of(&case.example.settings.zone, until);
            if let Err(error) = trial.advance(until) {
                report.fails(None, CAN_RATE, error);
                return None;
            }
            take_due(trial, case, &mut found, report);
        }
        found.total(trial, case);
        Some(found)
    }
}

const CAN_RATE: &str = "a plan that can rate the example's accounts";

fn take_due(
    trial: &mut Trial,
    case: &Case<'_>,
    found: &mut ExampleResults,
    report: &mut ExampleReport,
) {
    for due in trial.take_due() {
        // An item that could not be rated has no lines; `fell_due` notes why.
        if let Ok(charges) = due.charges() {
            report.lines += charges.rated().lines.len();
        }
        found.fell_due(&due, case.example.line);
    }
}

/// The accounts of an example: the listed accounts, or, if none are listed, every account number.
/// An example without listed accounts and without records has account 1 only.
fn accounts(plan: &Plan, case: &Case<'_>) -> Result<TrialAccounts, TrialError> {
    let settings = &case.example.settings;
    let account = |context| TrialAccount::new(context).with(subscription(plan, settings));
    let ExampleBody::Inline(inline) = &case.example.body else {
        return Ok(TrialAccounts::all_alike(account(context(settings, BTreeMap::new()))));
    };
    if inline.accounts.is_empty() && inline.records.is_empty() {
        // An account must be opened for due charges to be booked, and there is no record that names
        // one.
        let mut accounts = TrialAccounts::none();
        accounts.open(THE_ACCOUNT, account(context(settings, BTreeMap::new())))?;
        return Ok(accounts);
    }
    if inline.accounts.is_empty() {
        return Ok(TrialAccounts::all_alike(account(context(settings, BTreeMap::new()))));
    }
    let mut accounts = TrialAccounts::none();
    for listed in &inline.accounts {
        accounts.open(listed.number, account(context(settings, listed.attributes.clone())))?;
    }
    Ok(accounts)
}

/// The account of an example that has no records.
const THE_ACCOUNT: AccountNumber = AccountNumber(1);

fn context(settings: &ExampleSettings, attributes: BTreeMap<String, String>) -> AccountContext {
    AccountContext {
        zone: settings.zone.clone(),
        cycle_day: settings.cycle_day,
        currency: settings.currency,
        attributes,
    }
}

fn subscription(plan: &Plan, settings: &ExampleSettings) -> TrialSubscription {
    let first = |date| first_instant_of(&settings.zone, date);
    TrialSubscription {
        from: settings.since.map_or(Timestamp::MIN, first),
        until: settings.cancelled.map_or(Timestamp::MAX, first),
        parameters: settings.parameters.clone(),
        ..TrialSubscription::to(plan.id())
    }
}

/// The files that examples name; each file is read once.
struct Files<'a> {
    source: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    held: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Files<'_> {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        if let Some(held) = self.held.get(name) {
            return Ok(held.clone());
        }
        let Some(bytes) = (self.source)(name) else {
            return Err("none of that name beside the plan".to_owned());
        };
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > EXAMPLES_BYTES_MAX {
            return Err(format!(
                "more than {EXAMPLES_BYTES_MAX} bytes of files for all examples together"
            ));
        }
        self.held.insert(name.to_owned(), bytes.clone());
        Ok(bytes)
    }
}
