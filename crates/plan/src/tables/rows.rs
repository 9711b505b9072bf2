//! CSV -> rows that know their lines and columns. Nothing about any kind of table is known here.
//!
//! RFC 4180, with comments: lines that begin with `#`. Refused besides: a quote left open, control
//! characters within a value, a value of more than [`CELL_BYTES_MAX`] bytes.

use csv::StringRecord;

use super::{TableError, TableErrors};

/// One value.
pub(super) const CELL_BYTES_MAX: usize = 256;
/// How many errors are collected before reading stops: past these, nobody reads on.
const ERRORS_MAX: usize = 100;

/// A column of a kind of table. Of a required one no value may be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    required: bool,
}

pub(super) const fn required(name: &'static str) -> Column {
    Column { name, required: true }
}

pub(super) const fn optional(name: &'static str) -> Column {
    Column { name, required: false }
}

/// A kind of table, while its rows are read.
pub(super) trait Kind: Default {
    /// What it has.
    const COLUMNS: &'static [Column];
    /// What comes of the rows.
    type Content;

    /// Takes a row, and gives its rank among rows whose order is content; 0 where it is not.
    fn take(&mut self, row: &Row<'_>) -> Result<u32, String>;

    /// Checks the rows against each other.
    fn finish(self, faults: &mut Faults) -> Self::Content;
}

/// A row of a table. Columns go by their place in [`Kind::COLUMNS`].
#[derive(Debug)]
pub(super) struct Row<'r> {
    pub(super) line: u32,
    columns: &'static [Column],
    cells: &'r StringRecord,
    /// Where in the file's row each column stands.
    places: &'r [Option<usize>],
}

impl Row<'_> {
    /// What the row says in a column; empty where it says nothing.
    pub(super) fn cell(&self, column: usize) -> &str {
        let place = self.places.get(column).copied().flatten();
        place.and_then(|place| self.cells.get(place)).unwrap_or_default()
    }

    /// A column's value, read.
    pub(super) fn read<T>(
        &self,
        column: usize,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let name = self.columns.get(column).map_or("", |column| column.name);
        parse(self.cell(column)).map_err(|why| format!("{name}: {why}"))
    }

    /// As [`Row::read`]; `None` where nothing is written.
    pub(super) fn read_optional<T>(
        &self,
        column: usize,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        if self.cell(column).is_empty() {
            return Ok(None);
        }
        self.read(column, parse).map(Some)
    }

    fn check(&self) -> Result<(), String> {
        for (at, column) in self.columns.iter().enumerate() {
            let (cell, name) = (self.cell(at), column.name);
            if cell.len() > CELL_BYTES_MAX {
                return Err(format!("{name}: {} bytes, at most {CELL_BYTES_MAX}", cell.len()));
            }
            if cell.chars().any(char::is_control) {
                return Err(format!(
                    "{name}: a line break or other control character: write plain text, and see that each quote is closed"
                ));
            }
            if column.required && cell.is_empty() {
                return Err(format!("{name}: it is empty: every row needs one"));
            }
        }
        Ok(())
    }

    /// The row as it counts for the hash.
    fn canonical(&self, rank: u32) -> Box<[u8]> {
        let mut bytes = Vec::new();
        for at in 0..self.columns.len() {
            hash_text(self.cell(at), &mut bytes);
        }
        bytes.extend_from_slice(&rank.to_le_bytes());
        bytes.into()
    }
}

/// Length before content, so that no two lists of texts give the same bytes.
pub(super) fn hash_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Takes every row, and gives their canonical forms; `None`, with what is wrong, when the rows
/// can't be told apart, or there are none or more than `rows_max`.
pub(super) fn read<K: Kind>(
    text: &str,
    rows_max: usize,
    faults: &mut Faults,
) -> Option<(K, Vec<Box<[u8]>>)> {
    let mut lines = Lines::of(text);
    let mut cells = StringRecord::new();
    let places = match lines.next(&mut cells) {
        Some(Ok(line)) => header(&cells, line, K::COLUMNS, faults)?,
        Some(Err(error)) => {
            faults.errors.push(error);
            return None;
        }
        None => {
            faults.error(lines.line, format!("no header: write {}", names(K::COLUMNS, ",")));
            return None;
        }
    };
    let (mut kind, mut canonical, mut any) = (K::default(), Vec::new(), false);
    while let Some(next) = lines.next(&mut cells) {
        any = true;
        let read = next.and_then(|line| {
            let row = Row { line, columns: K::COLUMNS, cells: &cells, places: &places };
            let taken = row.check().and_then(|()| kind.take(&row));
            let rank = taken.map_err(|message| TableError { line, message })?;
            canonical.push(row.canonical(rank));
            Ok(())
        });
        if let Err(error) = read {
            faults.errors.push(error);
            if faults.errors.len() >= ERRORS_MAX {
                return None;
            }
        }
        if canonical.len() > rows_max {
            let message = format!("more than {rows_max} rows: split the table");
            faults.error(lines.line, message);
            return None;
        }
    }
    if !any {
        faults.error(lines.line, "no rows: an empty table answers nothing");
        return None;
    }
    Some((kind, canonical))
}

/// Where each column stands in the file.
fn header(
    cells: &StringRecord,
    line: u32,
    columns: &[Column],
    faults: &mut Faults,
) -> Option<Vec<Option<usize>>> {
    let mut places = vec![None; columns.len()];
    let before = faults.errors.len();
    for (at, name) in cells.iter().enumerate() {
        let known = columns.iter().position(|column| column.name == name);
        match known.and_then(|known| places.get_mut(known)) {
            None => {
                let name: String = name.chars().take(60).collect();
                let known = names(columns, ", ");
                faults.error(line, format!("no column {name:?} is known here: write {known}"));
            }
            Some(Some(_)) => faults.error(line, format!("column {name} twice: take one out")),
            Some(place) => *place = Some(at),
        }
    }
    for (column, place) in columns.iter().zip(&places) {
        if column.required && place.is_none() {
            faults.error(line, format!("no column {}: it is required", column.name));
        }
    }
    (faults.errors.len() == before).then_some(places)
}

fn names(columns: &[Column], between: &str) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(between)
}

/// The rows of a text, comments left out.
struct Lines<'t> {
    text: &'t str,
    reader: csv::Reader<&'t [u8]>,
    /// Up to where breaks have been counted, and the line that begins or goes on there.
    counted: usize,
    line: u32,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        Self { text, reader, counted: 0, line: 1 }
    }

    /// The next row's cells, and the line on which it begins.
    fn next(&mut self, cells: &mut StringRecord) -> Option<Result<u32, TableError>> {
        let line = self.line_of(self.position());
        // The reader takes a last comment without a line break for a row.
        if self.counted >= self.text.len() {
            return None;
        }
        let read = self.reader.read_record(cells);
        let to = self.position();
        let error = |message: String| Some(Err(TableError { line, message }));
        match read {
            Ok(false) => return None,
            Ok(true) => {}
            Err(fault) => return error(unreadable(&fault)),
        }
        let written = self.text.get(self.counted..to).unwrap_or_default();
        if written.bytes().filter(|&byte| byte == b'"').count() % 2 != 0 {
            return error(
                "a quote is left open: close it, and write \"\" for one within a value".into(),
            );
        }
        Some(Ok(line))
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.position().byte()).unwrap_or(usize::MAX).min(self.text.len())
    }

    /// The line of the first row at or after a byte: the reader itself counts from the comments
    /// before it.
    fn line_of(&mut self, from: usize) -> u32 {
        let bytes = self.text.as_bytes();
        let mut at = from;
        loop {
            match bytes.get(at) {
                Some(b'\n' | b'\r') => at += 1,
                Some(b'#') => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                }
                _ => break,
            }
        }
        let passed = bytes.get(self.counted..at).unwrap_or_default();
        let breaks = passed.iter().filter(|&&byte| byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        self.counted = at;
        self.line
    }
}

fn unreadable(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "{len} values, the header has {expected_len}: write every column, and put values that hold a comma in double quotes"
        ),
        _ => format!("{error}: write comma-separated values"),
    }
}

/// Collects errors and warnings while a table is read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    errors: Vec<TableError>,
    warnings: Vec<TableError>,
}

impl Faults {
    pub(super) fn error(&mut self, line: u32, message: impl Into<String>) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(TableError { line, message: message.into() });
        }
    }

    pub(super) fn warn(&mut self, line: u32, message: impl Into<String>) {
        if self.warnings.len() < ERRORS_MAX {
            self.warnings.push(TableError { line, message: message.into() });
        }
    }

    /// For sorted rows: refuses each that has what the row before it has.
    pub(super) fn refuse_doubles<T>(
        &mut self,
        rows: &[T],
        same: impl Fn(&T, &T) -> bool,
        line: impl Fn(&T) -> u32,
        what: impl Fn(&T) -> String,
    ) {
        for pair in rows.windows(2) {
            if let [first, second] = pair
                && same(first, second)
            {
                let (what, earlier) = (what(second), line(first));
                let message = format!("{what} stands on line {earlier} already: take one out");
                self.error(line(second), message);
            }
        }
    }

    /// The warnings, or the errors, in order of lines.
    pub(super) fn into_result(mut self) -> Result<Vec<String>, TableErrors> {
        if self.errors.is_empty() {
            self.warnings.sort();
            return Ok(self.warnings.iter().map(TableError::to_string).collect());
        }
        self.errors.sort();
        self.errors.dedup();
        Err(TableErrors(self.errors))
    }
}
