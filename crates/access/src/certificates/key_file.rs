//! Writes keys and certificates.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file exists that may not be overwritten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} exists: move it away, name another directory, or overwrite it with --force", file.display())]
pub struct FileExists {
    /// The file.
    pub file: PathBuf,
}

/// Creates the directory and its parents, for the present user only. An existing one is not changed.
///
/// # Errors
/// The directory can't be created.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Creates a file for the present user only; an existing one is an error.
///
/// # Errors
/// The file exists, or can't be written.
pub fn write_new(file: &Path, contents: &str) -> io::Result<()> {
    write(OpenOptions::new().write(true).create_new(true), file, contents)
}

/// Replaces a file at once: a reader finds the old contents or the new, never a part.
///
/// # Errors
/// The file can't be written. The old one is unchanged then.
pub fn replace_file(file: &Path, contents: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    // What an earlier attempt left behind was never in use.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&new, contents)?;
    std::fs::rename(&new, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(options: &mut OpenOptions, file: &Path, contents: &str) -> io::Result<()> {
    let mut file = options.mode(0o600).open(file)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}
