//! Faults of rows: the position, the problem and the remedy.

use std::fmt;
use std::io;

/// The content of a row, and the number of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// The line of the file on which the row begins, from 1.
    pub line: u64,
    /// The content of the row.
    pub content: T,
}

/// A fault at a position of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The name of the file, as the caller gave it.
    pub file: String,
    /// The line of the file, from 1.
    pub line: u64,
    /// The column or field that has the fault; `None` if the fault concerns no single one.
    pub column: Option<String>,
    /// The problem, as text for the user.
    pub problem: String,
    /// The remedy, as text for the user.
    pub remedy: String,
    fatal: bool,
}

impl Fault {
    /// Whether the rest of the file cannot be used: the file cannot be read, its header is
    /// unusable, or a quote is not closed.
    pub const fn is_fatal(&self) -> bool {
        self.fatal
    }

    pub(crate) fn made_fatal(self) -> Self {
        Self { fatal: true, ..self }
    }
}

impl fmt::Display for Fault {
    /// Writes `usage.csv:3, column start_time: "x" is not a time; write …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// A fault without its position in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    column: Option<String>,
    problem: String,
    remedy: String,
}

impl Problem {
    pub(crate) fn row(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { column: None, problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn field(
        column: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { column: Some(column.to_owned()), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn in_column(self, column: &str) -> Self {
        Self { column: Some(column.to_owned()), ..self }
    }

    /// The problem and the remedy.
    pub(crate) fn into_words(self) -> (String, String) {
        (self.problem, self.remedy)
    }

    /// Appends `more` to the text of the problem.
    pub(crate) fn with(mut self, more: &str) -> Self {
        self.problem.push_str(more);
        self
    }

    pub(crate) fn at(self, file: &str, line: u64) -> Fault {
        let Self { column, problem, remedy } = self;
        Fault { file: file.to_owned(), line, column, problem, remedy, fatal: false }
    }

    pub(crate) fn fatal_at(self, file: &str, line: u64) -> Fault {
        Fault { fatal: true, ..self.at(file, line) }
    }
}

/// The fatal fault of a file that can't be read any further.
pub(crate) fn unreadable(file: &str, line: u64, error: &io::Error) -> Fault {
    Problem::row(
        format!("the file can't be read any further: {error}"),
        "check that it is complete, and run again",
    )
    .fatal_at(file, line)
}

/// Text of a file for a message: quoted, and truncated if it is long.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    format!("{cut:?}…")
}
