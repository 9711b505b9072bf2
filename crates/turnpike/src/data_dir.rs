//! At most one process per data directory, by an operating-system lock on a file in it.
//!
//! The operating system releases the lock when the process ends, in whatever way. The file remains
//! without effect; the process id in it only serves error messages.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::exit::in_use;

const NAME: &str = "turnpike.lock";
/// The maximum number of bytes that are read from the file; a process id is shorter.
const NOTE_BYTES_MAX: u64 = 32;

/// A locked data directory; dropping the value releases the lock.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Whether the directory was locked before, by a process that may still run.
    pub(crate) fn was_used(dir: &Path) -> bool {
        dir.join(NAME).exists()
    }

    /// Creates the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// If another process holds the lock, exit code 4; otherwise an I/O error.
    pub(crate) fn lock(dir: &Path) -> anyhow::Result<Self> {
        let shown = dir.display();
        std::fs::create_dir_all(dir)
            .with_context(|| format!("the directory {shown} can't be created (--data)"))?;
        let path = dir.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("the directory {shown} can't be written (--data)"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file).map(|pid| format!(" (process {pid})"));
                return Err(in_use(format!(
                    "another `turnpike up`{} runs on {shown}: stop it, or choose another directory \
                     with --data",
                    holder.unwrap_or_default()
                )));
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context(format!(
                    "{} can't be locked: the directory must be on a local disk (--data)",
                    path.display()
                ));
            }
        }
        // Written only with the lock: until then the file belongs to the process that holds the
        // lock.
        let note = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all(note.as_bytes()))
            .with_context(|| format!("{} can't be written", path.display()))?;
        Ok(Self { _lock: file })
    }
}

/// The process id in the file, written by the holder of the lock.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::exit::InUse;

    #[test]
    fn a_directory_is_locked_until_its_holder_releases_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new/data");
        let held = DataDir::lock(&data).unwrap();
        let error = DataDir::lock(&data).unwrap_err();
        assert!(error.is::<InUse>(), "{error:#}");
        let said = format!("{error:#}");
        let pid = format!("process {}", std::process::id());
        assert!(said.contains(&pid) && said.contains("--data"), "{said}");
        drop(held);
        // The remaining file does not lock the directory.
        assert!(data.join(NAME).exists());
        DataDir::lock(&data).unwrap();
    }

    #[test]
    fn a_place_that_is_no_directory_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::lock(file.path()).unwrap_err();
        let said = format!("{error:#}");
        assert!(
            said.contains(&file.path().display().to_string()) && said.contains("--data"),
            "{said}"
        );
    }
}
