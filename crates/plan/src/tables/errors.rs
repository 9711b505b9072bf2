//! Errors of a table.

use std::fmt;

/// The errors of a table, in order of lines; at least one, at most 100.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TableErrors(pub Vec<TableError>);

/// An error for which a table is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableError {
    /// The line of the text, from 1.
    pub line: u32,
    /// The problem and its remedy, for a person.
    pub message: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl fmt::Display for TableErrors {
    /// Writes one error per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
