//! The file with a token: readable by its owner alone, and never overwritten.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::exit::usage;

/// A new, empty file for a token. Until it is written, dropping this deletes it.
pub(super) struct NewTokenFile {
    path: PathBuf,
    file: Option<File>,
}

impl NewTokenFile {
    /// Creates the file with mode 0600, before the token is issued.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|why| {
            let why = match why.kind() {
                ErrorKind::AlreadyExists => "exists already; a token is never overwritten".into(),
                _ => why.to_string(),
            };
            usage(format!("{}: {why} (--output)", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Writes the token.
    pub(super) fn write(mut self, token: &str) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(format!("{token}\n").as_bytes())?;
        file.sync_all()?;
        self.file = None;
        Ok(())
    }
}

impl Drop for NewTokenFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // If the empty file can't be removed, the next attempt says that it exists.
            drop(std::fs::remove_file(&self.path));
        }
    }
}
