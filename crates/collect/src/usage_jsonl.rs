//! Usage as one JSON object a line, with the same names as the columns of the CSV form, and
//! `attributes` and `measures` as objects.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;
use turnpike_types::UsageRecord;

use crate::fault::{Wrong, unreadable};
use crate::fields::{self, When};
use crate::{Fault, Row};

/// Longer lines are refused; a record has at most 16 KiB, and escapes make it six times as long.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// Text, or a number that is read as its digits.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    record_id: Option<String>,
    account_number: Option<u64>,
    identity: Option<String>,
    usage_type: Option<String>,
    start_time: Option<String>,
    start_us: Option<i64>,
    end_time: Option<String>,
    end_us: Option<i64>,
    duration: Option<Scalar>,
    duration_us: Option<i64>,
    quantity: Option<i64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    measures: BTreeMap<String, i64>,
}

impl Line {
    fn record(self) -> Result<UsageRecord, Wrong> {
        let text = |number: Option<i64>| number.map(|number| number.to_string());
        let account = self.account_number.map(|number| number.to_string());
        let (start_us, end_us, duration_us) =
            (text(self.start_us), text(self.end_us), text(self.duration_us));
        let duration = self.duration.map(Scalar::into_text);
        let when = When {
            start_time: self.start_time.as_deref(),
            start_us: start_us.as_deref(),
            end_time: self.end_time.as_deref(),
            end_us: end_us.as_deref(),
            duration: duration.as_deref(),
            duration_us: duration_us.as_deref(),
        };
        let (account, identity) = fields::owner(account.as_deref(), self.identity.as_deref())?;
        let (start, duration_us) = fields::when(&when)?;
        if let Some(quantity) = self.quantity {
            fields::not_negative("quantity", quantity)?;
        }
        for (name, &measure) in &self.measures {
            fields::not_negative(name, measure)?;
        }
        fields::checked(UsageRecord {
            record_id: fields::record_id(self.record_id.as_deref().filter(|id| !id.is_empty()))?,
            account,
            identity,
            usage_type: fields::usage_type(self.usage_type.as_deref().filter(|t| !t.is_empty()))?,
            start,
            duration_us,
            quantity: self.quantity,
            measures: self.measures,
            attributes: self.attributes,
        })
    }
}

/// Reads usage records out of JSON lines. Empty lines are skipped.
#[derive(Debug)]
pub struct UsageJsonl<R> {
    file: String,
    reader: R,
    buffer: Vec<u8>,
    line: u64,
    ended: bool,
}

impl<R: BufRead> UsageJsonl<R> {
    /// Reads from `reader`; `file` is what faults call it.
    pub fn new(file: &str, reader: R) -> Self {
        Self { file: file.to_owned(), reader, buffer: Vec::new(), line: 0, ended: false }
    }

    fn record(&self) -> Result<UsageRecord, Wrong> {
        if self.buffer.len() > LINE_BYTES_MAX {
            let problem = format!("the line has {} bytes", self.buffer.len());
            return Err(Wrong::row(problem, "write one record a line"));
        }
        let line: Line = serde_json::from_slice(&self.buffer).map_err(|error| {
            let said = error.to_string();
            // Of "… at line 1 column 9" the line is always 1; the place is told our way.
            let problem = said.split(" at line ").next().unwrap_or(&said);
            Wrong::row(
                format!("{problem} (at character {})", error.column()),
                "write one JSON object a line, such as {\"record_id\":\"r1\",\
                 \"account_number\":42,\"usage_type\":\"octets\",\
                 \"start_time\":\"2026-01-05T10:00:00Z\",\"quantity\":512}",
            )
        })?;
        line.record()
    }
}

impl<R: BufRead> Iterator for UsageJsonl<R> {
    type Item = Result<Row<UsageRecord>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.buffer.clear();
            self.line += 1;
            match self.reader.read_until(b'\n', &mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(_) if self.buffer.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let line = self.line;
                    let record = self.record().map_err(|wrong| wrong.at(&self.file, line));
                    return Some(record.map(|content| Row { line, content }));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(unreadable(&self.file, self.line, &error)));
                }
            }
        }
        None
    }
}
