//! A table's first line: `# turnpike-table id=world-dial kind=dial-plan version=1 starts=2026-01-01`.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::TableKind;
use super::rows::{Faults, hash_text};
use crate::nearest::hint;
use crate::values;

const NAME: &str = "turnpike-table";
const EXAMPLE: &str = "# turnpike-table id=my-table kind=dial-plan version=1 starts=2026-01-01";
const KEYS: [&str; 5] = ["id", "kind", "version", "starts", "supersedes"];
/// Past this no message repeats the line.
const BYTES_MAX: usize = 512;

/// Which version of which table this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) kind: TableKind,
    pub(super) version: u32,
    pub(super) starts: Date,
    pub(super) supersedes: Option<u32>,
}

impl Head {
    /// A hasher that has taken the head.
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

/// The head; `None`, with what is wrong, when it can't be read whole.
pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Head> {
    let line = text.split('\n').next().unwrap_or_default();
    if line.len() > BYTES_MAX {
        faults.error(1, format!("the first line is no head of a table: write \"{EXAMPLE}\""));
        return None;
    }
    let mut words = line.strip_prefix('#').unwrap_or_default().split_whitespace();
    if words.next() != Some(NAME) {
        let message = format!("the first line does not say \"# {NAME}\": write \"{EXAMPLE}\"");
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
        let message = "supersedes names no earlier version: write the number of the version that this one replaces";
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
                "the first line has no place for \"{word}\"{hint}: it has {}",
                KEYS.join(" ")
            );
            faults.error(1, message);
        } else if values.insert(key, value).is_some() {
            faults.error(1, format!("the first line gives {key} twice: take one out"));
        }
    }
    values
}

/// A required key's value; `None`, with a fault, when it is absent or can't be read.
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
