//! Stepping through the evaluation of a record: the inputs, outputs, booked lines and state of each
//! primitive, as plain values to print or to store.

mod text;

use serde::Serialize;
use turnpike_plan::{
    ChargeLine, Component, Due, ObjectCode, Period, PortUnits, PrimitiveStep, StateEntry, Unit,
    UnitDistribution, Watch, Zone,
};
use turnpike_tariff::Tariff;
use turnpike_types::{Posting, UsageRecord};

/// Receives the steps of an evaluation, in the order in which the primitives run.
pub trait Stepper {
    /// A primitive has run.
    fn step(&mut self, step: &Stepped);
}

/// The work of one primitive on a record or a due item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stepped {
    /// The record's id; for a due item, `due:` and the date on which it falls due, in the account's
    /// time zone.
    pub record: String,
    /// The id of the plan.
    pub plan: String,
    /// The version of the plan.
    pub version: u32,
    /// The primitive's id.
    pub primitive: String,
    /// The type of the primitive.
    #[serde(rename = "type")]
    pub kind: String,
    /// The line number of the primitive in the plan's XML.
    pub line: u32,
    /// The units that the primitive received.
    pub inputs: Vec<Port>,
    /// The units that the primitive sent to other primitives.
    pub outputs: Vec<Port>,
    /// The charge lines that the primitive booked.
    pub booked: Vec<Booked>,
    /// The earlier charge lines whose posting the primitive changed.
    pub moved: Vec<Moved>,
    /// The variables that the primitive set.
    pub variables: Vec<VariableChange>,
    /// The reason, if this primitive suspended the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<&'static str>,
    /// The detail of the reason: the measure, attribute, number or table that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The units at one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The name of the port.
    pub port: String,
    /// Ranges of units, in order.
    pub runs: Vec<UnitRange>,
    /// Whether a record without units passed the port; then `runs` is empty.
    pub empty_record: bool,
}

/// A range of consecutive units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnitRange {
    /// The first unit, counted within the record from 0.
    pub first: i64,
    /// The unit after the last one.
    pub end: i64,
    /// The factor by which each unit counts.
    pub times: i128,
    /// The resulting quantity as text: `7200 s`.
    pub quantity: String,
    /// The start of the first unit, in the account's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The end of the last unit, in the account's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A charge line that was booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Booked {
    /// The number of the line within the record or due item, from 0.
    pub number: usize,
    /// The component that the line charges for.
    pub component: String,
    /// The kind of charge, such as `usage` or `one-time`.
    pub kind: &'static str,
    /// The quantity as text: `7200 s`.
    pub quantity: String,
    /// The price as written in the plan.
    pub price: String,
    /// The amount.
    pub amount: String,
    /// The currency of the amount.
    pub currency: String,
    /// The first date of the period; empty if there is none.
    pub period: String,
    /// The accumulator before the first and after the last unit, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<(String, String)>,
    /// The number of the line from which this line was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// The row, from 0, of the reference table that gave the price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// The posting: `account`, `second-account 901`, `nobody`, `replaced`, `trial`.
    pub posting: String,
}

/// An earlier charge line whose posting was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The number of the line within the record or due item, from 0.
    pub number: usize,
    /// The posting before the change.
    pub before: String,
    /// The posting after the change.
    pub after: String,
}

/// A variable that was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VariableChange {
    /// The primitive's id; for a step's constant `rater/step`.
    pub variable: String,
    /// The first date of the period; empty if there is none.
    pub period: String,
    /// The value before the primitive ran, in base units.
    pub before: i128,
    /// The value after the primitive ran, in base units.
    pub after: i128,
    /// The unit of the value.
    pub unit: &'static str,
    /// The period as text: `2026-11-01`, `subscription from 2026-11-01T00:00:00+00:00`.
    pub period_words: String,
    /// The value before as text: `7200 s`, `charged until 2026-12-01`, `nothing`.
    pub before_words: String,
    /// The value after the primitive ran, as text.
    pub after_words: String,
}

/// Converts the evaluator's steps to plain values.
pub(crate) struct StepWatcher<'a> {
    record: String,
    /// Whether a due item is rated. Primitives without an effect on a due item are left out.
    is_due: bool,
    tariff: &'a Tariff,
    /// The posting of each line booked so far, as of the previous step.
    postings: Vec<Posting>,
    stepper: &'a mut dyn Stepper,
}

impl<'a> StepWatcher<'a> {
    pub(crate) fn of_record(
        record: &UsageRecord,
        tariff: &'a Tariff,
        stepper: &'a mut dyn Stepper,
    ) -> Self {
        let record = record.record_id.clone();
        Self { record, is_due: false, tariff, postings: Vec::new(), stepper }
    }

    pub(crate) fn of_due(due: &Due, tariff: &'a Tariff, stepper: &'a mut dyn Stepper) -> Self {
        let record = format!("due:{}", tariff.context.zone.date_at(due.at));
        Self { record, is_due: true, tariff, postings: Vec::new(), stepper }
    }

    fn moved(&mut self, booked: &[ChargeLine]) -> Vec<Moved> {
        let known = self.postings.iter().zip(booked).enumerate();
        let moved = known.filter(|(_, (before, line))| **before != line.posting);
        let moved = moved.map(|(number, (before, line))| Moved {
            number,
            before: posting(*before),
            after: posting(line.posting),
        });
        let moved = moved.collect();
        self.postings.clear();
        self.postings.extend(booked.iter().map(|line| line.posting));
        moved
    }
}

impl Watch for StepWatcher<'_> {
    fn step(&mut self, step: &PrimitiveStep<'_>) {
        let Some(plan) = self.tariff.plans.get(usize::from(step.plan)) else { return };
        let code = &plan.code;
        let zone = &self.tariff.context.zone;
        let booked = step.lines.clone().filter_map(|number| {
            let line = step.booked.get(number)?;
            let component = code.components().get(usize::from(line.component))?;
            Some(booked(number, line, component))
        });
        let detail = step.refused.as_ref().map(|refused| &refused.detail);
        let detail = detail.filter(|detail| !detail.is_empty());
        let stepped = Stepped {
            record: self.record.clone(),
            plan: code.plan_id().to_owned(),
            version: code.version(),
            primitive: step.id.to_owned(),
            kind: step.kind.to_owned(),
            line: step.line,
            inputs: step.inputs.iter().map(|carried| port(carried, zone)).collect(),
            outputs: step.outputs.iter().map(|carried| port(carried, zone)).collect(),
            booked: booked.collect(),
            moved: self.moved(step.booked),
            variables: step.changes.iter().map(|change| remembered(change, code, zone)).collect(),
            suspended: step.refused.as_ref().map(|refused| refused.reason.word()),
            detail: detail.map(|detail| detail.as_str().to_owned()),
        };
        if !self.is_due || stepped.does_something() {
            self.stepper.step(&stepped);
        }
    }
}

impl Stepped {
    fn does_something(&self) -> bool {
        let is_quiet = self.booked.is_empty() && self.moved.is_empty() && self.variables.is_empty();
        !is_quiet || self.suspended.is_some()
    }
}

fn port(carried: &PortUnits<'_>, zone: &Zone) -> Port {
    let unit = match carried.in_time {
        Some(in_time) if in_time.counts_time() => Unit::Microsecond,
        _ => Unit::One,
    };
    let instant = |unit: i64| {
        let in_time = carried.in_time.as_ref();
        in_time.map(|in_time: &UnitDistribution| zone.show(in_time.instant(unit)))
    };
    let run = |&(first, end, times): &(i64, i64, i128)| UnitRange {
        first,
        end,
        times,
        quantity: i128::from(end.saturating_sub(first))
            .checked_mul(times)
            .map_or_else(|| "more than 128 bits".to_owned(), |quantity| unit.shown(quantity)),
        from: instant(first),
        to: instant(end),
    };
    Port {
        port: carried.port.to_owned(),
        runs: carried.spans.iter().map(run).collect(),
        empty_record: carried.empty_record,
    }
}

fn booked(number: usize, line: &ChargeLine, component: &Component) -> Booked {
    let level = |total| component.unit.shown(total);
    let levels = || (level(line.level_before), level(line.level_after));
    let component_name = if component.primitive == component.component {
        component.component.clone()
    } else {
        format!("{}/{}", component.primitive, component.component)
    };
    Booked {
        number,
        component: component_name,
        kind: component.kind.word(),
        quantity: component.unit.shown(line.quantity),
        price: component.price.clone(),
        amount: line.amount.to_string(),
        currency: component.currency.to_string(),
        period: period(line.period),
        level: component.level.is_some().then(levels),
        of: line.of,
        row: line.row,
        posting: posting(line.posting),
    }
}

fn remembered(
    (before, after): &(StateEntry, StateEntry),
    code: &ObjectCode,
    zone: &Zone,
) -> VariableChange {
    let variable = code.variables().iter().find(|variable| variable.id == after.variable);
    let words = |entry: &StateEntry| match variable {
        Some(known) => known.words(entry, zone),
        None => (period(entry.period), entry.value.to_string()),
    };
    let ((period_words, after_words), (_, before_words)) = (words(after), words(before));
    VariableChange {
        variable: variable.map_or_else(|| "?".to_owned(), |known| known.primitive.clone()),
        period_words,
        before_words,
        after_words,
        period: period(after.period),
        before: before.value,
        after: after.value,
        unit: variable.map_or(Unit::One, |known| known.unit).as_str(),
    }
}

fn posting(posting: Posting) -> String {
    match posting {
        Posting::Second(account) => format!("{} {account}", posting.word()),
        _ => posting.word().to_owned(),
    }
}

/// The first date of a period; a period that is not a date is shown as its number.
fn period(period: Period) -> String {
    if period == Period::EVER {
        return String::new();
    }
    let first = jiff::civil::Date::constant(1970, 1, 1);
    // The period of a subscription is a number outside the range of the calendar.
    let days = jiff::Span::new().try_days(period.0);
    let date = days.and_then(|days| first.checked_add(days));
    match date {
        Ok(date) => date.to_string(),
        Err(_) => period.0.to_string(),
    }
}
