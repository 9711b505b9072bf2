//! Reference tables: data that plans look up and do not contain. `docs/tables.md` is for the
//! authors of tables.
//!
//! ```text
//!  text
//!    |  head.rs      the first line: id, kind, version, start
//!    |  rows.rs      reads CSV rows with their lines and columns
//!    |  contents.rs  the content of rows, which is hashed
//!    |  dial_plan.rs  tax.rs  holidays.rs  exchange_rates.rs  addresses.rs
//!    v               one file per kind: its columns, its checks, its look-up
//!  Table             immutable; can be shared in an Arc
//!
//!  number.rs  converts telephone numbers to E.164; countries.rs checks their lengths
//!  place.rs   nested places
//!  distinct.rs  keeps equal texts once
//! ```
//!
//! Invariants:
//! - A look-up does not depend on the order of rows. The exception is the taxes of one place, which
//!   apply in the order of the file (docs/plan-semantics.md section 3).
//! - Tables with the same content hash return the same results for every look-up, row numbers
//!   included.
//! - No look-up allocates memory, except for a list of more than four taxes.

mod addresses;
mod contents;
mod countries;
mod dial_plan;
mod distinct;
mod errors;
mod exchange_rates;
mod head;
mod holidays;
mod number;
mod place;
mod rows;
mod tax;
#[cfg(test)]
mod tests;

use jiff::civil::Date;
use turnpike_types::Timestamp;
use turnpike_types::limits::{TABLE_BYTES_MAX, TABLE_ROWS_MAX};

use crate::calendar::zone::{Zone, first_instant_of};
use crate::language::table_name::TableKind;

pub(crate) use addresses::Addresses;
pub(crate) use countries::national_prefix;
pub(crate) use dial_plan::{DialPlan, DialRow};
pub use errors::{TableError, TableErrors};
pub(crate) use exchange_rates::ExchangeRates;
pub(crate) use holidays::{Holidays, SpecialDay};
pub(crate) use number::{BadNumber, HomePlan, Number, NumberReading, read as read_number};
pub(crate) use tax::{TaxRow, TaxTable};

use head::Head;
use rows::{Faults, Kind};

/// Parses and checks a reference table.
///
/// # Errors
/// All errors of the text, each with its line.
pub fn parse_table(text: &str) -> Result<Table, TableErrors> {
    parsed(text, Faults::default())
}

/// Parses a table from the catalogue. Unlike [`parse_table`], it accepts text after a closing quote
/// and reads it as earlier releases did, because these releases published such tables.
///
/// # Errors
/// All errors of the text, each with its line.
pub fn parse_published_table(text: &str) -> Result<Table, TableErrors> {
    let mut faults = Faults::default();
    faults.is_published = true;
    parsed(text, faults)
}

fn parsed(text: &str, mut faults: Faults) -> Result<Table, TableErrors> {
    match read(text, &mut faults) {
        Some(table) => faults.into_result().map(|warnings| Table { warnings, ..table }),
        None => Err(match faults.into_result() {
            Err(errors) => errors,
            // `read` reports an error whenever it returns `None`. This branch only guarantees that
            // the list is not empty.
            Ok(_) => {
                let message = "the table can't be read".to_owned();
                TableErrors(vec![TableError { line: 1, message }])
            }
        }),
    }
}

fn read(text: &str, faults: &mut Faults) -> Option<Table> {
    if text.len() > TABLE_BYTES_MAX {
        let message = format!(
            "the table has {} bytes, at most {TABLE_BYTES_MAX} are accepted: split it",
            text.len()
        );
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
    let (kind, contents) = rows::read::<K>(text, TABLE_ROWS_MAX, faults)?;
    let mut hasher = head.hasher();
    contents.hash(&mut hasher);
    let rows = contents.len();
    drop(contents);
    let built = kind.finish(faults);
    Some(Table {
        head,
        rows,
        content_hash: *hasher.finalize().as_bytes(),
        content: content(built),
        warnings: Vec::new(),
    })
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
    /// The table's id, which all its versions share.
    pub fn id(&self) -> &str {
        &self.head.id
    }

    /// The kind of the table.
    pub fn kind(&self) -> TableKind {
        self.head.kind
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.head.version
    }

    /// The first date on which this version is in force, in the account's time zone.
    pub fn starts(&self) -> Date {
        self.head.starts
    }

    /// The instant at which this version comes into force for an account in a time zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.head.starts)
    }

    /// The version with the same start that this version replaces.
    pub fn supersedes(&self) -> Option<u32> {
        self.head.supersedes
    }

    /// The BLAKE3 hash of the head's fields and of the rows in canonical order. Comments, the order
    /// of columns, and quotes and spaces around a value are not content. Neither is the order of
    /// rows, except among the taxes of one place. Values count as written: `0.5` and `0.50` differ.
    pub fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }

    /// The number of rows without the header.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Warnings about content that is legal and probably unintended, each with its line; at most
    /// 100.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Access to the content by kind; `None` if the table is of another kind.
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
