//! The prefix of record ids, which distinguishes the records of one server from those of other
//! servers.
//!
//! Record ids are `SOURCE:HASH:N` (docs/formats.md). One server's log must keep its source when it
//! is rotated, or its records would be billed again. The logs of two servers must have different
//! sources, or equal lines in both would be treated as duplicates.

use std::path::Path;

use crate::exit::usage;

/// The source of a log if `--source` is not given: the file's name without what rotation and
/// compression add.
///
/// # Errors
/// For standard input, which has no name, and for a name that may be that of a rotated log.
pub(super) fn default_source(file: &Path) -> anyhow::Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name == "-" || name.is_empty() {
        return Err(usage(
            "standard input has no name for the record ids: give the server's with --source NAME, \
             the same for each part of its log",
        ));
    }
    let source = without_rotation(&name);
    if looks_rotated(&source) {
        return Err(usage(format!(
            "{name}: this may be the name of a rotated log or of a copy, and the record ids of all \
             parts need one name: give the server's with --source NAME, the same for each part of its \
             log; if an earlier run took this name, --source {}",
            name.replace(' ', "_")
        )));
    }
    Ok(source.replace(' ', "_"))
}

/// What compression and copies append to a name.
const SUFFIXES: &[&str] =
    &[".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".zip", ".z", ".old", ".bak", "~"];

/// `access.log` for `access.log.1`, `access.log.2.gz`, `access.log-2026-11-30`, `access.log (1)` and
/// `access-20261130.log`. In a name that does not have `log` before a number, such as `10.0.0.1`, the
/// number may distinguish servers.
fn without_rotation(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let ends = lower.match_indices("log").map(|(at, log)| at + log.len());
    let log = ends.map(|end| name.split_at(end)).find(|(_, tail)| is_rotation(tail));
    let Some((log, _)) = log else {
        let stem = name.strip_suffix(".gz").filter(|rest| !rest.is_empty());
        return stem.unwrap_or(name).to_owned();
    };
    // A date, or the number of a copy, before the point of `.log`.
    let Some((stem, ending)) = log.len().checked_sub(4).and_then(|at| log.split_at_checked(at))
    else {
        return log.to_owned();
    };
    let is_inserted = |tail: &str| tail.starts_with(" (") || has_date(tail);
    let mut places = stem.char_indices().map(|(at, _)| at).filter(|&at| at > 0);
    match places.find(|&at| is_inserted(&stem[at..]) && is_rotation(&stem[at..])) {
        Some(at) if ending.eq_ignore_ascii_case(".log") => format!("{}{ending}", &stem[..at]),
        _ => log.to_owned(),
    }
}

/// Whether the end of a name consists only of what rotation, compression and copies append:
/// `.1`, `-20261130`, `.2026-11-30`, `-20261130-1793530800`, `_20261130_09`, `.gz`, `~`, ` (1)`.
fn is_rotation(tail: &str) -> bool {
    let (mut rest, mut is_dated) = (tail, false);
    while !rest.is_empty() {
        if let Some(behind) = SUFFIXES.iter().find_map(|suffix| {
            let (start, behind) = rest.split_at_checked(suffix.len())?;
            start.eq_ignore_ascii_case(suffix).then_some(behind)
        }) {
            rest = behind;
            continue;
        }
        if let Some(behind) = copy(rest) {
            rest = behind;
            continue;
        }
        let Some(behind) = rest.strip_prefix(['.', '-', '_']) else { return false };
        let (digits, after) = digits(behind);
        if let Some(after) = date(behind) {
            (rest, is_dated) = (after, true);
            continue;
        }
        // `.1` to `.999` count rotations; a time may follow a date.
        let is_counted = rest.starts_with('.') && (1..=3).contains(&digits);
        let is_time = is_dated && (1..=10).contains(&digits);
        if !(is_counted || is_time) {
            return false;
        }
        rest = after;
    }
    true
}

/// Whether a separator and a date come first.
fn has_date(tail: &str) -> bool {
    tail.strip_prefix(['.', '-', '_']).is_some_and(|rest| date(rest).is_some())
}

/// What follows a date, with an hour or without: `2026-11-30`, `20261130`, `2026113012`; also an
/// instant in seconds.
fn date(text: &str) -> Option<&str> {
    let (count, behind) = digits(text);
    match count {
        8 | 10 | 12 | 14 => return Some(behind),
        4 => {}
        _ => return None,
    }
    let (month, behind) = digits(behind.strip_prefix('-')?);
    let after_month = behind.strip_prefix('-').filter(|_| month == 2)?;
    let (day, behind) = digits(after_month);
    (day == 2).then_some(behind)
}

/// What follows ` (1)`, the number of a copy.
fn copy(text: &str) -> Option<&str> {
    let (count, behind) = digits(text.strip_prefix(" (")?);
    behind.strip_prefix(')').filter(|_| count > 0)
}

/// The number of digits at the start of a text, and the text behind them.
fn digits(text: &str) -> (usize, &str) {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (count, text.split_at(count).1)
}

/// Whether a name that is to be a source still ends as that of a rotated log or of a copy.
fn looks_rotated(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has_suffix =
        SUFFIXES.iter().any(|suffix| lower.len() > suffix.len() && lower.ends_with(suffix));
    let unnumbered = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = unnumbered.len() < name.len() && unnumbered.ends_with(['.', '-', '_']);
    let is_copy = name.rfind(" (").is_some_and(|at| copy(&name[at..]) == Some(""));
    has_suffix || is_numbered || is_copy
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
            "access.log-2026-11-12",
            "access.log.2026-11-12",
            "access.log.2026-11-12.gz",
            "access-20261112.log",
            "access.2026-11-12.log",
            "access_2026-11-12.log.1.gz",
            "access.log-20261112-1793530800",
            "access.log-1793530800",
            "access.log-20261112_09",
            "access.log-2026-11-12-09",
            "access.log_20261112",
            "access.log.old",
            "access.log.bak",
            "access.log~",
            "access.log (1)",
            "access (1).log",
            "access.log.1.2",
            "access.log.1.bz2",
            "access.log.1.zst",
        ] {
            assert_eq!(default_source(Path::new(rotated)).unwrap(), "access.log", "{rotated}");
        }
    }

    /// The number in such a name may distinguish servers.
    #[test]
    fn any_other_name_is_the_source_as_it_stands() {
        for name in ["access-2.log", "1.log", ".gz", "www1", "catalog.txt", "log", "a.log.json"] {
            assert_eq!(default_source(Path::new(name)).unwrap(), name);
        }
        assert_eq!(default_source(Path::new("my log")).unwrap(), "my_log");
        assert_eq!(default_source(Path::new("site.gz")).unwrap(), "site");
        assert_eq!(default_source(Path::new("catalog.log.1")).unwrap(), "catalog.log");
        let told = default_source(Path::new("-")).unwrap_err().to_string();
        assert!(told.contains("--source NAME"), "{told}");
    }

    /// With a source for each part, records that are in two parts would be billed twice.
    #[test]
    fn a_name_that_may_be_that_of_a_rotated_log_needs_a_source() {
        for name in [
            "www-1",
            "10.0.0.1",
            "site.3",
            "site.2026",
            "site-20261112",
            "site.2026-11-12.gz",
            "site.old",
            "site~",
            "site (1)",
            "access.log.1a.7",
            ".1",
        ] {
            let told = default_source(Path::new(name)).unwrap_err().to_string();
            assert!(told.contains("--source NAME") && told.contains(name), "{name}: {told}");
        }
    }
}
