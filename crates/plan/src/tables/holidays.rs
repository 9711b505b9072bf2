//! Special days, at one place or at all places (docs/plan-semantics.md section 8).

use std::collections::HashMap;

use jiff::civil::Date;

use super::place;
use super::rows::{Column, Faults, Kind, Row, optional, required};
use crate::language::values;

const DATE: usize = 0;
const PLACE: usize = 2;

/// A date of one year or of every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SpecialDay {
    /// A date of one year.
    Once(Date),
    /// Month and day of every year; 29 February in leap years only.
    Yearly(i8, i8),
}

impl SpecialDay {
    /// Reads `2026-12-25`, or `--12-25` for every year.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(month_and_day) = text.strip_prefix("--") else {
            let date = values::date(text).map(Self::Once);
            return date.map_err(|why| format!("{why}, or --MM-DD for every year"));
        };
        // 2000 is a leap year, so it has every day that a year can have.
        match values::date(&format!("2000-{month_and_day}")) {
            Ok(date) => Ok(Self::Yearly(date.month(), date.day())),
            Err(_) => Err(format!(
                "\"{text}\" is not a day of the year: write --MM-DD, or YYYY-MM-DD for one year"
            )),
        }
    }
}

/// Special days by place. Days without a place have the empty text as their key.
#[derive(Debug, Default)]
pub(crate) struct Holidays {
    /// The days of each place are sorted.
    places: HashMap<Box<str>, Vec<SpecialDay>>,
}

impl Holidays {
    /// Whether a date is special at a place: at all places, at this place, or at a place that
    /// contains it.
    pub(crate) fn is_special(&self, date: Date, place: &str) -> bool {
        let (once, yearly) = (SpecialDay::Once(date), SpecialDay::Yearly(date.month(), date.day()));
        std::iter::once("").chain(place::lineage(place)).any(|name| {
            self.places.get(name).is_some_and(|days| {
                days.binary_search(&once).is_ok() || days.binary_search(&yearly).is_ok()
            })
        })
    }
}

/// The rows in the order of reading, each with its line in the file.
#[derive(Debug)]
pub(super) struct Rows(Vec<(Box<str>, SpecialDay, u32)>);

impl Kind for Rows {
    const COLUMNS: &'static [Column] = &[required("date"), required("name"), optional("place")];
    type Content = Holidays;

    fn with_room_for(rows: usize) -> Self {
        Self(Vec::with_capacity(rows))
    }

    fn take(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let day = row.read(DATE, SpecialDay::parse)?;
        let place = row.read_optional(PLACE, place::check)?.unwrap_or_default();
        self.0.push((place, day, row.line));
        Ok(0)
    }

    fn finish(self, faults: &mut Faults) -> Holidays {
        let mut days = self.0;
        days.sort();
        for pair in days.windows(2) {
            if let [(place, day, first), (other, same, line)] = pair
                && (place, day) == (other, same)
            {
                faults.warn(*line, format!("the day is on line {first} already: take one out"));
            }
        }
        let mut holidays = Holidays::default();
        for (place, day, _) in days {
            holidays.places.entry(place).or_default().push(day);
        }
        holidays
    }
}
