//! The rated output, compared with the records that clients sent: is a record lost, or doubled, and
//! is an account charged what it used?

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use turnpike_proto::feed::v1::ChargeLine;

/// What the lines of a record show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatedUnits {
    /// The lines are for exactly the quantity of the record, and in one segment.
    Exact,
    /// There are no lines: the record was lost.
    Missing,
    /// The lines are for less than the quantity of the record: a part of it was lost. The number of
    /// units.
    Partial(i128),
    /// The lines are for more than the quantity of the record. The number of units.
    Surplus(i128),
    /// The lines are in two segments: the record was rated twice.
    InTwoSegments,
}

/// The lines of a record: the sum of their units, the segment of the first, and whether another
/// segment has lines of the record.
#[derive(Debug)]
struct RecordLines {
    units: i128,
    segment: (u32, u64),
    elsewhere: bool,
}

/// Rated output by account and record.
#[derive(Debug, Default)]
pub struct RatedOutput<'a> {
    records: HashMap<u64, HashMap<&'a str, RecordLines>>,
    charged: BTreeMap<u64, i128>,
}

impl<'a> RatedOutput<'a> {
    /// Reads lines of the feed.
    ///
    /// # Errors
    /// A line can't be parsed.
    pub fn read(lines: impl IntoIterator<Item = &'a ChargeLine>) -> Result<Self> {
        let mut output = Self::default();
        for line in lines {
            let segment = (line.partition, line.segment);
            let first = || RecordLines { units: 0, segment, elsewhere: false };
            let account = output.records.entry(line.account_number).or_default();
            let record = account.entry(&line.record_id).or_insert_with(first);
            record.units += line.units.parse::<i128>().context("units are a whole number")?;
            record.elsewhere |= record.segment != segment;
            let charged = output.charged.entry(line.account_number).or_default();
            *charged += nanos(&line.amount)?;
        }
        Ok(output)
    }

    /// Compares the lines of a record with its quantity, and forgets them.
    pub fn take(&mut self, account: u64, record_id: &str, quantity: i128) -> RatedUnits {
        let found = self.records.get_mut(&account).and_then(|records| records.remove(record_id));
        match found {
            None => RatedUnits::Missing,
            Some(lines) if lines.elsewhere => RatedUnits::InTwoSegments,
            Some(RecordLines { units, .. }) if units > quantity => RatedUnits::Surplus(units),
            Some(RecordLines { units, .. }) if units < quantity => RatedUnits::Partial(units),
            Some(_) => RatedUnits::Exact,
        }
    }

    /// The number of records that have lines and were not taken. After all sent records were taken:
    /// those that were not sent.
    pub fn untaken(&self) -> usize {
        self.records.values().map(HashMap::len).sum()
    }

    /// The sum that an account was charged, in billionths of the currency unit.
    pub fn charged_nanos(&self, account: u64) -> i128 {
        self.charged.get(&account).copied().unwrap_or_default()
    }
}

/// An amount of the feed, in billionths of the currency unit. Read independently of the product's
/// type for money.
fn nanos(amount: &str) -> Result<i128> {
    let digits = amount.rsplit_once('.').filter(|(_, decimals)| decimals.len() == 9);
    let (whole, decimals) = digits.with_context(|| format!("{amount}: not nine decimals"))?;
    format!("{whole}{decimals}").parse().with_context(|| amount.to_owned())
}

/// The price of an account's octets in a month under the plans of drills and tests, in billionths of
/// the currency unit: 1,000 octets are free, each further one costs 0.00005, in any order of records.
/// Calculated independently of the rating.
pub fn octets_price_nanos(octets: i128) -> i128 {
    (octets - 1_000).max(0) * 50_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0.000000000";

    fn line(record_id: &str, segment: u64, units: i64, amount: &str) -> ChargeLine {
        ChargeLine {
            partition: 1,
            segment,
            account_number: 9,
            record_id: record_id.to_owned(),
            units: units.to_string(),
            amount: amount.to_owned(),
            ..ChargeLine::default()
        }
    }

    #[test]
    fn a_record_is_rated_if_its_lines_in_one_segment_cover_exactly_its_quantity() {
        let lines = [
            line("a", 4, 30, "0.100000000"),
            line("a", 4, 12, "-0.300000000"),
            line("b", 5, 7, ZERO),
        ];
        let mut output = RatedOutput::read(&lines).unwrap();
        assert_eq!(output.take(9, "a", 42), RatedUnits::Exact);
        assert_eq!(output.take(9, "b", 7), RatedUnits::Exact);
        assert_eq!((output.untaken(), output.charged_nanos(9)), (0, -200_000_000));
    }

    #[test]
    fn lost_doubled_and_foreign_records_are_told_apart() {
        let lines = [line("a", 4, 30, ZERO), line("b", 4, 7, ZERO), line("b", 5, 0, ZERO)];
        let output = || RatedOutput::read(&lines).unwrap();
        assert_eq!(output().take(9, "c", 1), RatedUnits::Missing);
        assert_eq!(output().take(8, "a", 30), RatedUnits::Missing);
        assert_eq!(output().take(9, "a", 31), RatedUnits::Partial(30));
        assert_eq!(output().take(9, "a", 29), RatedUnits::Surplus(30));
        assert_eq!(output().take(9, "b", 7), RatedUnits::InTwoSegments);
        // A record that is taken twice was sent under one key twice: its lines count once.
        let mut output = output();
        assert_eq!(output.take(9, "a", 30), RatedUnits::Exact);
        assert_eq!(output.take(9, "a", 30), RatedUnits::Missing);
        assert_eq!(output.untaken(), 1);
    }

    #[test]
    fn a_line_without_a_number_is_an_error() {
        for amount in ["much", "", "1", "1.00", "1.0000000000", "1.00000000x"] {
            assert!(RatedOutput::read(&[line("a", 1, 1, amount)]).is_err(), "{amount}");
        }
        let unclear = ChargeLine { units: "some".to_owned(), ..line("a", 1, 1, ZERO) };
        assert!(RatedOutput::read(&[unclear]).is_err());
    }

    #[test]
    fn a_thousand_octets_are_free() {
        assert_eq!([0, 1_000, 1_001, 3_000].map(octets_price_nanos), [0, 0, 50_000, 100_000_000]);
    }
}
