//! Splits one line of separated values into cells. Every CSV reader of the workspace uses this.
//! ```text
//!  line  = cell *( separator cell )
//!  cell  = unquoted | spaces '"' *( any but '"' | '""' ) '"' spaces
//! ```
//!
//! An unquoted cell is trimmed, and a quote inside it is an ordinary character (`19" rack`). A
//! quoted cell is verbatim, with `""` for one quote. A row ends at the end of its line: a quote
//! that is not closed on its line is an error. A reader that searches later lines for the closing
//! quote, as the csv crate does without an option to turn this off, would lose all rows up to that
//! quote.

/// The cells of one line. A value can split many lines one after another, and reuses its buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvLine {
    text: String,
    /// The end offset of each cell in `text`.
    ends: Vec<usize>,
    /// The indexes of the quoted cells, in order.
    quoted: Vec<usize>,
}

/// Why a line can't be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvLineError {
    /// A quote opens a cell and is not closed on the line. The rest of the file can't be trusted.
    #[error("a quote is opened in field {cell} and not closed on the same line")]
    Unclosed {
        /// The cell's number, from 1.
        cell: usize,
    },
    /// Something other than a separator follows the closing quote of a cell.
    #[error("text follows the closing quote of field {cell}")]
    AfterQuote {
        /// The cell's number, from 1.
        cell: usize,
    },
}

impl CsvLine {
    /// Splits `line`, which contains no line break, at `separator`, which must be neither a quote
    /// nor a letter. An empty line has one empty cell.
    ///
    /// # Errors
    /// [`CsvLineError`]; the result then has no cells.
    pub fn split(&mut self, line: &str, separator: char) -> Result<(), CsvLineError> {
        self.clear();
        let split = self.cells(line, separator);
        if split.is_err() {
            self.clear();
        }
        split
    }

    /// Splits a line of a table that an earlier release accepted, by the rules of that release: a
    /// quote opens a cell only as its first character, and text after the closing quote belongs to
    /// the cell (`"a"b` is `ab`). Every new file is split by [`CsvLine::split`].
    ///
    /// # Errors
    /// A quote is not closed on the line; the result then has no cells.
    pub fn split_published(&mut self, line: &str, separator: char) -> Result<(), CsvLineError> {
        self.clear();
        let mut next = Some(line);
        while let Some(rest) = next {
            let cell = self.ends.len() + 1;
            next = match rest.strip_prefix('"') {
                None => self.unquoted(rest, separator),
                Some(quoted) => match self.published(quoted, separator) {
                    Some(after) => after,
                    None => {
                        self.clear();
                        return Err(CsvLineError::Unclosed { cell });
                    }
                },
            };
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.quoted.clear();
    }

    /// Reads a quoted cell; `rest` begins after the opening quote. Returns `None` if the quote is
    /// not closed, else the text after the separator if there is one.
    fn published<'t>(&mut self, mut rest: &'t str, separator: char) -> Option<Option<&'t str>> {
        loop {
            let (text, after) = rest.split_once('"')?;
            self.text.push_str(text);
            if let Some(escaped) = after.strip_prefix('"') {
                self.text.push('"');
                rest = escaped;
                continue;
            }
            let (more, next) = match after.split_once(separator) {
                Some((more, next)) => (more, Some(next)),
                None => (after, None),
            };
            self.text.push_str(more);
            return Some(next);
        }
    }

    fn cells(&mut self, line: &str, separator: char) -> Result<(), CsvLineError> {
        let mut rest = line;
        loop {
            let cell = self.ends.len() + 1;
            let start = rest.trim_start_matches(|c: char| c != separator && c.is_whitespace());
            let next = match start.strip_prefix('"') {
                Some(quoted) => {
                    self.quoted.push(cell - 1);
                    self.quoted(quoted, separator, cell)?
                }
                None => self.unquoted(rest, separator),
            };
            self.ends.push(self.text.len());
            match next {
                Some(next) => rest = next,
                None => return Ok(()),
            }
        }
    }

    /// Reads an unquoted cell. Returns the text after its separator, or `None` at the end of the
    /// line.
    fn unquoted<'t>(&mut self, rest: &'t str, separator: char) -> Option<&'t str> {
        let (cell, next) = match rest.split_once(separator) {
            Some((cell, next)) => (cell, Some(next)),
            None => (rest, None),
        };
        self.text.push_str(cell.trim());
        next
    }

    /// Reads a quoted cell; `rest` begins after the opening quote. Returns the text after the
    /// separator, or `None` at the end of the line.
    fn quoted<'t>(
        &mut self,
        mut rest: &'t str,
        separator: char,
        cell: usize,
    ) -> Result<Option<&'t str>, CsvLineError> {
        loop {
            let (text, after) = rest.split_once('"').ok_or(CsvLineError::Unclosed { cell })?;
            self.text.push_str(text);
            let Some(escaped) = after.strip_prefix('"') else {
                let after = after.trim_start_matches(|c: char| c != separator && c.is_whitespace());
                return match after.strip_prefix(separator) {
                    Some(next) => Ok(Some(next)),
                    None if after.is_empty() => Ok(None),
                    None => Err(CsvLineError::AfterQuote { cell }),
                };
            };
            self.text.push('"');
            rest = escaped;
        }
    }

    /// The number of cells.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no cells: no line was split yet, or the last split failed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The cell at index `place`, from 0.
    pub fn get(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        let begin = place.checked_sub(1).and_then(|before| self.ends.get(before));
        self.text.get(begin.copied().unwrap_or(0)..end)
    }

    /// Whether [`CsvLine::split`] found the cell at index `place` in quotes.
    pub fn is_quoted(&self, place: usize) -> bool {
        self.quoted.binary_search(&place).is_ok()
    }

    /// The cells, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|place| self.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str, separator: char) -> Result<Vec<String>, CsvLineError> {
        let mut cells = CsvLine::default();
        cells.split(line, separator)?;
        Ok(cells.iter().map(str::to_owned).collect())
    }

    #[test]
    fn unquoted_cells_are_trimmed_and_quoted_cells_are_verbatim() {
        assert_eq!(split("a, b ,\" c \",", ',').unwrap(), ["a", "b", " c ", ""]);
        assert_eq!(split("", ',').unwrap(), [""]);
        assert_eq!(split(" \t x \u{a0}", ',').unwrap(), ["x"]);
        assert_eq!(split("a\t\" \"\t\tb c", '\t').unwrap(), ["a", " ", "", "b c"]);
        assert_eq!(split("a;\"b;c\" ;d", ';').unwrap(), ["a", "b;c", "d"]);
        let mut cells = CsvLine::default();
        cells.split("a,\"b\", \"\" ,c\"", ',').unwrap();
        let quoted: Vec<bool> = (0..5).map(|place| cells.is_quoted(place)).collect();
        assert_eq!(quoted, [false, true, true, false, false]);
    }

    #[test]
    fn a_quote_is_doubled_within_quotes_and_ordinary_elsewhere() {
        assert_eq!(split(r#""a ""b""","""""#, ',').unwrap(), [r#"a "b""#, "\""]);
        assert_eq!(split(r#"19" rack,a"b"c"#, ',').unwrap(), [r#"19" rack"#, r#"a"b"c"#]);
        assert_eq!(split(r#""""#, ',').unwrap(), [""]);
    }

    #[test]
    fn an_open_quote_and_text_behind_a_closed_one_are_errors_that_name_the_field() {
        assert_eq!(split("a,\"b,c", ','), Err(CsvLineError::Unclosed { cell: 2 }));
        assert_eq!(split("a,\"b\"\",c", ','), Err(CsvLineError::Unclosed { cell: 2 }));
        assert_eq!(split("\"", ','), Err(CsvLineError::Unclosed { cell: 1 }));
        assert_eq!(split("x,y,\"a\"b", ','), Err(CsvLineError::AfterQuote { cell: 3 }));
        assert_eq!(split("\"a\" \"b\"", ','), Err(CsvLineError::AfterQuote { cell: 1 }));
        let mut cells = CsvLine::default();
        cells.split("a,b", ',').unwrap();
        assert!(cells.split("\"", ',').is_err() && cells.is_empty());
    }

    #[test]
    fn a_line_of_a_published_table_is_split_as_the_release_that_accepted_it_did() {
        let published = |line: &str| {
            let mut cells = CsvLine::default();
            cells.split_published(line, ',')?;
            Ok(cells.iter().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(published("\"a\"b,c").unwrap(), ["ab", "c"]);
        assert_eq!(published("\"Trinidad\" & Tobago,1").unwrap(), ["Trinidad & Tobago", "1"]);
        assert_eq!(published("x, \"a\" ,\"b,\"\"c\"").unwrap(), ["x", "\"a\"", "b,\"c"]);
        assert_eq!(published("\"a\"b\"c\"").unwrap(), ["ab\"c\""]);
        assert_eq!(published("").unwrap(), [""]);
        assert_eq!(published("1,\"a"), Err(CsvLineError::Unclosed { cell: 2 }));
    }
}
