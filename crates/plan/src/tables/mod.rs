//! Reference tables: what plans look up and do not hold. `docs/tables.md` is for whoever writes
//! one.
//!
//! ```text
//!  text
//!    |  head.rs      the first line: id, kind, version, start
//!    |  rows.rs      CSV -> rows that know their lines and columns
//!    |  dial_plan.rs  tax.rs  holidays.rs  exchange_rates.rs  addresses.rs
//!    v               one file a kind: its columns, its refusals, its look-up
//!  Table             immutable; share it in an Arc
//!
//!  number.rs  telephone numbers -> E.164, their lengths checked by countries.rs
//!  place.rs   places within places
//! ```
//!
//! Invariants:
//! - A look-up does not depend on the order of rows, except of the taxes of one place, which are
//!   taken in the order of the file (docs/plan-semantics.md section 3).
//! - Tables of equal content hash answer every look-up alike, row numbers included.
//! - No look-up allocates, except for the list of more than four taxes.

mod addresses;
mod countries;
mod dial_plan;
mod exchange_rates;
mod head;
mod holidays;
mod number;
mod place;
mod rows;
mod tax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use turnpike_types::Timestamp;
use turnpike_types::limits::{TABLE_BYTES_MAX, TABLE_ROWS_MAX};

use crate::nearest::hint;
use crate::zone::{Zone, first_instant_of};

pub(crate) use addresses::Addresses;
pub(crate) use dial_plan::{DialPlan, DialRow};
pub(crate) use exchange_rates::ExchangeRates;
pub(crate) use holidays::{Holidays, SpecialDay};
pub(crate) use number::{BadNumber, HomePlan, Number, Reading, read as read_number};
pub(crate) use tax::{TaxRow, TaxTable};

use head::Head;
use rows::{Faults, Kind};

/// Parses and checks a reference table.
///
/// # Errors
/// Everything found wrong, each with its line.
pub fn parse_table(text: &str) -> Result<Table, TableErrors> {
    let mut faults = Faults::default();
    match read(text, &mut faults) {
        Some(table) => faults.into_result().map(|warnings| Table { warnings, ..table }),
        None => Err(match faults.into_result() {
            Err(errors) => errors,
            // Who gives up says why; this only keeps the promise that the list is not empty.
            Ok(_) => {
                let message = "the table can't be read".to_owned();
                TableErrors(vec![TableError { line: 1, message }])
            }
        }),
    }
}

fn read(text: &str, faults: &mut Faults) -> Option<Table> {
    if text.len() > TABLE_BYTES_MAX {
        let message =
            format!("the table has {} bytes, at most {TABLE_BYTES_MAX} are taken", text.len());
        faults.error(1, message);
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let head = head::read(text, faults)?;
    match head.kind {
        TableKind::DialPlan => fill::<dial_plan::Rows>(text, head, Content::DialPlan, faults),
        TableKind::Tax => fill::<tax::Rows>(text, head, Content::Tax, faults),
        TableKind::Holidays => fill::<holidays::Rows>(text, head, Content::Holidays, faults),
        TableKind::ExchangeRates => {
            fill::<exchange_rates::Rows>(text, head, Content::ExchangeRates, faults)
        }
        TableKind::Addresses => fill::<addresses::Rows>(text, head, Content::Addresses, faults),
    }
}

fn fill<K: Kind>(
    text: &str,
    head: Head,
    content: fn(K::Content) -> Content,
    faults: &mut Faults,
) -> Option<Table> {
    let (kind, mut canonical) = rows::read::<K>(text, TABLE_ROWS_MAX, faults)?;
    let built = kind.finish(faults);
    canonical.sort_unstable();
    let mut hasher = head.hasher();
    for row in &canonical {
        hasher.update(row);
    }
    Some(Table {
        head,
        rows: canonical.len(),
        content_hash: *hasher.finalize().as_bytes(),
        content: content(built),
        warnings: Vec::new(),
    })
}

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Prefixes of telephone numbers and their prices.
    DialPlan,
    /// Tax rates of places.
    Tax,
    /// Days that are special somewhere.
    Holidays,
    /// What one currency is worth in another.
    ExchangeRates,
    /// Where networks are.
    Addresses,
}

impl TableKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::DialPlan, Self::Tax, Self::Holidays, Self::ExchangeRates, Self::Addresses];

    /// The word for it in a table's first line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::DialPlan => "dial-plan",
            Self::Tax => "tax",
            Self::Holidays => "holidays",
            Self::ExchangeRates => "exchange-rates",
            Self::Addresses => "addresses",
        }
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for TableKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| {
            let words = Self::ALL.map(Self::word);
            let hint = hint(text, words);
            format!("\"{text}\" is no kind of table{hint}: write one of {}", words.join(", "))
        })
    }
}

/// One version of a reference table. Immutable.
#[derive(Debug)]
pub struct Table {
    head: Head,
    content: Content,
    rows: usize,
    content_hash: [u8; 32],
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Content {
    DialPlan(DialPlan),
    Tax(TaxTable),
    Holidays(Holidays),
    ExchangeRates(ExchangeRates),
    Addresses(Addresses),
}

impl Table {
    /// The table's id: all its versions share it.
    pub fn id(&self) -> &str {
        &self.head.id
    }

    /// What it holds.
    pub fn kind(&self) -> TableKind {
        self.head.kind
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.head.version
    }

    /// The first date on which it is in force, in the account's zone.
    pub fn starts(&self) -> Date {
        self.head.starts
    }

    /// The instant at which it comes into force for an account of this zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.head.starts)
    }

    /// The version of equal start that this one replaces.
    pub fn supersedes(&self) -> Option<u32> {
        self.head.supersedes
    }

    /// BLAKE3 over the head's fields and the rows in canonical order. Comments, the order of
    /// columns, quotes and spaces round a value are not content; nor is the order of rows, except
    /// among the taxes of one place. Values count as written: `0.5` and `0.50` differ.
    pub fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }

    /// How many rows it has, its header not counted.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What is legal and probably not meant, each with its line; at most 100.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Each `None` when the table is of another kind.
impl Table {
    pub(crate) fn dial_plan(&self) -> Option<&DialPlan> {
        if let Content::DialPlan(content) = &self.content { Some(content) } else { None }
    }

    pub(crate) fn tax(&self) -> Option<&TaxTable> {
        if let Content::Tax(content) = &self.content { Some(content) } else { None }
    }

    pub(crate) fn holidays(&self) -> Option<&Holidays> {
        if let Content::Holidays(content) = &self.content { Some(content) } else { None }
    }

    pub(crate) fn exchange_rates(&self) -> Option<&ExchangeRates> {
        if let Content::ExchangeRates(content) = &self.content { Some(content) } else { None }
    }

    pub(crate) fn addresses(&self) -> Option<&Addresses> {
        if let Content::Addresses(content) = &self.content { Some(content) } else { None }
    }
}

/// Everything found wrong with a table, in order of lines; at most 100. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TableErrors(pub Vec<TableError>);

/// One thing that makes a table impossible to accept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableError {
    /// Line of the text, from 1.
    pub line: u32,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl fmt::Display for TableErrors {
    /// One error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
