//! A parsed example: its records in order, and the expected results.

use turnpike_collect::{Fault, Row, UsageCsv, UsageJsonl};
use turnpike_plan::{Example, Expectation, ExpectedTotal, InlineExample};
use turnpike_types::UsageRecord;

use super::expected_csv;
use super::report::ExampleReport;

/// An example's usage and expectations, each with its position in the source.
pub(crate) struct Case<'e> {
    pub(crate) example: &'e Example,
    pub(crate) records: Vec<PlacedRecord>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) totals: &'e [ExpectedTotal],
    /// The name of the file of expectations, for messages; empty if the expectations are in the
    /// plan.
    file: String,
}

/// A record and its position.
pub(crate) struct PlacedRecord {
    /// The position, such as `line 12` or `usage.csv:3`.
    pub(crate) at: String,
    pub(crate) usage: UsageRecord,
}

impl<'e> Case<'e> {
    pub(crate) fn inline(example: &'e Example, inline: &'e InlineExample) -> Self {
        let placed = |line: u32, usage: &UsageRecord| PlacedRecord {
            at: format!("line {line}"),
            usage: usage.clone(),
        };
        Self {
            example,
            records: inline.records.iter().map(|r| placed(r.line, &r.record)).collect(),
            expectations: inline.expectations.clone(),
            totals: &inline.totals,
            file: String::new(),
        }
    }

    /// Reads the files of an example. `None` if a file can't be read, with the errors in the
    /// report: comparing the remaining records would produce differences that hide these errors.
    pub(crate) fn from_files(
        example: &'e Example,
        (usage_name, usage): (&str, Vec<u8>),
        (expect_name, expect): (&str, Vec<u8>),
        records_max: usize,
        report: &mut ExampleReport,
    ) -> Option<Self> {
        let mut records = Vec::new();
        let mut sound = true;
        // Reads one record more than the limit, so that an excess is detected.
        for row in rows(usage_name, &usage).take(records_max + 1) {
            match row {
                Ok(Row { line, content }) => {
                    let at = format!("{usage_name}:{line}");
                    records.push(PlacedRecord { at, usage: content });
                }
                Err(fault) => {
                    sound = false;
                    bad_row(&fault, "a usage record", report);
                }
            }
        }
        let expectations = match expected_csv::read(expect_name, &expect) {
            Ok(expectations) => expectations,
            Err(faults) => {
                for fault in faults {
                    report.fails(Some(&fault.at), "an expectation", fault.problem);
                }
                return None;
            }
        };
        sound.then(|| Self {
            example,
            records,
            expectations,
            totals: &[],
            file: expect_name.to_owned(),
        })
    }

    /// The position of an expectation, as text.
    pub(crate) fn place(&self, line: u64) -> String {
        if self.file.is_empty() { format!("line {line}") } else { format!("{}:{line}", self.file) }
    }
}

type Rows<'a> = Box<dyn Iterator<Item = Result<Row<UsageRecord>, Fault>> + 'a>;

fn rows<'a>(name: &str, bytes: &'a [u8]) -> Rows<'a> {
    if !name.ends_with(".csv") {
        return Box::new(UsageJsonl::new(name, bytes));
    }
    match UsageCsv::new(name, bytes) {
        Ok(rows) => Box::new(rows),
        Err(fault) => Box::new(std::iter::once(Err(fault))),
    }
}

fn bad_row(fault: &Fault, expected: &str, report: &mut ExampleReport) {
    let at = format!("{}:{}", fault.file, fault.line);
    let column = fault.column.as_ref().map(|column| format!("column {column}: "));
    let column = column.unwrap_or_default();
    let found = format!("{column}{}; {}", fault.problem, fault.remedy);
    report.fails(Some(&at), expected, found);
}
