//! Dial plans: prefixes of telephone numbers and the prices of calls to them
//! (docs/plan-semantics.md section 8).

use turnpike_types::Must;

use super::countries::DIGITS_MAX;
use super::rows::{Column, Faults, Kind, Row, optional, required};
use crate::language::measure::{Decimal, Quantity, Unit};
use crate::language::price::Price;

const PREFIX: usize = 0;
const DESTINATION: usize = 1;
const PRICE: usize = 2;
const PER: usize = 3;
const SETUP: usize = 4;

/// The price of calls to the numbers of one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialRow {
    /// The digits of the prefix, without `+`.
    pub(crate) prefix: Box<str>,
    pub(crate) destination: Box<str>,
    pub(crate) price: Decimal,
    pub(crate) price_text: Box<str>,
    /// The quantity that the price is for: a time or a bare count, above zero.
    pub(crate) per: Quantity,
    pub(crate) per_text: Box<str>,
    /// The connection fee of a call.
    pub(crate) setup: Option<Decimal>,
    pub(crate) setup_text: Option<Box<str>>,
    /// The row's number in order of prefixes, from 0.
    pub(crate) index: u32,
}

/// Prefixes in order. Each prefix refers to the longest other prefix with which it begins.
#[derive(Debug)]
pub(crate) struct DialPlan {
    keys: Vec<Key>,
    /// The rows, in the order of `keys`.
    rows: Vec<DialRow>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    packed: u64,
    digits: u8,
    /// The index of the row with the longest other prefix with which this prefix begins.
    within: Option<u32>,
}

impl DialPlan {
    /// The row with the longest prefix of a number, given as digits; `None` if no prefix matches.
    ///
    /// The last prefix that is not after the number in order either matches, or begins with every
    /// prefix that matches. So following `within` from it finds the longest match.
    pub(crate) fn longest(&self, digits: &str) -> Option<&DialRow> {
        let number = pack(digits)?;
        let after = self.keys.partition_point(|key| key.packed <= number);
        let mut at = after.checked_sub(1)?;
        loop {
            let key = self.keys.get(at)?;
            if key.begins(number) {
                return self.rows.get(at);
            }
            at = usize::try_from(key.within?).ok()?;
        }
    }
}

impl Key {
    fn begins(&self, number: u64) -> bool {
        let other = 64 - 4 * u32::from(self.digits);
        // A key without digits begins every number.
        (self.packed ^ number).checked_shr(other).unwrap_or(0) == 0
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
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<(DialRow, u32)>);

impl Kind for Rows {
    const COLUMNS: &'static [Column] = &[
        required("prefix"),
        required("destination"),
        required("price"),
        required("per"),
        optional("setup"),
    ];
    type Content = DialPlan;

    fn take(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let (price, per) = (row.read(PRICE, Decimal::parse)?, row.read(PER, per)?);
        row.read(PRICE, |text| priceable(text, price, per.base))?;
        let setup = row.read_optional(SETUP, Decimal::parse)?;
        if let Some(fee) = setup {
            row.read(SETUP, |text| priceable(text, fee, 1))?;
        }
        let read = DialRow {
            prefix: row.read(PREFIX, prefix)?,
            destination: row.cell(DESTINATION).into(),
            price,
            price_text: row.cell(PRICE).into(),
            per,
            per_text: row.cell(PER).into(),
            setup,
            setup_text: setup.map(|_| row.cell(SETUP).into()),
            index: 0,
        };
        self.0.push((read, row.line));
        Ok(0)
    }

    fn finish(self, faults: &mut Faults) -> DialPlan {
        let mut lined = self.0;
        lined.sort_by(|(a, a_line), (b, b_line)| (&a.prefix, a_line).cmp(&(&b.prefix, b_line)));
        faults.refuse_doubles(
            &lined,
            |(a, _), (b, _)| a.prefix == b.prefix,
            |&(_, line)| line,
            |(row, _)| format!("prefix {}", row.prefix),
        );
        for (row, line) in lined.iter().filter(|(row, _)| row.prefix.starts_with('0')) {
            let message = format!(
                "prefix {}: no number begins with 0, because its country code comes first",
                row.prefix
            );
            faults.warn(*line, message);
        }
        let mut rows: Vec<DialRow> = lined.into_iter().map(|(row, _)| row).collect();
        for (at, row) in (0..).zip(&mut rows) {
            row.index = at;
        }
        DialPlan { keys: keys(&rows), rows }
    }
}

/// Why the digits of a prefix can be packed.
const SHORT: &str = "a prefix has at most DIGITS_MAX digits";

/// The keys of rows in order of prefixes.
fn keys(rows: &[DialRow]) -> Vec<Key> {
    let mut keys = Vec::with_capacity(rows.len());
    // The prefixes with which the previous prefix begins, itself included, shortest first.
    let mut open: Vec<(Key, u32)> = Vec::new();
    for row in rows {
        let packed = pack(&row.prefix).must(SHORT);
        while open.last().is_some_and(|(key, _)| !key.begins(packed)) {
            open.pop();
        }
        let within = open.last().map(|&(_, index)| index);
        let digits = u8::try_from(row.prefix.len()).must(SHORT);
        let key = Key { packed, digits, within };
        open.push((key, row.index));
        keys.push(key);
    }
    keys
}

fn prefix(text: &str) -> Result<Box<str>, String> {
    if text.len() > DIGITS_MAX || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "\"{text}\" is not a prefix: write 1 to {DIGITS_MAX} digits from the country code on, without +"
        ));
    }
    Ok(text.into())
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
