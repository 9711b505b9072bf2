//! Reads CSV rows with their lines and columns, independent of the kind of table.
//!
//! Each line is one row, split by [`CsvLine`]. Lines that begin with `#` are comments. Refused are:
//! an unclosed quote or a quote within an unquoted value, control characters in a value, and a
//! value of more than [`CELL_BYTES_MAX`] bytes.

use turnpike_types::{CsvLine, CsvLineError};

use super::contents::RowContents;
use super::errors::{TableError, TableErrors};
use crate::language::nearest::hint;

/// The maximum length of a value, in bytes.
pub(super) const CELL_BYTES_MAX: usize = 256;
/// The number of errors after which reading stops.
const ERRORS_MAX: usize = 100;

/// A column of a kind of table. The values of a required column must not be empty.
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

/// A kind of table, as a reader of its rows.
pub(super) trait Kind: Sized {
    /// The columns of this kind.
    const COLUMNS: &'static [Column];
    /// The result of reading the rows.
    type Content;

    /// No rows yet, and room for this number.
    fn with_room_for(rows: usize) -> Self;

    /// Reads a row. Returns the rank of the row among the rows whose order is part of the content;
    /// 0 if the order is not part of the content.
    fn take(&mut self, row: &Row<'_>) -> Result<u32, String>;

    /// Checks the rows against each other, and builds the content.
    fn finish(self, faults: &mut Faults) -> Self::Content;
}

/// A row of a table. A column is given by its index in [`Kind::COLUMNS`].
#[derive(Debug)]
pub(super) struct Row<'r> {
    pub(super) line: u32,
    columns: &'static [Column],
    cells: &'r CsvLine,
    /// The index of each column in the file's rows; `None` if the file does not have the column.
    places: &'r [Option<usize>],
    /// Whether the table was published before, see [`Faults::is_published`].
    pub(super) is_published: bool,
}

impl Row<'_> {
    /// The value of a column; empty if the file has no value.
    pub(super) fn cell(&self, column: usize) -> &str {
        let place = self.places.get(column).copied().flatten();
        // Trims quoted values too: the hashes of published tables were computed without the spaces.
        place.and_then(|place| self.cells.get(place)).unwrap_or_default().trim()
    }

    /// Parses the value of a column.
    pub(super) fn read<T>(
        &self,
        column: usize,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let name = self.columns.get(column).map_or("", |column| column.name);
        parse(self.cell(column)).map_err(|why| format!("{name}: {why}"))
    }

    /// As [`Row::read`]; `None` if the value is empty.
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
                return Err(format!(
                    "{name}: {} bytes: write at most {CELL_BYTES_MAX}",
                    cell.len()
                ));
            }
            if cell.chars().any(char::is_control) {
                return Err(format!("{name}: a control character: write plain text"));
            }
            if column.required && cell.is_empty() {
                return Err(format!("{name}: it is empty: every row needs a value"));
            }
        }
        Ok(())
    }
}

/// Appends a text after its length, so that different lists of texts never give the same bytes.
pub(super) fn hash_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Reads all rows, and returns their content. Returns `None`, with a fault, if the header
/// is unusable, if there are no rows or more than `rows_max`, or after too many errors.
pub(super) fn read<K: Kind>(
    text: &str,
    rows_max: usize,
    faults: &mut Faults,
) -> Option<(K, RowContents)> {
    let mut lines = Lines::of(text, faults.is_published);
    let mut cells = CsvLine::default();
    let first = lines.next(&mut cells);
    if let Some(message) = other_separator(lines.text, K::COLUMNS) {
        faults.error(lines.line, message);
        return None;
    }
    let places = match first {
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
    let rows = rows_possible(text, K::COLUMNS).min(rows_max);
    let mut kind = K::with_room_for(rows);
    let mut contents = RowContents::with_room_for(rows, text.len(), K::COLUMNS.len());
    let mut any = false;
    while let Some(next) = lines.next(&mut cells) {
        any = true;
        let read = next.and_then(|line| {
            let is_published = faults.is_published;
            let row =
                Row { line, columns: K::COLUMNS, cells: &cells, places: &places, is_published };
            let taken = row.check().and_then(|()| kind.take(&row));
            let rank = taken.map_err(|message| TableError { line, message })?;
            contents.push((0..K::COLUMNS.len()).map(|column| row.cell(column)), rank);
            Ok(())
        });
        if let Err(error) = read {
            faults.errors.push(error);
            if faults.errors.len() >= ERRORS_MAX {
                return None;
            }
        }
        if contents.len() > rows_max {
            let message = format!("more than {rows_max} rows: split the table");
            faults.error(lines.line, message);
            return None;
        }
    }
    if !any {
        faults.error(lines.line, "no rows: write at least one row after the header");
        return None;
    }
    Some((kind, contents))
}

/// The number of rows that a text can have at most: each has a line break, and a byte and a separator
/// for each required column.
fn rows_possible(text: &str, columns: &[Column]) -> usize {
    let lines = text.bytes().filter(|&byte| byte == b'\n').count();
    let required = columns.iter().filter(|column| column.required).count();
    lines.min(text.len() / (2 * required).max(1))
}

/// The index of each column in the file, from the header.
fn header(
    cells: &CsvLine,
    line: u32,
    columns: &[Column],
    faults: &mut Faults,
) -> Option<Vec<Option<usize>>> {
    let mut places = vec![None; columns.len()];
    let before = faults.errors.len();
    for (at, name) in cells.iter().map(str::trim).enumerate() {
        let known = columns.iter().position(|column| column.name == name);
        match known.and_then(|known| places.get_mut(known)) {
            None => {
                let name: String = name.chars().take(60).collect();
                let hint = hint(&name, columns.iter().map(|column| column.name));
                let known = names(columns, ", ");
                let message = format!(
                    "no column {name:?} is known for this kind of table{hint}: write {known}"
                );
                faults.error(line, message);
            }
            Some(Some(_)) => {
                faults.error(line, format!("the header has column {name} twice: take one out"))
            }
            Some(place) => *place = Some(at),
        }
    }
    for (column, place) in columns.iter().zip(&places) {
        if column.required && place.is_none() {
            faults.error(line, format!("the header has no column {}: it is required", column.name));
        }
    }
    (faults.errors.len() == before).then_some(places)
}

/// The fault of a header that is not separated by commas, as spreadsheets write it.
fn other_separator(header: &str, columns: &[Column]) -> Option<String> {
    const REMEDY: &str = "save the table with commas, and decimals with a point";
    if header.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("sep=")) {
        let line: String = header.chars().take(60).collect();
        return Some(format!("a line {line:?} is not read: remove it, and {REMEDY}"));
    }
    let mut cells = CsvLine::default();
    let mut splits_at = |separator: char| {
        let known = |name: &str| columns.iter().any(|column| column.name == name.trim());
        cells.split(header, separator).is_ok() && cells.len() > 1 && cells.iter().any(known)
    };
    if splits_at(',') {
        return None;
    }
    let separators = [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")];
    let (_, what) = separators.into_iter().find(|&(separator, _)| splits_at(separator))?;
    Some(format!("the values are separated by {what}: {REMEDY}"))
}

fn names(columns: &[Column], between: &str) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(between)
}

/// The rows of a text, without comments.
struct Lines<'t> {
    /// Whether an earlier release may have accepted the text, by less strict rules for quotes.
    is_published: bool,
    lines: std::str::Split<'t, char>,
    /// The last line that was read.
    text: &'t str,
    /// The number of the last line that was read, from 1.
    line: u32,
    /// The number of values in the header.
    columns: Option<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str, is_published: bool) -> Self {
        Self { is_published, lines: text.split('\n'), text: "", line: 0, columns: None }
    }

    /// Reads the next row into `cells`, and returns its line.
    fn next(&mut self, cells: &mut CsvLine) -> Option<Result<u32, TableError>> {
        let text = loop {
            let line = self.lines.next()?;
            self.line = self.line.saturating_add(1);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !line.is_empty() && !line.starts_with('#') {
                break line;
            }
        };
        self.text = text;
        let line = self.line;
        Some(self.split(text, cells).map_err(|message| TableError { line, message }).map(|()| line))
    }

    fn split(&mut self, text: &str, cells: &mut CsvLine) -> Result<(), String> {
        const LEFT_OPEN: &str = "a quote is left open: close it (a value cannot hold a line break), and write \"\" for a quote within a value";
        let split = match self.is_published {
            true => cells.split_published(text, ','),
            false => cells.split(text, ','),
        };
        split.map_err(|error| match error {
            CsvLineError::Unclosed { .. } => LEFT_OPEN.to_owned(),
            CsvLineError::AfterQuote { .. } => {
                format!("{error}: write \"\" for a quote within quotes")
            }
        })?;
        // Tables are written by people, so an odd number of quotes is treated as a mistake. The CSV
        // reader accepts a single quote, because in files that programs write it can be an inch
        // sign.
        if text.bytes().filter(|&byte| byte == b'"').count() % 2 != 0 {
            return Err(LEFT_OPEN.to_owned());
        }
        let expected = *self.columns.get_or_insert(cells.len());
        if cells.len() != expected {
            return Err(format!(
                "{} values, the header has {expected}: write every column, and put values with a comma in double quotes",
                cells.len()
            ));
        }
        Ok(())
    }
}

/// Collects errors and warnings while a table is read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Whether the table was published before: text that an earlier release accepted is then no
    /// fault.
    pub(super) is_published: bool,
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

    /// Refuses each of the sorted rows that is equal by `same` to the row before it.
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
                let message = format!("{what} is on line {earlier} already: take one out");
                self.error(line(second), message);
            }
        }
    }

    /// The warnings if there are no errors, otherwise the errors, each in order of lines.
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
