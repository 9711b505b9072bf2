//! What is wrong with a row: where, what, and what to write instead.

use std::fmt;
use std::io;

/// A row's content and the line of the file on which it begins, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// Line of the file, from 1.
    pub line: u64,
    /// What the row says.
    pub content: T,
}

/// What is wrong at one place of a file, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The file, as the caller called it.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// The column or field, where one is to blame.
    pub column: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    fatal: bool,
}

impl Fault {
    /// Does the rest of the file mean nothing any more (its header is unusable, or it can't be
    /// read)?
    pub const fn is_fatal(&self) -> bool {
        self.fatal
    }

    pub(crate) fn made_fatal(self) -> Self {
        Self { fatal: true, ..self }
    }
}

impl fmt::Display for Fault {
    /// `usage.csv:3, column start_time: "x" is no time; write …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// A fault that does not know its place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    column: Option<String>,
    problem: String,
    remedy: String,
}

impl Wrong {
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

    /// Problem and remedy.
    pub(crate) fn into_words(self) -> (String, String) {
        (self.problem, self.remedy)
    }

    /// Says more of what is wrong.
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

/// The file can't be read on.
pub(crate) fn unreadable(file: &str, line: u64, error: &io::Error) -> Fault {
    Wrong::row(format!("the file can't be read on: {error}"), "see that it is whole, and run again")
        .fatal_at(file, line)
}

/// Text from a file as a message shows it: quoted, and cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    format!("{cut:?}…")
}
