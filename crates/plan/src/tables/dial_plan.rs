//! Dial plans: prefixes of telephone numbers and the prices of calls to them
//! (docs/plan-semantics.md section 8).

use std::fmt;

use turnpike_types::Must;

use super::countries::DIGITS_MAX;
use super::distinct::{Distinct, Written};
use super::rows::{Column, Faults, Kind, Row, optional, required};
use crate::language::measure::{Decimal, Quantity, Unit};
use crate::language::price::Price;

const PREFIX: usize = 0;
const DESTINATION: usize = 1;
const PRICE: usize = 2;
const PER: usize = 3;
const SETUP: usize = 4;

/// The price of calls to the numbers of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DialRow<'t> {
    pub(crate) prefix: Prefix,
    pub(crate) destination: &'t str,
    pub(crate) price: &'t Written<Decimal>,
    /// The quantity that the price is for: a time or a bare count, above zero.
    pub(crate) per: &'t Written<Quantity>,
    /// The connection fee of a call.
    pub(crate) setup: Option<&'t Written<Decimal>>,
    /// The row's number in order of prefixes, from 0.
    pub(crate) index: u32,
}

/// Prefixes in order. Each prefix refers to the longest other prefix with which it begins.
#[derive(Debug)]
pub(crate) struct DialPlan {
    rows: Vec<StoredRow>,
    values: Values,
}

/// A row as it is kept: 32 bytes, because a plan can have a million rows.
#[derive(Clone, Copy, Debug)]
struct StoredRow {
    prefix: Prefix,
    /// The index of the row with the longest other prefix with which this prefix begins; or [`NONE`].
    within: u32,
    destination: u32,
    price: u32,
    per: u32,
    /// The number of the connection fee, or [`NONE`].
    setup: u32,
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Values {
    destinations: Box<[Written<()>]>,
    prices: Box<[Written<Decimal>]>,
    pers: Box<[Written<Quantity>]>,
}

impl DialPlan {
    /// The row with the longest prefix of a number, given as digits; `None` if no prefix matches.
    ///
    /// The last prefix that is not after the number in order either matches, or begins with every
    /// prefix that matches. So following `within` from it finds the longest match.
    pub(crate) fn longest(&self, digits: &str) -> Option<DialRow<'_>> {
        let number = pack(digits)?;
        let after = self.rows.partition_point(|row| row.prefix.0 <= number);
        let mut at = after.checked_sub(1)?;
        loop {
            let row = self.rows.get(at)?;
            if row.prefix.begins(number) {
                return Some(self.row(row, at));
            }
            at = usize::try_from(row.within).ok()?;
        }
    }

    fn row(&self, row: &StoredRow, at: usize) -> DialRow<'_> {
        let Values { destinations, prices, pers } = &self.values;
        DialRow {
            prefix: row.prefix,
            destination: &destinations[row.destination as usize].text,
            price: &prices[row.price as usize],
            per: &pers[row.per as usize],
            setup: (row.setup != NONE).then(|| &prices[row.setup as usize]),
            index: u32::try_from(at).must(FEW),
        }
    }
}

/// Why the number of a row fits four bytes.
const FEW: &str = "a table has fewer than 2^32 - 1 rows";

/// The digits of a prefix without `+`, packed, see [`pack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix(u64);

impl Prefix {
    /// Whether these are its digits.
    pub(crate) fn is(self, digits: &str) -> bool {
        digits.len() <= DIGITS_MAX && pack(digits) == Some(self.0)
    }

    fn begins(self, number: u64) -> bool {
        let other = 64 - 4 * self.len();
        // A key without digits begins every number.
        (self.0 ^ number).checked_shr(other).unwrap_or(0) == 0
    }

    const fn starts_with_zero(self) -> bool {
        self.0 >> 60 == 1
    }

    /// The number of digits.
    const fn len(self) -> u32 {
        16 - self.0.trailing_zeros() / 4
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in 0..self.len() {
            write!(f, "{}", (self.0 >> (60 - 4 * at) & 15).saturating_sub(1))?;
        }
        Ok(())
    }
}

/// Packs up to 15 digits into four bits each, as the digit + 1, from the top bits down, so that
/// packed numbers compare like their texts. Drops digits after the fifteenth. `None` if the text
/// has other characters.
fn pack(digits: &str) -> Option<u64> {
    let mut packed = 0;
    for (at, byte) in digits.bytes().enumerate() {
        if !byte.is_ascii_digit() {
            return None;
        }
        if at < DIGITS_MAX {
            packed |= u64::from(byte - b'0' + 1) << (60 - 4 * at);
        }
    }
    Some(packed)
}

/// The rows in the order of reading, each with its line in the file.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<(StoredRow, u32)>,
    destinations: Distinct<()>,
    prices: Distinct<Decimal>,
    pers: Distinct<Quantity>,
}

impl Kind for Rows {
    const COLUMNS: &'static [Column] = &[
        required("prefix"),
        required("destination"),
        required("price"),
        required("per"),
        optional("setup"),
    ];
    type Content = DialPlan;

    fn with_room_for(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            destinations: Distinct::default(),
            prices: Distinct::default(),
            pers: Distinct::default(),
        }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let (price, per) = (row.read(PRICE, Decimal::parse)?, row.read(PER, per)?);
        row.read(PRICE, |text| priceable(text, price, per.base))?;
        let setup = row.read_optional(SETUP, Decimal::parse)?;
        if let Some(fee) = setup {
            row.read(SETUP, |text| priceable(text, fee, 1))?;
        }
        let read = StoredRow {
            prefix: row.read(PREFIX, prefix)?,
            within: NONE,
            destination: self.destinations.number(row.cell(DESTINATION), ()),
            price: self.prices.number(row.cell(PRICE), price),
            per: self.pers.number(row.cell(PER), per),
            setup: setup.map_or(NONE, |fee| self.prices.number(row.cell(SETUP), fee)),
        };
        self.rows.push((read, row.line));
        Ok(0)
    }

    fn finish(self, faults: &mut Faults) -> DialPlan {
        let mut lined = self.rows;
        lined.sort_unstable_by_key(|(row, line)| (row.prefix, *line));
        faults.refuse_doubles(
            &lined,
            |(a, _), (b, _)| a.prefix == b.prefix,
            |&(_, line)| line,
            |(row, _)| format!("prefix {}", row.prefix),
        );
        for (row, line) in lined.iter().filter(|(row, _)| row.prefix.starts_with_zero()) {
            let message = format!(
                "prefix {}: no number begins with 0, because its country code comes first",
                row.prefix
            );
            faults.warn(*line, message);
        }
        let mut rows: Vec<StoredRow> = lined.into_iter().map(|(row, _)| row).collect();
        nest(&mut rows);
        let values = Values {
            destinations: self.destinations.into_values(),
            prices: self.prices.into_values(),
            pers: self.pers.into_values(),
        };
        DialPlan { rows, values }
    }
}

/// Notes for each of the rows, which are in order of prefixes, within which other one it is.
fn nest(rows: &mut [StoredRow]) {
    // The prefixes with which the previous prefix begins, itself included, shortest first.
    let mut open: Vec<(Prefix, u32)> = Vec::new();
    for (row, index) in rows.iter_mut().zip(0..) {
        while open.last().is_some_and(|(prefix, _)| !prefix.begins(row.prefix.0)) {
            open.pop();
        }
        row.within = open.last().map_or(NONE, |&(_, index)| index);
        open.push((row.prefix, index));
    }
}

fn prefix(text: &str) -> Result<Prefix, String> {
    let packed = pack(text).filter(|_| text.len() <= DIGITS_MAX);
    packed.map(Prefix).ok_or_else(|| {
        format!(
            "\"{text}\" is not a prefix: write 1 to {DIGITS_MAX} digits from the country code on, without +"
        )
    })
}

fn per(text: &str) -> Result<Quantity, String> {
    let per = Quantity::parse(text)?;
    match per.unit {
        Unit::Byte => Err(format!(
            "\"{text}\" is a quantity of bytes: calls are priced by time, such as 1 min, or by a bare count"
        )),
        _ if per.base == 0 => Err("it is zero: write 1 or more".to_owned()),
        _ => Ok(per),
    }
}

/// Checks that a rater can hold this price with any rounding of its plan, so that the price cannot
/// fail when a record is rated.
fn priceable(text: &str, amount: Decimal, per: i128) -> Result<(), String> {
    let holds = |digits| Price::new(amount, per, digits).is_some();
    if holds(0) && holds(9) {
        return Ok(());
    }
    Err(format!("\"{text}\" for this quantity has more digits than a price can hold"))
}
