//! Writes charge lines to standard output, and records that could not be rated to standard error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, StdoutLock, Write as _};

use jiff::civil::Date;
use turnpike_collect::{Fault, Row};
use turnpike_plan::{DUE_USAGE_TYPE, Period};
use turnpike_trial::{Charge, Charges, FellDue, TrialOutcome};
use turnpike_types::{Money, Timestamp, UsageRecord};

use crate::charge_row::ChargeRow;
use crate::exit::Finish;
use crate::{ui, values};

/// The source of charge lines: a record or a due charge.
#[derive(Clone, Copy)]
struct Origin<'a> {
    /// The record's id; `due:DATE` for a due charge.
    record_id: &'a str,
    usage_type: &'a str,
    at: Timestamp,
    duration_us: Option<i64>,
    quantity: Option<i64>,
    late: bool,
    source: &'static str,
}

enum Out {
    Csv(Box<csv::Writer<StdoutLock<'static>>>),
    Json(BufWriter<StdoutLock<'static>>),
}

/// Writes charge lines and keeps their totals.
pub(crate) struct ChargeWriter {
    out: Out,
    records: u64,
    lines: u64,
    left_over: u64,
    totals: BTreeMap<String, Option<Money>>,
}

impl ChargeWriter {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout().lock();
        let out = if json {
            Out::Json(BufWriter::new(stdout))
        } else {
            Out::Csv(Box::new(csv::Writer::from_writer(stdout)))
        };
        Self { out, records: 0, lines: 0, left_over: 0, totals: BTreeMap::new() }
    }

    /// Writes the outcome of a record.
    pub(crate) fn write(
        &mut self,
        row: &Row<UsageRecord>,
        outcome: TrialOutcome<'_>,
    ) -> anyhow::Result<()> {
        let left_over = match outcome {
            TrialOutcome::Rated(charges) => {
                self.records += 1;
                let UsageRecord { record_id, usage_type, start, quantity, .. } = &row.content;
                let origin = Origin {
                    record_id,
                    usage_type,
                    at: *start,
                    duration_us: row.content.stated_duration_us(),
                    quantity: *quantity,
                    late: charges.is_late(),
                    source: "usage",
                };
                return self.charges(&charges, origin);
            }
            TrialOutcome::Suspended(suspension) => format!("suspended, {suspension}"),
            TrialOutcome::Duplicate(line) => {
                let id = &row.content.record_id;
                ui::print_stderr(format_args!(
                    "line {}, record {id}: the same as on line {line}; counted once",
                    row.line
                ));
                return Ok(());
            }
            TrialOutcome::Conflict(line) => {
                format!("rejected, conflict: line {line} has the same id and another content")
            }
        };
        self.left_over += 1;
        ui::print_stderr(format_args!(
            "line {}, record {}: {left_over}",
            row.line, row.content.record_id
        ));
        Ok(())
    }

    /// Reports a record that is not rated.
    pub(crate) fn rejected(&mut self, row: &Row<UsageRecord>, why: &str) {
        self.left_over += 1;
        ui::print_stderr(format_args!(
            "line {}, record {}: {why}",
            row.line, row.content.record_id
        ));
    }

    /// Writes the charges that fell due.
    pub(crate) fn fell_due(&mut self, dues: Vec<FellDue>) -> anyhow::Result<()> {
        for fell_due in dues {
            match fell_due.charges() {
                Ok(charges) => {
                    let origin = Origin {
                        record_id: &format!("due:{}", fell_due.date()),
                        usage_type: DUE_USAGE_TYPE,
                        at: fell_due.at,
                        duration_us: None,
                        quantity: None,
                        late: false,
                        source: "due",
                    };
                    self.charges(&charges, origin)?;
                }
                Err(suspension) => {
                    self.left_over += 1;
                    let (account, what, date) = (fell_due.account, fell_due.what, fell_due.date());
                    ui::print_stderr(format_args!(
                        "account {account}, {what} due {date}: not booked, {suspension}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn charges(&mut self, charges: &Charges<'_>, origin: Origin<'_>) -> anyhow::Result<()> {
        let first = self.lines;
        for (row, charge) in (first..).zip(charges.iter()) {
            self.line(&shown(origin, (first, row), &charge))?;
            self.add(&charge);
        }
        Ok(())
    }

    /// Reports a row that is not a valid record.
    pub(crate) fn bad_row(&mut self, fault: &Fault) {
        self.left_over += 1;
        ui::print_stderr(fault);
    }

    fn line(&mut self, shown: &ChargeRow<'_>) -> anyhow::Result<()> {
        self.lines += 1;
        match &mut self.out {
            Out::Csv(writer) => writer.serialize(shown)?,
            Out::Json(writer) => {
                serde_json::to_writer(&mut *writer, shown)?;
                writer.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    /// Adds the charge to the totals if it is posted to an account.
    fn add(&mut self, charge: &Charge<'_>) {
        if charge.posted_to().is_none() {
            return;
        }
        let currency = charge.component.currency.to_string();
        let total = self.totals.entry(currency).or_insert(Some(Money::ZERO));
        *total = total.and_then(|total| total.checked_add(charge.line.amount));
    }

    /// Prints the totals.
    pub(crate) fn finish(self) -> anyhow::Result<Finish> {
        match self.out {
            Out::Csv(mut writer) => writer.flush()?,
            Out::Json(mut writer) => writer.flush()?,
        }
        let [records, lines] = [self.records, self.lines].map(ui::count);
        ui::print_stderr(format_args!("{records} records rated, {lines} lines"));
        for (currency, total) in &self.totals {
            match total {
                Some(total) => ui::print_stderr(format_args!("  {currency} {total}")),
                None => ui::print_stderr(format_args!(
                    "  {currency}: the total has more than 38 digits"
                )),
            }
        }
        if self.left_over > 0 {
            ui::print_stderr(format_args!(
                "{} rows are left over; see the messages above",
                ui::count(self.left_over)
            ));
        }
        Ok(Finish::unless(self.left_over > 0))
    }
}

/// The columns of a charge. `row` is the number of its row, `first` that of the first row of the
/// same record.
fn shown<'a>(origin: Origin<'a>, (first, row): (u64, u64), charge: &Charge<'a>) -> ChargeRow<'a> {
    let Charge { account, code, component, line } = *charge;
    let level = |value: i128| match component.level {
        Some(_) => Cow::Owned(value.to_string()),
        None => Cow::Borrowed(""),
    };
    ChargeRow {
        partition: None,
        segment: None,
        row,
        record_id: Cow::Borrowed(origin.record_id),
        account_number: account.0,
        usage_type: origin.usage_type,
        start_time: values::show_instant(origin.at.0),
        duration_us: origin.duration_us,
        quantity: origin.quantity,
        plan: code.plan_id(),
        version: code.version(),
        primitive: &component.primitive,
        component: &component.component,
        kind: component.kind.word(),
        units: Cow::Owned(line.quantity.to_string()),
        unit: component.unit.as_str(),
        first_unit: line.first_unit,
        period: period(line.period),
        price: &component.price,
        level_before: level(line.level_before),
        level_after: level(line.level_after),
        amount: Cow::Owned(line.amount.to_string()),
        currency: Cow::Owned(component.currency.to_string()),
        rated_at: String::new(),
        posted_to: charge.posted_to().map_or(0, |account| account.0),
        posting: line.posting.word(),
        of_row: line.of.map(|of| first + u64::from(of)),
        late: origin.late,
        source: origin.source,
        table_row: line.row,
    }
}

fn period(period: Period) -> Cow<'static, str> {
    if period == Period::EVER {
        return Cow::Borrowed("");
    }
    let first = Date::constant(1970, 1, 1);
    let date = first.checked_add(jiff::Span::new().days(period.0));
    match date {
        Ok(date) => Cow::Owned(date.to_string()),
        Err(_) => Cow::Borrowed("?"),
    }
}
