//! Exchange rates between currencies, by date (docs/plan-semantics.md section 3).

use jiff::civil::Date;
use turnpike_types::Currency;

use super::rows::{Column, Faults, Kind, Row, optional, required};
use crate::language::measure::Decimal;
use crate::language::values;

const FROM: usize = 0;
const TO: usize = 1;
const RATE: usize = 2;
const SINCE: usize = 3;

/// A rate of a pair of currencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RateRow {
    pub(crate) from: Currency,
    pub(crate) to: Currency,
    /// The amount of `to` for one unit of `from`; above zero.
    pub(crate) rate: Decimal,
    pub(crate) rate_text: Box<str>,
    /// The first date on which the rate is in force; `None` if it has always been in force.
    pub(crate) since: Option<Date>,
    /// The row's number in order of pairs and dates, from 0.
    pub(crate) index: u32,
}

impl RateRow {
    fn key(&self) -> (Currency, Currency, Option<Date>) {
        (self.from, self.to, self.since)
    }
}

/// Rates in order of pairs and dates.
#[derive(Debug)]
pub(crate) struct ExchangeRates {
    rows: Vec<RateRow>,
}

impl ExchangeRates {
    /// The rate of exactly this pair that is in force on a date. The inverse of the rate of the
    /// opposite pair is never used, because the two pairs have different prices.
    pub(crate) fn rate(&self, from: Currency, to: Currency, date: Date) -> Option<&RateRow> {
        let after = self.rows.partition_point(|row| row.key() <= (from, to, Some(date)));
        let row = self.rows.get(after.checked_sub(1)?)?;
        ((row.from, row.to) == (from, to)).then_some(row)
    }
}

/// The rows in the order of reading, each with its line in the file.
#[derive(Debug)]
pub(super) struct Rows(Vec<(RateRow, u32)>);

impl Kind for Rows {
    const COLUMNS: &'static [Column] =
        &[required("from"), required("to"), required("rate"), optional("since")];
    type Content = ExchangeRates;

    fn with_room_for(rows: usize) -> Self {
        Self(Vec::with_capacity(rows))
    }

    fn take(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let currency: fn(&str) -> Result<Currency, String> = match row.is_published {
            true => values::currency,
            false => values::listed_currency,
        };
        let (from, to) = (row.read(FROM, currency)?, row.read(TO, currency)?);
        if from == to {
            return Err(format!("to: {to} is the currency of from too: write another currency"));
        }
        let read = RateRow {
            from,
            to,
            rate: row.read(RATE, rate)?,
            rate_text: row.cell(RATE).into(),
            since: row.read_optional(SINCE, values::date)?,
            index: 0,
        };
        self.0.push((read, row.line));
        Ok(0)
    }

    fn finish(self, faults: &mut Faults) -> ExchangeRates {
        let mut lined = self.0;
        lined.sort_by_key(|(row, line)| (row.key(), *line));
        faults.refuse_doubles(
            &lined,
            |(a, _), (b, _)| a.key() == b.key(),
            |&(_, line)| line,
            |(row, _)| described(row),
        );
        let mut rows: Vec<RateRow> = lined.into_iter().map(|(row, _)| row).collect();
        for (at, row) in (0..).zip(&mut rows) {
            row.index = at;
        }
        ExchangeRates { rows }
    }
}

fn described(row: &RateRow) -> String {
    let since = row.since.map_or("from the beginning".to_owned(), |date| format!("since {date}"));
    format!("the rate of {} in {} {since}", row.from, row.to)
}

fn rate(text: &str) -> Result<Decimal, String> {
    let rate = Decimal::parse(text)?;
    if rate.digits == 0 {
        return Err("it is zero: write the amount of to for one unit of from".to_owned());
    }
    Ok(rate)
}
