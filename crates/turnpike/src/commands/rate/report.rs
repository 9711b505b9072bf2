//! Charge lines on standard output, what could not be rated on standard error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, StdoutLock, Write as _};

use jiff::civil::Date;
use serde::Serialize;
use turnpike_collect::{Fault, Row};
use turnpike_plan::{ComponentKind, DUE_USAGE_TYPE, Period};
use turnpike_trial::{Charge, Charges, FellDue, Outcome};
use turnpike_types::{Money, Timestamp, UsageRecord};

use crate::exit::Finish;
use crate::{ui, values};

/// One charge line with its receipt.
#[derive(Serialize)]
struct Shown<'a> {
    record_id: &'a str,
    component: &'a str,
    /// Base units: octets, pieces, microseconds.
    quantity: i128,
    amount: String,
    currency: String,
    plan: &'a str,
    version: u32,
    primitive: &'a str,
    unit: &'a str,
    price: &'a str,
    period: Cow<'a, str>,
    level_before: Option<i128>,
    level_after: Option<i128>,
    first_unit: i64,
    kind: &'static str,
    account_number: u64,
    usage_type: &'a str,
    start_time: String,
    /// Where the amount goes, and to whose account.
    posting: &'static str,
    posted_to: Option<u64>,
    /// The line's number within what the record came to, or what fell due, from 0.
    line: usize,
    /// The number of the line that it was made of.
    of: Option<u32>,
    /// The row, from 0, of the reference table.
    row: Option<u32>,
    /// The local date on which it fell due, without usage.
    due: Option<String>,
    late: bool,
}

/// What lines come from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    record_id: &'a str,
    usage_type: &'a str,
    at: Timestamp,
    due: Option<Date>,
    late: bool,
}

enum Out {
    Csv(Box<csv::Writer<StdoutLock<'static>>>),
    Json(BufWriter<StdoutLock<'static>>),
}

/// Writes lines and counts.
pub(crate) struct Lines {
    out: Out,
    records: u64,
    lines: u64,
    left_over: u64,
    totals: BTreeMap<String, Option<Money>>,
}

impl Lines {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout().lock();
        let out = if json {
            Out::Json(BufWriter::new(stdout))
        } else {
            Out::Csv(Box::new(csv::Writer::from_writer(stdout)))
        };
        Self { out, records: 0, lines: 0, left_over: 0, totals: BTreeMap::new() }
    }

    /// Writes what became of a record.
    pub(crate) fn write(
        &mut self,
        row: &Row<UsageRecord>,
        outcome: Outcome<'_>,
    ) -> anyhow::Result<()> {
        let left_over = match outcome {
            Outcome::Rated(charges) => {
                self.records += 1;
                let UsageRecord { record_id, usage_type, start, .. } = &row.content;
                let (at, due, late) = (*start, None, charges.is_late());
                return self.charges(&charges, Origin { record_id, usage_type, at, due, late });
            }
            Outcome::Suspended(reason) => format!("suspended, {reason}"),
            Outcome::Duplicate(line) => {
                let id = &row.content.record_id;
                ui::tell(format_args!(
                    "line {}, record {id}: the same as on line {line}; counted once",
                    row.line
                ));
                return Ok(());
            }
            Outcome::Conflict(line) => {
                format!("rejected, conflict: line {line} has the same id and another content")
            }
        };
        self.left_over += 1;
        ui::tell(format_args!("line {}, record {}: {left_over}", row.line, row.content.record_id));
        Ok(())
    }

    /// Tells of a record that is not rated.
    pub(crate) fn rejected(&mut self, row: &Row<UsageRecord>, why: &str) {
        self.left_over += 1;
        ui::tell(format_args!("line {}, record {}: {why}", row.line, row.content.record_id));
    }

    /// Writes what fell due.
    pub(crate) fn fell_due(&mut self, dues: Vec<FellDue>) -> anyhow::Result<()> {
        for fell_due in dues {
            let (at, due) = (fell_due.at, Some(fell_due.date()));
            match fell_due.charges() {
                Ok(charges) => {
                    let usage_type = DUE_USAGE_TYPE;
                    let origin = Origin { record_id: "", usage_type, at, due, late: false };
                    self.charges(&charges, origin)?;
                }
                Err(reason) => {
                    self.left_over += 1;
                    let (account, what, date) = (fell_due.account, fell_due.what, fell_due.date());
                    ui::tell(format_args!(
                        "account {account}, {what} due {date}: not booked, {reason}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn charges(&mut self, charges: &Charges<'_>, origin: Origin<'_>) -> anyhow::Result<()> {
        for (number, charge) in charges.iter().enumerate() {
            self.line(&shown(origin, number, &charge))?;
            self.add(&charge);
        }
        Ok(())
    }

    /// Tells of a row that is no record.
    pub(crate) fn bad_row(&mut self, fault: &Fault) {
        self.left_over += 1;
        ui::tell(fault);
    }

    fn line(&mut self, shown: &Shown<'_>) -> anyhow::Result<()> {
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

    /// Adds up what somebody owes.
    fn add(&mut self, charge: &Charge<'_>) {
        if charge.posted_to().is_none() {
            return;
        }
        let currency = charge.component.currency.to_string();
        let total = self.totals.entry(currency).or_insert(Some(Money::ZERO));
        *total = total.and_then(|total| total.checked_add(charge.line.amount));
    }

    /// Tells the totals.
    pub(crate) fn finish(self) -> anyhow::Result<Finish> {
        match self.out {
            Out::Csv(mut writer) => writer.flush()?,
            Out::Json(mut writer) => writer.flush()?,
        }
        let [records, lines] = [self.records, self.lines].map(ui::count);
        ui::tell(format_args!("{records} records rated, {lines} lines"));
        for (currency, total) in &self.totals {
            match total {
                Some(total) => ui::tell(format_args!("  {currency} {total}")),
                None => ui::tell(format_args!("  {currency}: the total has more than 38 digits")),
            }
        }
        if self.left_over > 0 {
            ui::tell(format_args!("{} rows are left over, told above", ui::count(self.left_over)));
        }
        Ok(Finish::unless(self.left_over > 0))
    }
}

fn shown<'a>(origin: Origin<'a>, number: usize, charge: &Charge<'a>) -> Shown<'a> {
    let Charge { account, code, component, line } = *charge;
    let has_level = component.level.is_some() && component.kind == ComponentKind::Usage;
    Shown {
        record_id: origin.record_id,
        component: &component.component,
        quantity: line.quantity,
        amount: line.amount.to_string(),
        currency: component.currency.to_string(),
        plan: code.plan_id(),
        version: code.version(),
        primitive: &component.primitive,
        unit: component.unit.as_str(),
        price: &component.price,
        period: period(line.period),
        level_before: has_level.then_some(line.level_before),
        level_after: has_level.then_some(line.level_after),
        first_unit: line.first_unit,
        kind: component.kind.word(),
        account_number: account.0,
        usage_type: origin.usage_type,
        start_time: values::show_instant(origin.at.0),
        posting: line.posting.word(),
        posted_to: charge.posted_to().map(|account| account.0),
        line: number,
        of: line.of,
        row: line.row,
        due: origin.due.map(|date| date.to_string()),
        late: origin.late,
    }
}

fn period(period: Period) -> Cow<'static, str> {
    if period == Period::EVER {
        return Cow::Borrowed("");
    }
    let first = Date::constant(1970, 1, 1);
    let date = first.checked_add(jiff::Span::new().days(period.0));
    date.map_or(Cow::Borrowed("?"), |date| Cow::Owned(date.to_string()))
}
