//! Accounts as comma-separated values.
//!
//! Required columns: `account_number`, `zone`, `currency`. Optional columns: `cycle_day` (default
//! 1), `plan` (several separated by `;`, each once; the first has priority), `plan_from` (an instant, or a
//! date in the account's time zone), `identities` (separated by `;`), `attribute:NAME`,
//! `parameter:NAME`. A row without a plan must have neither `plan_from` nor parameters, because no
//! subscription would use them.

use std::collections::BTreeMap;
use std::io::Read;

use jiff::tz::TimeZone;
use turnpike_types::{AccountNumber, Currency, Timestamp};

use crate::fault::{Problem, shown};
use crate::text::CsvRows;
use crate::time::parse_date_or_instant;
use crate::{Fault, Row, fields, similar_names};

/// An account in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// The account's number.
    pub account: AccountNumber,
    /// The time zone, a name of the IANA database.
    pub zone: String,
    /// The first day of a billing cycle, 1 to 31.
    pub cycle_day: u8,
    /// The currency, a code of ISO 4217.
    pub currency: Currency,
    /// Attributes that plans can read.
    pub attributes: BTreeMap<String, String>,
    /// The plans to subscribe to, in order of priority.
    pub plans: Vec<String>,
    /// The start of the subscriptions; `None` if the file states none.
    pub plan_from: Option<Timestamp>,
    /// Values that override the plans' parameters.
    pub parameters: BTreeMap<String, String>,
    /// The account's identities: `ip:…`, `user:…`, `tel:…`.
    pub identities: Vec<String>,
}

/// Reads accounts from comma-separated values with a header.
#[derive(Debug)]
pub struct AccountsCsv<R: Read> {
    rows: CsvRows<R>,
    columns: Vec<String>,
    ended: bool,
}

const PLAIN: [&str; 7] =
    ["account_number", "zone", "cycle_day", "currency", "plan", "plan_from", "identities"];

impl<R: Read> AccountsCsv<R> {
    /// Reads the header of `reader`. `file` is its name in faults.
    ///
    /// # Errors
    /// A [`Fault`] of the header if a column is missing, duplicate or unknown.
    pub fn new(file: &str, reader: R) -> Result<Self, Fault> {
        let rows = CsvRows::open(file, reader, |names| columns(names).is_ok())?;
        let columns = columns(rows.header()).map_err(|wrong| rows.header_fault(wrong))?;
        Ok(Self { rows, columns, ended: false })
    }

    fn cell(&self, name: &str) -> Option<&str> {
        let at = self.columns.iter().position(|column| column == name)?;
        self.rows.cell(at).filter(|cell| !cell.is_empty())
    }

    fn cells_of(&self, prefix: &str) -> BTreeMap<String, String> {
        let named = self.columns.iter().zip(self.rows.cells()).filter(|(_, cell)| !cell.is_empty());
        named
            .filter_map(|(column, cell)| Some((column.strip_prefix(prefix)?, cell)))
            .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
            .collect()
    }

    /// The values in the cell of a column, separated by `;`. Blanks around a value are removed
    /// unless the cell is in quotes.
    fn list(&self, name: &str) -> Vec<&str> {
        let Some(at) = self.columns.iter().position(|column| column == name) else {
            return Vec::new();
        };
        let is_quoted = self.rows.is_quoted(at);
        let parts = self.rows.cell(at).unwrap_or_default().split(';');
        let parts = parts.map(|part| if is_quoted { part } else { part.trim() });
        parts.filter(|part| !part.is_empty()).collect()
    }

    fn account(&self) -> Result<AccountRow, Problem> {
        let required = |name: &'static str, remedy: &'static str| {
            self.cell(name).ok_or_else(|| Problem::field(name, "it is empty", remedy))
        };
        let account = fields::account(required("account_number", "write a number from 1 on")?)?;
        let zone = required("zone", "write a time zone such as Europe/Zurich")?;
        let tz = TimeZone::get(zone).map_err(|_| {
            Problem::field(
                "zone",
                format!("{} is not a time zone", shown(zone)),
                "write a name of the IANA database, such as America/New_York",
            )
        })?;
        let currency = required("currency", "write an ISO 4217 code such as USD")?;
        let currency = Currency::listed(currency).map_err(|error| {
            let problem = match error.is_withdrawn() {
                true => format!(
                    "{} is not a currency in use: ISO 4217 no longer lists it",
                    shown(currency)
                ),
                false => format!("{} is not a currency", shown(currency)),
            };
            Problem::field(
                "currency",
                problem,
                "write its ISO 4217 code of three capital letters, such as USD",
            )
        })?;
        let plan_from = match self.cell("plan_from") {
            None => None,
            Some(text) => Some(
                parse_date_or_instant(text, &tz)
                    .map_err(|error| fields::at_column("plan_from", error))?,
            ),
        };
        let plans: Vec<String> = self.list("plan").into_iter().map(str::to_owned).collect();
        if let Some(twice) = named_twice(&plans) {
            let problem = format!("the list names {} twice", shown(twice));
            return Err(Problem::field("plan", problem, "name each plan once"));
        }
        let parameters = self.cells_of("parameter:");
        if plans.is_empty() {
            let unused = parameters.keys().next().map(|name| format!("parameter:{name}"));
            let unused = plan_from.map(|_| "plan_from".to_owned()).or(unused);
            if let Some(column) = unused {
                let remedy = "fill in plan, or leave this field empty";
                return Err(Problem::field(
                    &column,
                    "the row has no plan that it applies to",
                    remedy,
                ));
            }
        }
        let mut identities = Vec::new();
        for identity in self.list("identities") {
            identities.push(fields::checked_identity("identities", identity)?);
        }
        Ok(AccountRow {
            account,
            zone: zone.to_owned(),
            cycle_day: cycle_day(self.cell("cycle_day"))?,
            currency,
            attributes: self.cells_of("attribute:"),
            plans,
            plan_from,
            parameters,
            identities,
        })
    }
}

fn named_twice(plans: &[String]) -> Option<&str> {
    let mut rest = plans;
    while let [first, others @ ..] = rest {
        if others.contains(first) {
            return Some(first);
        }
        rest = others;
    }
    None
}

fn cycle_day(cell: Option<&str>) -> Result<u8, Problem> {
    let Some(text) = cell else { return Ok(1) };
    match text.parse::<u8>() {
        Ok(day @ 1..=31) => Ok(day),
        _ => {
            let problem = format!("{} is not a day of a month", shown(text));
            Err(Problem::field("cycle_day", problem, "write 1 to 31"))
        }
    }
}

fn columns(header: &[String]) -> Result<Vec<String>, Problem> {
    let mut columns: Vec<String> = Vec::with_capacity(header.len());
    for name in header {
        let named = ["attribute:", "parameter:"]
            .iter()
            .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
        if !named && !PLAIN.contains(&name.as_str()) {
            let meant = similar_names::like(name, &PLAIN);
            let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
            return Err(Problem::field(
                name,
                format!("no such column{meant}"),
                format!("use {}, attribute:NAME or parameter:NAME", PLAIN.join(", ")),
            ));
        }
        if columns.contains(name) {
            return Err(Problem::field(
                name,
                "the header has this column twice",
                "remove one of them",
            ));
        }
        columns.push(name.clone());
    }
    for name in ["account_number", "zone", "currency"] {
        if !columns.iter().any(|column| column == name) {
            return Err(Problem::row(
                format!("the header has no column {name}"),
                "begin the file with a header such as account_number,zone,currency,plan",
            ));
        }
    }
    Ok(columns)
}

impl<R: Read> Iterator for AccountsCsv<R> {
    type Item = Result<Row<AccountRow>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = match self.rows.next_row()? {
            Ok(line) => match self.account() {
                Ok(content) => Ok(Row { line, content }),
                Err(wrong) => Err(self.rows.fault(wrong)),
            },
            Err(fault) => Err(fault),
        };
        self.ended = row.as_ref().is_err_and(Fault::is_fatal);
        Some(row)
    }
}
