//! Writes keys and certificates.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
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

/// The mode of a private key, which only its user may read.
pub const KEY_MODE: u32 = 0o600;
/// The mode of a certificate.
pub const CERTIFICATE_MODE: u32 = 0o644;

/// Creates a file with this mode; an existing one is an error.
///
/// # Errors
/// The file exists, or can't be written.
pub fn write_new(file: &Path, contents: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}

/// Replaces a file at once: a reader finds the old contents or the new, never a part. The new file
/// has the owner and the mode of the old one, but others than the owner and the group have no right that
/// is not in `mode`; without an old one, it has `mode`.
///
/// # Errors
/// The file can't be written. The old one is unchanged then.
pub fn replace_file(file: &Path, contents: &str, mode: u32) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    // What an earlier attempt left behind was never in use.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&new, contents, mode)?;
    // The process that reads the file may run as another user.
    if let Ok(old) = std::fs::metadata(file) {
        let now = std::fs::metadata(&new)?;
        if (old.uid(), old.gid()) != (now.uid(), now.gid()) {
            chown(&new, Some(old.uid()), Some(old.gid()))?;
        }
        let kept = old.permissions().mode() & (0o770 | mode);
        std::fs::set_permissions(&new, Permissions::from_mode(kept))?;
    }
    std::fs::rename(&new, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A process may read its key by its group. Other users of the machine never may.
    #[test]
    fn a_replaced_key_is_not_readable_by_others_though_the_old_one_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let replaced = |old: u32, mode: u32| {
            std::fs::write(&file, "old").unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(old)).unwrap();
            replace_file(&file, "new", mode).unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), b"new");
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(replaced(0o644, KEY_MODE), 0o640);
        assert_eq!(replaced(0o640, KEY_MODE), 0o640);
        assert_eq!(replaced(0o600, KEY_MODE), 0o600);
        assert_eq!(replaced(0o644, CERTIFICATE_MODE), 0o644);
        assert_eq!(replaced(0o640, CERTIFICATE_MODE), 0o640);
    }
}
