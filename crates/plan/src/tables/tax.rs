//! Taxes by place and category (docs/plan-semantics.md sections 3 and 8).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use turnpike_types::Must;

use super::distinct::Distinct;
use super::place;
use super::rows::{Column, Faults, Kind, Row, optional, required};
use crate::language::measure::Decimal;

/// The highest tax rate, in percent.
const RATE_MAX: i128 = 1000;

const PLACE: usize = 0;
const TAX: usize = 1;
const RATE: usize = 2;
const CATEGORY: usize = 3;
const COMPOUND: usize = 4;

/// A tax of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaxRow {
    /// The place, outermost name first: `US/CA/Los Angeles`.
    pub(crate) place: Arc<str>,
    pub(crate) tax: Arc<str>,
    /// The rate in percent, from 0 to 1000.
    pub(crate) rate: Decimal,
    pub(crate) rate_text: Arc<str>,
    /// The category of charges; empty for every category.
    pub(crate) category: Arc<str>,
    /// Whether the tax applies to the net amount plus the taxes before it, not to the net amount
    /// only.
    pub(crate) compound: bool,
    /// The row's number in order of places, from 0. The rows of one place keep the order of the
    /// file.
    pub(crate) index: u32,
}

/// Taxes in order of places.
#[derive(Debug)]
pub(crate) struct TaxTable {
    rows: Vec<TaxRow>,
    places: HashMap<Arc<str>, Range<usize>>,
}

impl TaxTable {
    /// The taxes on a category at a place: the taxes of the places that contain it and its own
    /// taxes, outermost first; the taxes of one place in the order of the file. `None` if neither
    /// the place nor a place that contains it is in the table. Empty if at least one of these
    /// places is in the table, but none of them has a tax on this category.
    pub(crate) fn taxes(&self, place: &str, category: &str) -> Option<SmallVec<[&TaxRow; 4]>> {
        let mut known = None;
        for name in place::lineage(place) {
            let Some(range) = self.places.get(name) else { continue };
            let taxes: &mut SmallVec<_> = known.get_or_insert_with(SmallVec::new);
            let rows = &self.rows[range.clone()];
            let bears = |row: &&TaxRow| row.category.is_empty() || *row.category == *category;
            taxes.extend(rows.iter().filter(bears));
        }
        known
    }
}

/// The rows in the order of reading, each with its line, and the number of rows of each place so
/// far.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<(TaxRow, u32)>,
    texts: Distinct<()>,
    ranks: HashMap<Arc<str>, u32>,
}

impl Kind for Rows {
    const COLUMNS: &'static [Column] = &[
        required("place"),
        required("tax"),
        required("rate"),
        optional("category"),
        optional("compound"),
    ];
    type Content = TaxTable;

    fn with_room_for(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), texts: Distinct::default(), ranks: HashMap::new() }
    }

    fn take(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let place = row.read(PLACE, place::check)?;
        let read = TaxRow {
            place: self.texts.shared(&place),
            tax: self.texts.shared(row.cell(TAX)),
            rate: row.read(RATE, rate)?,
            rate_text: self.texts.shared(row.cell(RATE)),
            category: self.texts.shared(row.cell(CATEGORY)),
            compound: row.read_optional(COMPOUND, yes_or_no)?.unwrap_or(false),
            index: 0,
        };
        let next = self.ranks.entry(Arc::clone(&read.place)).or_default();
        let rank = *next;
        *next = next.saturating_add(1);
        self.rows.push((read, row.line));
        Ok(rank)
    }

    fn finish(self, faults: &mut Faults) -> TaxTable {
        let mut lined = self.rows;
        lined.sort_by(|(a, a_line), (b, b_line)| {
            (&a.place, &a.tax, &a.category, a_line).cmp(&(&b.place, &b.tax, &b.category, b_line))
        });
        faults.refuse_doubles(
            &lined,
            |(a, _), (b, _)| (&a.place, &a.tax, &a.category) == (&b.place, &b.tax, &b.category),
            |&(_, line)| line,
            |(row, _)| described(row),
        );
        warn_of_both(&lined, faults);
        lined.sort_by(|(a, a_line), (b, b_line)| (&a.place, a_line).cmp(&(&b.place, b_line)));
        let mut table = TaxTable { rows: Vec::with_capacity(lined.len()), places: HashMap::new() };
        for (at, (row, _)) in lined.into_iter().enumerate() {
            let range = table.places.entry(Arc::clone(&row.place)).or_insert(at..at);
            range.end = at + 1;
            let index = u32::try_from(at).must("a table has fewer than 2^32 rows");
            table.rows.push(TaxRow { index, ..row });
        }
        table
    }
}

/// Warns if the same tax has a row for every category and a row for one category, because both
/// apply. The rows are in order of place, tax and category.
fn warn_of_both(rows: &[(TaxRow, u32)], faults: &mut Faults) {
    for same in rows.chunk_by(|(a, _), (b, _)| a.place == b.place && a.tax == b.tax) {
        let Some(((every, on_line), rest)) = same.split_first() else { continue };
        for (row, line) in rest {
            if every.category.is_empty() && !row.category.is_empty() {
                let message = format!(
                    "{} is charged on top of the row for every category on line {on_line}: it does not replace that row",
                    described(row)
                );
                faults.warn(*line, message);
            }
        }
    }
}

fn described(row: &TaxRow) -> String {
    let TaxRow { place, tax, category, .. } = row;
    match category.is_empty() {
        true => format!("tax {tax} of {place}"),
        false => format!("tax {tax} of {place} for {category}"),
    }
}

fn rate(text: &str) -> Result<Decimal, String> {
    let rate = Decimal::parse(text)?;
    // A decimal has at most 27 digits, so this cannot overflow.
    if rate.digits > RATE_MAX * 10i128.pow(rate.scale) {
        return Err(format!(
            "\"{text}\" is more than {RATE_MAX} percent: write percent, such as 7.7"
        ));
    }
    Ok(rate)
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("\"{text}\" is unknown: write yes or no")),
    }
}
