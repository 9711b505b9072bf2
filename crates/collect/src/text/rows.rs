//! Rows of separated values under a header.

use std::io::Read;

use turnpike_types::limits::ATTRIBUTES_MAX;
use turnpike_types::{CsvLine, CsvLineError};

use super::Lines;
use crate::Fault;
use crate::fault::{Problem, shown};

/// The possible separators of cells.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];
/// The longest row, in bytes. A record of 16 KiB fits, even if all of its quotes are doubled.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// The most columns of a header. A record has at most 64 attributes and 64 measures, and columns
/// may be empty.
const COLUMNS_MAX: usize = 1_024;

/// Reads rows with as many cells as the header.
///
/// The separator is the one of [`SEPARATORS`] with which the header is usable. A first line such as
/// `sep=;`, which spreadsheets write, overrides it.
#[derive(Debug)]
pub(crate) struct CsvRows<R: Read> {
    lines: Lines<R>,
    separator: char,
    header: Vec<String>,
    header_line: u64,
    cells: CsvLine,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header. `usable` returns whether the caller can use columns with these names. The
    /// header of an empty file is empty.
    ///
    /// # Errors
    /// A fatal [`Fault`] if the first line is not a header of separated values.
    pub(crate) fn open(
        file: &str,
        reader: R,
        usable: impl Fn(&[String]) -> bool,
    ) -> Result<Self, Fault> {
        let mut rows = Self {
            lines: Lines::new(file, reader, LINE_BYTES_MAX),
            separator: ',',
            header: Vec::new(),
            header_line: 1,
            cells: CsvLine::default(),
        };
        if let Some(first) = rows.lines.next_line() {
            first.map_err(Fault::made_fatal)?;
            let found = rows.read_header(usable);
            found.map_err(|wrong| wrong.fatal_at(file, rows.lines.line()))?;
            rows.header_line = rows.lines.line();
        }
        Ok(rows)
    }

    fn read_header(&mut self, usable: impl Fn(&[String]) -> bool) -> Result<(), Problem> {
        let mut said = None;
        let text = text(&self.lines)?;
        if let Some(separator) = text.get(..4).filter(|word| word.eq_ignore_ascii_case("sep=")) {
            let rest = text.get(separator.len()..).unwrap_or_default();
            said = Some(said_separator(rest)?);
            match self.lines.next_line() {
                Some(next) => next.map_err(|fault| Problem::row(fault.problem, fault.remedy))?,
                None => {
                    return Err(Problem::row("no header follows sep=", "write a header after it"));
                }
            };
        }
        let text = self::text(&self.lines)?;
        if let Some(wrong) = other_format(text) {
            return Err(wrong);
        }
        let mut split = |separator: char| -> Result<Vec<String>, Problem> {
            self.cells.split(text, separator).map_err(bad_quote)?;
            Ok(self.cells.iter().map(|name| name.trim().to_owned()).collect())
        };
        let candidates: Vec<char> = match said {
            Some(separator) => vec![separator],
            None => SEPARATORS.into_iter().filter(|&separator| text.contains(separator)).collect(),
        };
        let mut fitting = Vec::new();
        for &separator in &candidates {
            fitting.extend(split(separator).ok().filter(|names| usable(names)).map(|_| separator));
        }
        self.separator = match (fitting.as_slice(), candidates.as_slice()) {
            (&[one], _) | (&[], &[one]) => one,
            (&[], _) => ',',
            (&[one, other, ..], _) => {
                return Err(Problem::row(
                    format!("the header can be split at {one:?} and at {other:?}"),
                    format!("write a line sep={one} above the header"),
                ));
            }
        };
        self.header = split(self.separator)?;
        let columns = self.header.len();
        if columns > COLUMNS_MAX {
            self.header = Vec::new();
            return Err(Problem::row(
                format!("the header has {columns} columns"),
                format!(
                    "write at most {COLUMNS_MAX}; a record has at most {ATTRIBUTES_MAX} attributes"
                ),
            ));
        }
        Ok(())
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// Creates a fault at the header.
    pub(crate) fn header_fault(&self, wrong: Problem) -> Fault {
        wrong.fatal_at(&self.lines.file, self.header_line)
    }

    /// Reads the next row, and returns its line number. `None` at the end of the file, and after a
    /// fatal fault.
    pub(crate) fn next_row(&mut self) -> Option<Result<u64, Fault>> {
        let line = match self.lines.next_line()? {
            Ok(line) => line,
            Err(fault) => return Some(Err(fault)),
        };
        Some(match self.split() {
            Ok(()) => Ok(line),
            Err(Split::Row(wrong)) => Err(self.lines.fault(wrong)),
            // A quote was not closed, so it is unknown which of the next lines are rows, and which
            // are quoted text.
            Err(Split::File(wrong)) => Err(self.lines.fatal(wrong)),
        })
    }

    fn split(&mut self) -> Result<(), Split> {
        let text = text(&self.lines).map_err(Split::Row)?;
        match self.cells.split(text, self.separator) {
            Ok(()) => {}
            Err(error @ CsvLineError::Unclosed { .. }) => {
                return Err(Split::File(self.in_column(error)));
            }
            Err(error @ CsvLineError::AfterQuote { .. }) => {
                return Err(Split::Row(self.in_column(error)));
            }
        }
        if self.cells.len() == self.header.len() {
            return Ok(());
        }
        let (found, expected) = (self.cells.len(), self.header.len());
        let separator = match self.separator {
            ',' => "comma".to_owned(),
            ';' => "semicolon".to_owned(),
            '\t' => "tab".to_owned(),
            other => other.to_string(),
        };
        Err(Split::Row(Problem::row(
            format!("the row has {found} fields, and the header has {expected}"),
            format!(
                "write every column of the header, empty if there is no value, and put fields \
                that contain a {separator} in double quotes"
            ),
        )))
    }

    fn in_column(&self, error: CsvLineError) -> Problem {
        let (CsvLineError::Unclosed { cell } | CsvLineError::AfterQuote { cell }) = error;
        let wrong = bad_quote(error);
        match self.header.get(cell - 1) {
            Some(name) => wrong.in_column(name),
            None => wrong,
        }
    }

    /// Creates a fault at the current row.
    pub(crate) fn fault(&self, wrong: Problem) -> Fault {
        self.lines.fault(wrong)
    }

    /// The cells of the current row, one for each column of the header.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter()
    }

    /// Whether the cell of the current row at an index, from 0, is in quotes.
    pub(crate) fn is_quoted(&self, place: usize) -> bool {
        self.cells.is_quoted(place)
    }

    /// The cell of the current row at an index, from 0.
    pub(crate) fn cell(&self, place: usize) -> Option<&str> {
        self.cells.get(place)
    }
}

enum Split {
    Row(Problem),
    File(Problem),
}

fn text<R: Read>(lines: &Lines<R>) -> Result<&str, Problem> {
    lines.text().map_err(|error| {
        let at = error.valid_up_to() + 1;
        Problem::row(format!("byte {at} of the line is not UTF-8"), "save the file as UTF-8")
    })
}

fn said_separator(text: &str) -> Result<char, Problem> {
    // A spreadsheet may append further separators to the line `sep=;`.
    let said = text.chars().next().filter(|separator| SEPARATORS.contains(separator));
    said.filter(|&separator| text.chars().all(|c| c == separator)).ok_or_else(|| {
        let problem = format!("{} is not a separator", shown(text));
        Problem::row(problem, "write sep= and a comma, a semicolon, a tab or a bar")
    })
}

fn bad_quote(error: CsvLineError) -> Problem {
    let remedy = match error {
        CsvLineError::Unclosed { .. } => {
            "close the quote on the same line (line breaks within a field are not accepted), write \
             \"\" for a quote within quotes, and run again"
        }
        CsvLineError::AfterQuote { .. } => "write \"\" for a quote within quotes",
    };
    Problem::row(error.to_string(), remedy)
}

/// The fault of a first line in another format than separated values; `None` if the line may be a
/// header.
fn other_format(text: &str) -> Option<Problem> {
    match text.trim_start().chars().next()? {
        '{' => Some(Problem::row(
            "this is JSON, not CSV",
            "name the file .jsonl, or give --format jsonl, with one object per line",
        )),
        '[' => Some(Problem::row(
            "this is a JSON array, not CSV",
            "write one object per line, as jq -c '.[]' FILE does, and give --format jsonl",
        )),
        '<' => Some(Problem::row(
            "this is XML, not CSV",
            "give a file of rows; a price plan goes to --plan or to turnpike plan publish",
        )),
        _ => None,
    }
}
