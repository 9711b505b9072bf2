//! Rows of separated values under a header.

use std::io::Read;

use turnpike_types::{CsvLine, CsvLineError};

use super::Lines;
use crate::Fault;
use crate::fault::{Wrong, shown};

/// What may separate the cells of a file.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];
/// A row may hold a record of 16 KiB, with each quote doubled.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// Reads rows, each as long as the header.
///
/// The separator is the one of [`SEPARATORS`] under which the header is usable; a first line
/// `sep=;`, as spreadsheets write it, decides otherwise.
#[derive(Debug)]
pub(crate) struct CsvRows<R: Read> {
    lines: Lines<R>,
    separator: char,
    header: Vec<String>,
    header_line: u64,
    cells: CsvLine,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header; `usable` tells whether columns of these names are what the caller needs.
    /// Without any line the header is empty.
    ///
    /// # Errors
    /// A fatal [`Fault`] where the first line is no header of separated values.
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

    fn read_header(&mut self, usable: impl Fn(&[String]) -> bool) -> Result<(), Wrong> {
        let mut said = None;
        let text = text(&self.lines)?;
        if let Some(separator) = text.get(..4).filter(|word| word.eq_ignore_ascii_case("sep=")) {
            let rest = text.get(separator.len()..).unwrap_or_default();
            said = Some(said_separator(rest)?);
            match self.lines.next_line() {
                Some(next) => next.map_err(|fault| Wrong::row(fault.problem, fault.remedy))?,
                None => return Err(Wrong::row("no header follows sep=", "write one")),
            };
        }
        let text = self::text(&self.lines)?;
        if let Some(wrong) = other_format(text) {
            return Err(wrong);
        }
        let mut split = |separator: char| -> Result<Vec<String>, Wrong> {
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
                return Err(Wrong::row(
                    format!("the header can be split at {one:?} and at {other:?}"),
                    format!("write a line sep={one} above the header"),
                ));
            }
        };
        self.header = split(self.separator)?;
        Ok(())
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// A fault of the header.
    pub(crate) fn header_fault(&self, wrong: Wrong) -> Fault {
        wrong.fatal_at(&self.lines.file, self.header_line)
    }

    /// Goes to the next row, and gives its line. After a fatal fault there is none.
    pub(crate) fn next_row(&mut self) -> Option<Result<u64, Fault>> {
        let line = match self.lines.next_line()? {
            Ok(line) => line,
            Err(fault) => return Some(Err(fault)),
        };
        Some(match self.split() {
            Ok(()) => Ok(line),
            Err(Split::Row(wrong)) => Err(self.lines.fault(wrong)),
            // Which of the next lines are rows, and which are text within the quotes, nobody knows.
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
        Err(Split::Row(Wrong::row(
            format!("the row has {found} fields, the header {expected}"),
            format!(
                "write every column of the header, empty where there is nothing, and put fields \
                 that hold a {separator} in double quotes"
            ),
        )))
    }

    fn in_column(&self, error: CsvLineError) -> Wrong {
        let (CsvLineError::Unclosed { cell } | CsvLineError::AfterQuote { cell }) = error;
        let wrong = bad_quote(error);
        match self.header.get(cell - 1) {
            Some(name) => wrong.in_column(name),
            None => wrong,
        }
    }

    /// A fault of the current row.
    pub(crate) fn fault(&self, wrong: Wrong) -> Fault {
        self.lines.fault(wrong)
    }

    /// The current row's cell under each column of the header.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter()
    }

    /// The current row's cell at `place`, from 0.
    pub(crate) fn cell(&self, place: usize) -> Option<&str> {
        self.cells.get(place)
    }
}

enum Split {
    Row(Wrong),
    File(Wrong),
}

fn text<R: Read>(lines: &Lines<R>) -> Result<&str, Wrong> {
    lines.text().map_err(|error| {
        let at = error.valid_up_to() + 1;
        Wrong::row(format!("byte {at} of the line is not UTF-8"), "save the file as UTF-8")
    })
}

fn said_separator(text: &str) -> Result<char, Wrong> {
    // A spreadsheet may fill up the row with its separator.
    let said = text.chars().next().filter(|separator| SEPARATORS.contains(separator));
    said.filter(|&separator| text.chars().all(|c| c == separator)).ok_or_else(|| {
        let problem = format!("{} is no separator", shown(text));
        Wrong::row(problem, "write sep= and a comma, a semicolon, a tab or a bar")
    })
}

fn bad_quote(error: CsvLineError) -> Wrong {
    let remedy = match error {
        CsvLineError::Unclosed { .. } => {
            "close the quote on the same line (line breaks within a field are not taken), write \
             \"\" for a quote within quotes, and run again"
        }
        CsvLineError::AfterQuote { .. } => "write \"\" for a quote within quotes",
    };
    Wrong::row(error.to_string(), remedy)
}

/// What a first line is that is no header.
fn other_format(text: &str) -> Option<Wrong> {
    match text.trim_start().chars().next()? {
        '{' => Some(Wrong::row(
            "this is JSON, not CSV",
            "name the file .jsonl, or say --format jsonl, with one object a line",
        )),
        '[' => Some(Wrong::row(
            "this is a JSON array, not CSV",
            "write one object a line, as jq -c '.[]' FILE does, and say --format jsonl",
        )),
        '<' => Some(Wrong::row(
            "this is XML, not CSV",
            "give a file of rows; a price plan goes to --plan or to turnpike plan publish",
        )),
        _ => None,
    }
}
