//! The results of records and due charges: sums over the charge lines of each component and
//! posting.

use std::collections::BTreeMap;

use turnpike_plan::{Subject, Unit};
use turnpike_types::{Currency, Money, SuspenseReason};

use super::case::{Case, PlacedRecord};
use crate::outcome::{Charges, FellDue};
use crate::trial::Trial;

/// The results of all records and due charges of an example.
#[derive(Default)]
pub(crate) struct ExampleResults {
    /// The results of each record, and of each date on which charges fell due.
    pub(crate) subjects: BTreeMap<Subject, FoundLines>,
    /// For each expected total, the balance of the account, by currency.
    pub(crate) totals: Vec<Vec<(Currency, Option<Money>)>>,
}

/// The result of one record, or of the charges due on one date.
pub(crate) struct FoundLines {
    /// The position of the record; for due charges, the line number of the example in the plan's
    /// XML, such as `line 12`.
    pub(crate) at: String,
    pub(crate) suspended: Option<SuspenseReason>,
    pub(crate) late: bool,
    /// The sums, in the order of the first charge line of each sum.
    pub(crate) sums: Vec<Sum>,
}

/// The sum of the charge lines with one component and one kind of posting.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) primitive: String,
    pub(crate) component: String,
    /// The word for the kind of posting.
    pub(crate) posting: &'static str,
    pub(crate) unit: Unit,
    /// The quantity in base units; `None` if the sum exceeds 128 bits.
    pub(crate) quantity: Option<i128>,
    /// The amount in billionths of the currency unit; `None` if the sum exceeds 128 bits.
    pub(crate) nanos: Option<i128>,
    pub(crate) lines: u32,
}

impl ExampleResults {
    pub(crate) fn rated(&mut self, record: &PlacedRecord, charges: &Charges<'_>) {
        let found = self.record(record);
        found.late = charges.is_late();
        found.add(charges);
    }

    pub(crate) fn suspended(&mut self, record: &PlacedRecord, reason: SuspenseReason) {
        self.record(record).suspended = Some(reason);
    }

    pub(crate) fn fell_due(&mut self, due: &FellDue, example_line: u32) {
        let at = format!("line {example_line}");
        let found = self.subject(Subject::Due(due.date()), &at);
        match due.charges() {
            Ok(charges) => found.add(&charges),
            Err(suspension) => found.suspended = Some(suspension.reason),
        }
    }

    pub(crate) fn total(&mut self, trial: &Trial, case: &Case<'_>) {
        let totals = case.totals.iter().map(|total| trial.balance(total.account).collect());
        self.totals = totals.collect();
    }

    fn record(&mut self, record: &PlacedRecord) -> &mut FoundLines {
        self.subject(Subject::Record(record.usage.record_id.clone()), &record.at)
    }

    fn subject(&mut self, subject: Subject, at: &str) -> &mut FoundLines {
        self.subjects.entry(subject).or_insert_with(|| FoundLines {
            at: at.to_owned(),
            suspended: None,
            late: false,
            sums: Vec::new(),
        })
    }
}

impl FoundLines {
    fn add(&mut self, charges: &Charges<'_>) {
        for charge in charges.iter() {
            let (component, posting) = (charge.component, charge.line.posting.word());
            let same = |sum: &Sum| {
                sum.component == component.component
                    && sum.primitive == component.primitive
                    && sum.posting == posting
            };
            let place = self.sums.iter().position(same).unwrap_or(self.sums.len());
            if place == self.sums.len() {
                self.sums.push(Sum {
                    primitive: component.primitive.clone(),
                    component: component.component.clone(),
                    posting,
                    unit: component.unit,
                    quantity: Some(0),
                    nanos: Some(0),
                    lines: 0,
                });
            }
            self.sums[place].add(charge.line.quantity, charge.line.amount.nanos());
        }
    }
}

impl Sum {
    /// Whether the posting is final, that is, neither replaced nor tentative.
    pub(crate) fn stands(&self) -> bool {
        !matches!(self.posting, "replaced" | "trial")
    }

    fn add(&mut self, quantity: i128, nanos: i128) {
        self.quantity = self.quantity.and_then(|sum| sum.checked_add(quantity));
        self.nanos = self.nanos.and_then(|sum| sum.checked_add(nanos));
        self.lines = self.lines.saturating_add(1);
    }

    /// Adds another sum; the unit remains that of this sum.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        let both = |one: Option<i128>, other: Option<i128>| one?.checked_add(other?);
        self.quantity = both(self.quantity, other.quantity);
        self.nanos = both(self.nanos, other.nanos);
        self.lines = self.lines.saturating_add(other.lines);
        self
    }
}
