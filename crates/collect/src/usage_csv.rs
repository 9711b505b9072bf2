//! Usage as comma-separated values.
//!
//! Columns: `record_id`, `account_number` or `identity`, `usage_type`, `start_time` (or
//! `start_us`), `end_time` (or `end_us`) or `duration` (or `duration_us`), `quantity`. A column
//! `measure:NAME` is the measure NAME; any other column is the attribute of that name. An empty
//! cell is absent.

use std::io::Read;

use csv::StringRecord;
use turnpike_types::UsageRecord;

use crate::fault::{Wrong, from_csv, shown};
use crate::fields::{self, When};
use crate::{Fault, Row};

/// What a column holds.
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
    fn named(name: &str) -> Result<Self, Wrong> {
        Ok(match name {
            "" => {
                return Err(Wrong::row(
                    "a column of the header has no name",
                    "name every column, and drop trailing commas",
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
            other => match other.strip_prefix("measure:") {
                Some("") => {
                    return Err(Wrong::field(other, "it names no measure", "write measure:NAME"));
                }
                Some(measure) => Self::Measure(measure.to_owned()),
                None => Self::Attribute(other.to_owned()),
            },
        })
    }
}

/// Reads usage records out of comma-separated values with a header.
#[derive(Debug)]
pub struct UsageCsv<R> {
    file: String,
    reader: csv::Reader<R>,
    columns: Vec<Column>,
    row: StringRecord,
    last_line: u64,
    ended: bool,
}

impl<R: Read> UsageCsv<R> {
    /// Reads the header of `reader`; `file` is what faults call it.
    ///
    /// # Errors
    /// A [`Fault`] on line 1 when a column is missing, doubled or without a name.
    pub fn new(file: &str, reader: R) -> Result<Self, Fault> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(from_csv(file, 0, &error)),
        };
        let columns = columns(&header).map_err(|wrong| wrong.fatal_at(file, 1))?;
        let file = file.to_owned();
        Ok(Self { file, reader, columns, row: StringRecord::new(), last_line: 1, ended: false })
    }

    fn record(&self) -> Result<UsageRecord, Wrong> {
        let mut record = UsageRecord::default();
        let (mut id, mut account, mut identity, mut usage_type) = (None, None, None, None);
        let mut when = When::default();
        for (column, cell) in self.columns.iter().zip(&self.row) {
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
        (record.start, record.duration_us) = fields::when(&when)?;
        fields::checked(record)
    }
}

fn columns(header: &StringRecord) -> Result<Vec<Column>, Wrong> {
    let mut columns = Vec::with_capacity(header.len());
    for name in header {
        // Spreadsheets put a byte order mark in front of the first name.
        let column = Column::named(name.trim_start_matches('\u{feff}'))?;
        if columns.contains(&column) {
            return Err(Wrong::field(name, "it stands twice in the header", "drop one of them"));
        }
        columns.push(column);
    }
    let has = |column: &Column| columns.contains(column);
    let missing = if !has(&Column::RecordId) {
        "record_id"
    } else if !has(&Column::Account) && !has(&Column::Identity) {
        "account_number (or identity)"
    } else if !has(&Column::UsageType) {
        "usage_type"
    } else if !has(&Column::StartTime) && !has(&Column::StartUs) {
        "start_time"
    } else {
        return Ok(columns);
    };
    let found: Vec<&str> = header.iter().collect();
    Err(Wrong::row(
        format!("the header has no column {missing}"),
        format!(
            "begin the file with a header such as \
             record_id,account_number,usage_type,start_time,quantity (found: {})",
            shown(&found.join(","))
        ),
    ))
}

impl<R: Read> Iterator for UsageCsv<R> {
    type Item = Result<Row<UsageRecord>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.reader.read_record(&mut self.row) {
            Ok(false) => {
                self.ended = true;
                None
            }
            Ok(true) => {
                let line = self.row.position().map_or(self.last_line + 1, csv::Position::line);
                self.last_line = line;
                let record = self.record().map_err(|wrong| wrong.at(&self.file, line));
                Some(record.map(|content| Row { line, content }))
            }
            Err(error) => {
                let fault = from_csv(&self.file, self.last_line, &error);
                self.last_line = fault.line;
                self.ended = fault.is_fatal();
                Some(Err(fault))
            }
        }
    }
}
