//! The file of `--exceptions`: the suspended and rejected records and the bad rows, with the
//! reasons.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::exit::usage;

/// A record of a file that was suspended or rejected, or a bad row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Exception {
    pub(crate) line: u64,
    pub(crate) record_id: String,
    /// `suspended`, `rejected`, or `bad-row`.
    pub(crate) status: &'static str,
    pub(crate) reason: String,
    /// The subject of the reason, such as a measure; empty unless the record is suspended.
    pub(crate) detail: String,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, record_id, status, reason, detail } = self;
        write!(f, "line {line}, record {record_id}: {status}, {reason}")?;
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

/// The file of `--exceptions`. It is opened before anything is sent, and changed only when the
/// outcome is known.
#[derive(Debug)]
pub(crate) struct ExceptionsFile {
    path: PathBuf,
    file: File,
}

impl ExceptionsFile {
    /// The first bytes of an existing file of exceptions: the names of the first fields of
    /// [`Exception`]. Earlier releases wrote only these fields.
    const HEADER: &str = "line,record_id,status,reason";

    /// Opens `path`. Refuses the file of `input`, and a file that does not begin with
    /// [`Self::HEADER`].
    pub(crate) fn open(path: &Path, input: &Path) -> anyhow::Result<Self> {
        let place = || format!("{} can't be written (--exceptions)", path.display());
        let is_input =
            path.canonicalize().ok().is_some_and(|path| input.canonicalize().ok() == Some(path));
        if is_input {
            return Err(usage("--exceptions names the input file: name another one"));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(place)?;
        let mut first = Vec::new();
        let header = Self::HEADER.len() as u64;
        (&mut file).take(header).read_to_end(&mut first).with_context(place)?;
        if !first.is_empty() && !first.starts_with(Self::HEADER.as_bytes()) {
            return Err(usage(format!(
                "--exceptions: {} holds something else: name a new file",
                path.display()
            )));
        }
        Ok(Self { path: path.to_owned(), file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content by these exceptions.
    pub(crate) fn write(mut self, exceptions: &[Exception]) -> anyhow::Result<()> {
        let path = self.path;
        let place = || format!("{} can't be written (--exceptions)", path.display());
        self.file.set_len(0).with_context(place)?;
        self.file.rewind().with_context(place)?;
        let mut writer = csv::Writer::from_writer(self.file);
        for exception in exceptions {
            writer.serialize(exception).with_context(place)?;
        }
        writer.flush().with_context(place)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn exception(line: u64) -> Exception {
        Exception {
            line,
            record_id: "r1".to_owned(),
            status: "rejected",
            reason: "conflict".to_owned(),
            detail: String::new(),
        }
    }

    #[test]
    fn a_file_with_anything_else_in_it_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (input, other) = (dir.path().join("usage.csv"), dir.path().join("notes.txt"));
        for path in [&input, &other] {
            std::fs::write(path, "precious\n").unwrap();
            assert!(ExceptionsFile::open(path, &input).is_err(), "{}", path.display());
            assert_eq!(std::fs::read_to_string(path).unwrap(), "precious\n");
        }
        std::fs::write(&input, "").unwrap();
        assert!(ExceptionsFile::open(&input, &input).is_err(), "the input, even if it is empty");
        assert!(ExceptionsFile::open(&dir.path().join("no/such.csv"), &input).is_err());
    }

    #[test]
    fn the_exceptions_of_an_earlier_run_are_replaced_once_the_outcome_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (input, path) = (dir.path().join("usage.csv"), dir.path().join("left.csv"));
        let open = || ExceptionsFile::open(&path, &input).unwrap();
        open().write(&[exception(2), exception(3)]).unwrap();
        let first = std::fs::read_to_string(&path).unwrap();
        assert_eq!(first.lines().count(), 3);
        drop(open());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first, "a run that ended early");
        open().write(&[exception(4)]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("\n4,r1,rejected,conflict,"));
        open().write(&[]).unwrap();
        drop(open());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
