//! A table's first line: `# turnpike-table id=world-dial kind=dial-plan version=1
//! starts=2026-01-01`.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::rows::{Faults, hash_text};
use crate::language::nearest::hint;
use crate::language::table_name::TableKind;
use crate::language::values;

const NAME: &str = "turnpike-table";
const EXAMPLE: &str = "# turnpike-table id=my-table kind=dial-plan version=1 starts=2026-01-01";
const KEYS: [&str; 5] = ["id", "kind", "version", "starts", "supersedes"];
/// The maximum length of the first line in bytes. A longer line is not repeated in a message.
const BYTES_MAX: usize = 512;

/// The id, kind and version of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) kind: TableKind,
    pub(super) version: u32,
    pub(super) starts: Date,
    pub(super) supersedes: Option<u32>,
}

impl Head {
    /// A hasher that has consumed the head.
    pub(super) fn hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        let older = self.supersedes.map(|version| version.to_string());
        let (version, starts) = (self.version.to_string(), self.starts.to_string());
        let texts = [&self.id, self.kind.word(), &version, &starts, &older.unwrap_or_default()];
        let mut bytes = Vec::new();
        for text in texts {
            hash_text(text, &mut bytes);
        }
        hasher.update(&bytes);
        hasher
    }
}

/// Reads the head; `None`, with a fault for each error, if a field is missing or unreadable.
pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Head> {
    let line = text.split('\n').next().unwrap_or_default();
    if line.len() > BYTES_MAX {
        faults.error(
            1,
            format!("the first line is too long for the head of a table: write \"{EXAMPLE}\""),
        );
        return None;
    }
    let line = line.trim_end_matches('\r');
    if line.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("sep=")) {
        let message = format!(
            "a line {line:?} is not read: remove it, save the table with commas, and begin it with \
             \"{EXAMPLE}\""
        );
        faults.error(1, message);
        return None;
    }
    if line.starts_with('#') && line.ends_with([',', ';', '|']) {
        let message = "the first line ends in separators, as a spreadsheet writes it: remove them, and \
                       save the table with commas";
        faults.error(1, message);
        return None;
    }
    let mut words = line.strip_prefix('#').unwrap_or_default().split_whitespace();
    if words.next() != Some(NAME) {
        let message =
            format!("the first line does not begin with \"# {NAME}\": write \"{EXAMPLE}\"");
        faults.error(1, message);
        return None;
    }
    let values = pairs(words, faults);
    let id = value(&values, "id", "my-table", values::id, faults);
    let kind = value(&values, "kind", "dial-plan", str::parse::<TableKind>, faults);
    let version = value(&values, "version", "1", values::version, faults);
    let starts = value(&values, "starts", "2026-01-01", values::date, faults);
    let supersedes = match values.contains_key("supersedes") {
        true => value(&values, "supersedes", "1", values::version, faults),
        false => None,
    };
    if version.zip(supersedes).is_some_and(|(version, older)| older >= version) {
        let message = "supersedes names no earlier version: write the number of the version that this version replaces";
        faults.error(1, message);
    }
    Some(Head { id: id?, kind: kind?, version: version?, starts: starts?, supersedes })
}

fn pairs<'t>(
    words: impl Iterator<Item = &'t str>,
    faults: &mut Faults,
) -> BTreeMap<&'t str, &'t str> {
    let mut values = BTreeMap::new();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        if !KEYS.contains(&key) {
            let hint = hint(key, KEYS);
            let message = format!(
                "the first line has no place for \"{word}\"{hint}: its keys are {}",
                KEYS.join(" ")
            );
            faults.error(1, message);
        } else if values.insert(key, value).is_some() {
            faults.error(1, format!("the first line gives {key} twice: take one out"));
        }
    }
    values
}

/// The value of a required key; `None`, with a fault, if it is absent or unreadable.
fn value<T>(
    values: &BTreeMap<&str, &str>,
    key: &str,
    example: &str,
    parse: fn(&str) -> Result<T, String>,
    faults: &mut Faults,
) -> Option<T> {
    let Some(text) = values.get(key) else {
        faults.error(1, format!("the first line has no {key}: write {key}={example}"));
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(why) => {
            faults.error(1, format!("{key}: {why}"));
            None
        }
    }
}
