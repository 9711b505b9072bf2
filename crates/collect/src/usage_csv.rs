//! Usage as comma-separated values (docs/formats.md).
//!
//! Columns: `record_id`, `account_number` or `identity`, `usage_type`, `start_time` (or
//! `start_us`), `end_time` (or `end_us`) or `duration` (or `duration_us`), `quantity`. A column
//! `measure:NAME` is the measure NAME; `attribute:NAME`, and any other column, is the attribute of
//! that name. An empty cell is absent.
//!
//! A column whose name resembles a known name is refused if the file has no known column for that
//! meaning, because its values would be lost. Otherwise it is an attribute, with a warning. A
//! column `measure:NAME` or `attribute:NAME` also causes a warning if NAME is or resembles a known
//! name and the file has no known column for that meaning.

use std::collections::BTreeSet;
use std::io::Read;

use turnpike_types::UsageRecord;

use crate::fault::{Problem, shown};
use crate::fields::{self, UsageTimes};
use crate::similar_names;
use crate::text::CsvRows;
use crate::{Fault, Row};

/// The meaning of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    RecordId,
    Account,
    Identity,
    UsageType,
    StartTime,
    StartUs,
    EndTime,
    EndUs,
    Duration,
    DurationUs,
    Quantity,
    Measure(String),
    Attribute(String),
}

impl Column {
    fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "" => {
                return Err(Problem::row(
                    "a column of the header has no name",
                    "name every column, and remove trailing commas",
                ));
            }
            "record_id" => Self::RecordId,
            "account_number" => Self::Account,
            "identity" => Self::Identity,
            "usage_type" => Self::UsageType,
            "start_time" => Self::StartTime,
            "start_us" => Self::StartUs,
            "end_time" => Self::EndTime,
            "end_us" => Self::EndUs,
            "duration" => Self::Duration,
            "duration_us" => Self::DurationUs,
            "quantity" => Self::Quantity,
            other => Self::prefixed(other)?,
        })
    }

    fn prefixed(name: &str) -> Result<Self, Problem> {
        let (prefix, rest) = name.split_once(':').unwrap_or((name, ""));
        let rest = rest.trim();
        match prefix {
            "measure" if !rest.is_empty() => Ok(Self::Measure(rest.to_owned())),
            "attribute" if !rest.is_empty() => Ok(Self::Attribute(rest.to_owned())),
            // For example `Measure:NAME`, or `measure:` without a name.
            _ if name.contains(':') && is_like_prefix(prefix) => Err(Problem::field(
                name,
                "it is neither measure:NAME nor attribute:NAME",
                "write one of them in lower case, or only the attribute's name",
            )),
            _ => Ok(Self::Attribute(name.to_owned())),
        }
    }
}

fn is_like_prefix(prefix: &str) -> bool {
    let prefix = prefix.trim().to_lowercase();
    ["measure", "measures", "attribute", "attributes", "attr"].contains(&prefix.as_str())
}

/// The names of columns that are not attributes or measures.
pub(crate) const KNOWN: [&str; 11] = [
    "record_id",
    "account_number",
    "identity",
    "usage_type",
    "start_time",
    "start_us",
    "end_time",
    "end_us",
    "duration",
    "duration_us",
    "quantity",
];

/// The columns with the same meaning as the column `known`, including that column.
pub(crate) fn group_of(known: &str) -> &'static [&'static str] {
    GROUPS.into_iter().find(|group| group.contains(&known)).unwrap_or_default()
}

/// Names that a measure must not have, because no plan could read it: in a plan, `record.duration`
/// and `record.quantity` are the duration and the quantity of the record.
pub(crate) const OWN_MEASURES: [&str; 2] = ["duration", "quantity"];

/// Groups of columns with the same meaning.
const GROUPS: [&[&str]; 6] = [
    &["record_id"],
    &["account_number", "identity"],
    &["usage_type"],
    &["start_time", "start_us"],
    &["end_time", "end_us", "duration", "duration_us"],
    &["quantity"],
];

/// The header of a file of usage, before its columns are interpreted.
#[derive(Debug)]
pub struct UsageHeader<R: Read>(CsvRows<R>);

impl<R: Read> UsageHeader<R> {
    /// Reads the header of `reader`. `file` is its name in faults.
    ///
    /// # Errors
    /// A [`Fault`] if the first line is not a header.
    pub fn read(file: &str, reader: R) -> Result<Self, Fault> {
        CsvRows::open(file, reader, |names| missing(names).is_none()).map(Self)
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        self.0.header()
    }

    /// Whether a column can be an attribute: its name has no other meaning.
    pub fn is_attribute(name: &str) -> bool {
        matches!(Column::named(name), Ok(Column::Attribute(_)))
    }

    /// Returns the rows below the header. The columns in `attributes` are read as attributes, even
    /// if their names resemble known names.
    ///
    /// # Errors
    /// As [`UsageCsv::new`].
    pub fn rows(self, attributes: &BTreeSet<String>) -> Result<UsageCsv<R>, Fault> {
        let rows = self.0;
        let columns = columns(rows.header()).map_err(|wrong| rows.header_fault(wrong))?;
        let warnings =
            unclear(rows.header(), attributes).map_err(|wrong| rows.header_fault(wrong))?;
        let warnings = warnings.into_iter().map(|wrong| rows.header_fault(wrong).to_string());
        let warnings = warnings.collect();
        Ok(UsageCsv { rows, columns, warnings, ended: false })
    }
}

/// Reads usage records from comma-separated values with a header.
#[derive(Debug)]
pub struct UsageCsv<R: Read> {
    rows: CsvRows<R>,
    columns: Vec<Column>,
    warnings: Vec<String>,
    ended: bool,
}

impl<R: Read> UsageCsv<R> {
    /// Reads the header of `reader`. `file` is its name in faults.
    ///
    /// # Errors
    /// A [`Fault`] of the header if a column is missing, duplicate, without a name, or resembles a
    /// known column that is missing.
    pub fn new(file: &str, reader: R) -> Result<Self, Fault> {
        Self::with_attributes(file, reader, &BTreeSet::new())
    }

    /// As [`UsageCsv::new`], but the columns in `attributes` are read as attributes (or, with the
    /// prefix `measure:`, as measures), even if their names resemble known names.
    ///
    /// # Errors
    /// As [`UsageCsv::new`].
    pub fn with_attributes(
        file: &str,
        reader: R,
        attributes: &BTreeSet<String>,
    ) -> Result<Self, Fault> {
        UsageHeader::read(file, reader)?.rows(attributes)
    }

    /// The warnings about the header. They do not prevent reading the rows.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn record(&self) -> Result<UsageRecord, Problem> {
        let mut record = UsageRecord::default();
        let (mut id, mut account, mut identity, mut usage_type) = (None, None, None, None);
        let mut when = UsageTimes::default();
        for (column, cell) in self.columns.iter().zip(self.rows.cells()) {
            if cell.is_empty() {
                continue;
            }
            match column {
                Column::RecordId => id = Some(cell),
                Column::Account => account = Some(cell),
                Column::Identity => identity = Some(cell),
                Column::UsageType => usage_type = Some(cell),
                Column::StartTime => when.start_time = Some(cell),
                Column::StartUs => when.start_us = Some(cell),
                Column::EndTime => when.end_time = Some(cell),
                Column::EndUs => when.end_us = Some(cell),
                Column::Duration => when.duration = Some(cell),
                Column::DurationUs => when.duration_us = Some(cell),
                Column::Quantity => record.quantity = Some(fields::quantity("quantity", cell)?),
                Column::Measure(name) => {
                    let quantity = fields::quantity(&format!("measure:{name}"), cell)?;
                    record.measures.insert(name.clone(), quantity);
                }
                Column::Attribute(name) => {
                    record.attributes.insert(name.clone(), cell.to_owned());
                }
            }
        }
        record.record_id = fields::record_id(id)?;
        (record.account, record.identity) = fields::owner(account, identity)?;
        record.usage_type = fields::usage_type(usage_type)?;
        let (start, duration_us) = fields::when(&when)?;
        record.start = start;
        record.state_duration(duration_us);
        fields::checked(record)
    }
}

fn columns(header: &[String]) -> Result<Vec<Column>, Problem> {
    if let Some(missing) = missing(header) {
        let like = header.iter().find(|name| {
            similar_names::like(name, &KNOWN)
                .is_some_and(|known| missing.split(' ').any(|m| m == known))
        });
        let like = like.map(|name| format!("; {name} seems to mean it")).unwrap_or_default();
        return Err(Problem::row(
            format!("the header has no column {missing}{like}"),
            format!(
                "begin the file with a header such as \
                 record_id,account_number,usage_type,start_time,quantity (found: {})",
                shown(&header.join(","))
            ),
        ));
    }
    let mut columns = Vec::with_capacity(header.len());
    for name in header {
        let column = Column::named(name)?;
        if columns.contains(&column) {
            return Err(Problem::field(
                name,
                "the header has this column twice",
                "remove one of them",
            ));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The first required column that `header` does not have.
fn missing(header: &[String]) -> Option<&'static str> {
    let has = |column: &str| header.iter().any(|name| name == column);
    if !has("record_id") {
        Some("record_id")
    } else if !has("account_number") && !has("identity") {
        Some("account_number (or identity)")
    } else if !has("usage_type") {
        Some("usage_type")
    } else if !has("start_time") && !has("start_us") {
        Some("start_time")
    } else {
        None
    }
}

/// Returns warnings about attributes and measures whose names resemble known columns. Returns an
/// error if a name without a prefix resembles a known column, and the header has neither that
/// column nor another one with the same meaning, or if no plan could read a measure of that name
/// ([`OWN_MEASURES`]).
fn unclear(header: &[String], attributes: &BTreeSet<String>) -> Result<Vec<Problem>, Problem> {
    let mut warnings = Vec::new();
    let is_said = |meant: &str| {
        let group = group_of(meant);
        header.iter().any(|name| group.contains(&name.as_str()))
    };
    for name in header.iter().filter(|name| !attributes.contains(*name)) {
        if let Some((kind, own)) = name.split_once(':')
            && (kind == "measure" || kind == "attribute")
        {
            let own = own.trim();
            if kind == "measure" && OWN_MEASURES.contains(&own) {
                let problem = format!("no plan can read it: record.{own} is the column {own}");
                return Err(Problem::field(name, problem, format!("name it {own}")));
            }
            if kind == "attribute" && attributes.contains(own) {
                continue;
            }
            let meant = similar_names::meant(own, &KNOWN);
            let Some(meant) = meant.filter(|meant| !is_said(meant)) else { continue };
            let relation = similar_names::relation(own, meant);
            let problem = format!(
                "warning: it is read as the {kind} {own}, although {relation}, which is missing"
            );
            let remedy = format!("name it {meant} if it is meant (docs/formats.md has the units)");
            warnings.push(Problem::field(name, problem, remedy));
            continue;
        }
        let Some(meant) = similar_names::like(name, &KNOWN) else { continue };
        let remedy = format!(
            "name it {meant} (docs/formats.md has the units), or attribute:{name} if it is an \
            attribute"
        );
        if !is_said(meant) {
            let problem =
                format!("it is not a known column, but it is like {meant}, which is missing");
            return Err(Problem::field(name, problem, remedy));
        }
        let problem = format!("warning: it is read as an attribute, although it is like {meant}");
        warnings.push(Problem::field(name, problem, remedy));
    }
    Ok(warnings)
}

impl<R: Read> Iterator for UsageCsv<R> {
    type Item = Result<Row<UsageRecord>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = match self.rows.next_row()? {
            Ok(line) => match self.record() {
                Ok(content) => Ok(Row { line, content }),
                Err(wrong) => Err(self.rows.fault(wrong)),
            },
            Err(fault) => Err(fault),
        };
        self.ended = row.as_ref().is_err_and(Fault::is_fatal);
        Some(row)
    }
}
