//! The file with the secret part of a key: readable by its owner alone, and never overwritten.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::form::SigningKey;

/// The first line of the file.
const HEAD: &str = "turnpike token key 1\n";
/// A key file has about 130 bytes.
const BYTES_MAX: u64 = 4096;

/// Makes a key and writes its secret part to a new file with mode 0600.
///
/// # Errors
/// The file exists already, or can't be written; the message names it.
pub fn create(path: &Path) -> Result<SigningKey, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let (key, secret) = SigningKey::generate()?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|why| {
            match why.kind() {
                ErrorKind::AlreadyExists => wrong(&"exists already; a key is never overwritten"),
                _ => wrong(&why),
            }
        })?;
    let text = format!("{HEAD}{}\n", STANDARD.encode(secret));
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(why) = written {
        // The half-written file holds no usable key. If it can't be removed, the next attempt says
        // that it exists.
        drop(std::fs::remove_file(path));
        return Err(wrong(&why));
    }
    Ok(key)
}

/// Reads the key in the file at `path`.
///
/// # Errors
/// The file can't be read, can be read by others than its owner, or holds no key.
pub fn load(path: &Path) -> Result<SigningKey, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file = File::open(path).map_err(|why| wrong(&why))?;
    let metadata = file.metadata().map_err(|why| wrong(&why))?;
    if !metadata.is_file() {
        return Err(wrong(&"not a file"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong(&"others can read this key: run chmod 600 on it"));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|why| wrong(&why))?;
    let secret = text.strip_prefix(HEAD).map(str::trim_end);
    let secret = secret.and_then(|secret| STANDARD.decode(secret).ok());
    let secret = secret.ok_or_else(|| wrong(&"not a key of `turnpike access key new`"))?;
    SigningKey::from_secret(&secret).map_err(|why| wrong(&why))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_for_its_owner_alone_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&path).unwrap().public_key().unwrap(), key.public_key().unwrap());
        let before = std::fs::read(&path).unwrap();
        assert!(create(&path).unwrap_err().contains("exists"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path).unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", HEAD, "x", &format!("{HEAD}AAAA\n")] {
            std::fs::write(&path, text).unwrap();
            assert!(load(&path).is_err(), "{text:?}");
        }
    }
}
