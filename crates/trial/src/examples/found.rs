//! What records came to: sums over the lines of each record and component.

use std::collections::BTreeMap;

use turnpike_plan::Unit;
use turnpike_types::{Currency, Money, SuspenseReason};

use super::case::{Case, PlacedRecord};
use crate::{Charges, Trial};

/// What all records of an example came to.
#[derive(Default)]
pub(crate) struct Found {
    /// By record id.
    pub(crate) records: BTreeMap<String, FoundRecord>,
    /// What was posted to the accounts whose totals are expected, by currency.
    pub(crate) totals: Vec<Vec<(Currency, Option<Money>)>>,
}

/// What became of one record.
pub(crate) struct FoundRecord {
    /// Where the record stands.
    pub(crate) at: String,
    pub(crate) suspended: Option<SuspenseReason>,
    /// In the order of their first lines.
    pub(crate) sums: Vec<Sum>,
}

/// The lines of one component.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) primitive: String,
    pub(crate) component: String,
    pub(crate) unit: Unit,
    /// `None` past 128 bits.
    pub(crate) quantity: Option<i128>,
    /// Billionths; `None` past 128 bits.
    pub(crate) nanos: Option<i128>,
    pub(crate) lines: u32,
}

impl Found {
    pub(crate) fn rated(&mut self, record: &PlacedRecord, charges: &Charges<'_>) {
        let found = self.record(record);
        for charge in charges.iter() {
            let component = charge.component;
            let same = |sum: &&mut Sum| {
                sum.component == component.component && sum.primitive == component.primitive
            };
            let sum = match found.sums.iter_mut().find(same) {
                Some(sum) => sum,
                None => {
                    found.sums.push(Sum {
                        primitive: component.primitive.clone(),
                        component: component.component.clone(),
                        unit: component.unit,
                        quantity: Some(0),
                        nanos: Some(0),
                        lines: 0,
                    });
                    let last = found.sums.len() - 1;
                    &mut found.sums[last]
                }
            };
            sum.add(charge.line.quantity, charge.line.amount.nanos());
        }
    }

    pub(crate) fn suspended(&mut self, record: &PlacedRecord, reason: SuspenseReason) {
        self.record(record).suspended = Some(reason);
    }

    pub(crate) fn total(&mut self, trial: &Trial, case: &Case<'_>) {
        let totals = case.totals.iter().map(|total| trial.balance(total.account).collect());
        self.totals = totals.collect();
    }

    fn record(&mut self, record: &PlacedRecord) -> &mut FoundRecord {
        let id = record.usage.record_id.clone();
        self.records.entry(id).or_insert_with(|| FoundRecord {
            at: record.at.clone(),
            suspended: None,
            sums: Vec::new(),
        })
    }
}

impl Sum {
    fn add(&mut self, quantity: i128, nanos: i128) {
        self.quantity = self.quantity.and_then(|sum| sum.checked_add(quantity));
        self.nanos = self.nanos.and_then(|sum| sum.checked_add(nanos));
        self.lines = self.lines.saturating_add(1);
    }

    /// Both sums together; the unit stays the first one's.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        let both = |one: Option<i128>, other: Option<i128>| one?.checked_add(other?);
        self.quantity = both(self.quantity, other.quantity);
        self.nanos = both(self.nanos, other.nanos);
        self.lines = self.lines.saturating_add(other.lines);
        self
    }
}
