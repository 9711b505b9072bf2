//! The prefix of record ids, which distinguishes the records of one server from those of other
//! servers.
//!
//! Record ids are `SOURCE:HASH:N` (docs/formats.md). One server's log must keep its source when it
//! is rotated, or its records would be billed again. The logs of two servers must have different
//! sources, or equal lines in both would be treated as duplicates.

use std::path::Path;

use crate::exit::usage;

/// The source of a log if `--source` is not given: the file's name without the suffixes that
/// rotation and compression append.
///
/// # Errors
/// For standard input, which has no name.
pub(super) fn default_source(file: &Path) -> anyhow::Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name == "-" || name.is_empty() {
        return Err(usage(
            "standard input has no name for the record ids: give the server's with --source NAME, \
             the same for each part of its log",
        ));
    }
    Ok(without_rotation(&name).replace(' ', "_"))
}

/// `access.log` for `access.log.1`, `access.log.2.gz`, `access.log-20261130`, `access.log.gz`. A
/// name that does not end in `log` before the number, such as `10.0.0.1`, is kept, because the
/// number may distinguish servers.
fn without_rotation(name: &str) -> &str {
    let name = name.strip_suffix(".gz").filter(|rest| !rest.is_empty()).unwrap_or(name);
    let Some(at) = name.rfind(['.', '-']).filter(|&at| at > 0) else { return name };
    let (rest, suffix) = name.split_at(at);
    let digits = suffix.get(1..).unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // `.1` to `.999` count rotations; `-20261130` and `-2026113012` are dates, also after a point.
    let is_rotation = match digits.len() {
        1..=3 => suffix.starts_with('.'),
        8 | 10 => true,
        _ => false,
    };
    let is_log = rest.to_ascii_lowercase().ends_with("log");
    if is_log && is_number && is_rotation { rest } else { name }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_log_has_the_source_that_it_had_before() {
        for rotated in [
            "access.log",
            "access.log.1",
            "access.log.12",
            "access.log.2.gz",
            "access.log.gz",
            "access.log-20261130",
            "access.log-20261130.gz",
            "access.log-2026113012",
            "access.log.20261130",
            "logs/access.log.1",
        ] {
            assert_eq!(default_source(Path::new(rotated)).unwrap(), "access.log", "{rotated}");
        }
    }

    /// Earlier releases used the whole name as the source. With another source, records that are
    /// sent again would be billed again.
    #[test]
    fn any_other_name_is_the_source_as_it_stands() {
        for name in [
            "access-2.log",
            "www-1",
            "10.0.0.1",
            "site.3",
            "access.log.bak",
            "site.2026",
            "1.log",
            ".1",
            ".gz",
        ] {
            assert_eq!(default_source(Path::new(name)).unwrap(), name);
        }
        assert_eq!(default_source(Path::new("my log")).unwrap(), "my_log");
        let told = default_source(Path::new("-")).unwrap_err().to_string();
        assert!(told.contains("--source NAME"), "{told}");
    }
}
