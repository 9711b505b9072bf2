//! Names of columns, measures and attributes that resemble a known name.
//!
//! An unknown column of usage is an attribute. So without this check, a column `Duration`,
//! `billsec` or `duration_ms` would silently leave every record without a duration. So would a
//! measure or an attribute of such a name.

/// Synonyms of the known names, in lower case and without punctuation.
const SYNONYMS: [(&str, &[&str]); 7] = [
    ("record_id", &["usageid", "eventid", "cdrid", "recordno", "recordnumber"]),
    ("account_number", &["account", "accountid", "accountno", "accountnum", "acctnumber"]),
    ("usage_type", &["typeofusage", "servicetype"]),
    (
        "start_time",
        &[
            "start",
            "startat",
            "startedat",
            "startsat",
            "starttimestamp",
            "startts",
            "startdate",
            "startdatetime",
            "starttimeutc",
            "startms",
            "starttimems",
            "startepoch",
            "timestart",
            "begin",
            "begintime",
            "beginat",
            "beginsat",
        ],
    ),
    (
        "end_time",
        &[
            "end",
            "endat",
            "endedat",
            "endsat",
            "endtimestamp",
            "endts",
            "enddate",
            "enddatetime",
            "endtimeutc",
            "endms",
            "endtimems",
            "endepoch",
            "timeend",
            "stop",
            "stoptime",
            "stopat",
            "stoptimestamp",
            "finish",
            "finishtime",
            "finishedat",
            "disconnecttime",
            "hanguptime",
            "acctstoptime",
        ],
    ),
    (
        "duration",
        &[
            "durations",
            "billsec",
            "billsecs",
            "billseconds",
            "billedseconds",
            "billableseconds",
            "billduration",
            "billedduration",
            "billableduration",
            "callduration",
            "durationsec",
            "durationsecs",
            "durationseconds",
            "durations",
            "durationms",
            "durationmsec",
            "durationmillis",
            "durationmilliseconds",
            "durationmin",
            "durationmins",
            "durationminutes",
            "durationinseconds",
            "totalduration",
            "usageduration",
            "sessionduration",
            "sessiontime",
            "acctsessiontime",
            "talktime",
            "elapsed",
            "elapsedtime",
            "seconds",
            "secs",
            "minutes",
            "milliseconds",
            "durationusec",
            "durationmicros",
            "durationmicroseconds",
            "durationns",
        ],
    ),
    (
        "quantity",
        &[
            "qty",
            "quantities",
            "quantityused",
            "usagequantity",
            "usedquantity",
            "octets",
            "bytes",
            "totalbytes",
            "totaloctets",
        ],
    ),
];

/// The name in `known` that `name` resembles: another spelling, a synonym, or a name with a small
/// typing error. `None` if it resembles none, or is one of them.
pub(crate) fn like<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if known.contains(&name) {
        return None;
    }
    let plain = plain(name);
    let same = known.iter().find(|known| self::plain(known) == plain);
    let synonym = || {
        let (meant, _) = SYNONYMS.iter().find(|(_, others)| others.contains(&plain.as_str()))?;
        known.iter().find(|known| *known == meant)
    };
    let close = || {
        // Names in `_us` are excluded, so that `status` does not resemble `start_us`.
        let mut known = known.iter().filter(|known| !known.ends_with("_us"));
        known.find(|known| is_close(&plain, &self::plain(known)))
    };
    same.or_else(synonym).or_else(close).copied()
}

/// Names that are synonyms of known columns, but also common names of measures, such as units.
const WORDS_OF_MEASURES: [&str; 10] = [
    "octets",
    "bytes",
    "totalbytes",
    "totaloctets",
    "seconds",
    "secs",
    "minutes",
    "milliseconds",
    "elapsed",
    "account",
];

/// The name in `known` for which a measure or an attribute called `name` was probably intended: the
/// same name, or one that it resembles. Names of units are excluded, because measures often have
/// such names.
pub(crate) fn meant<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let same = known.iter().find(|known| **known == name).copied();
    same.or_else(|| like(name, known).filter(|_| !WORDS_OF_MEASURES.contains(&&*plain(name))))
}

/// The phrase of a message that states how `name` relates to the known name `meant`.
pub(crate) fn relation(name: &str, meant: &str) -> String {
    match name == meant {
        true => format!("its name is that of {meant}"),
        false => format!("it is like {meant}"),
    }
}

/// The letters and digits of a name, in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether two names differ by at most one insertion, deletion, substitution or swap of adjacent
/// letters, or by at most two if `known` has 12 letters or more. The first letters must be the
/// same, so that `send_time` does not resemble `end_time`.
fn is_close(name: &str, known: &str) -> bool {
    let (name, known): (Vec<char>, Vec<char>) = (name.chars().collect(), known.chars().collect());
    let most = if known.len() >= 12 { 2 } else { 1 };
    name.first() == known.first()
        && known.len() >= 5
        && name.len().abs_diff(known.len()) <= most
        && distance(&name, &known) <= most
}

/// The optimal string alignment distance: insertions, deletions, substitutions, and swaps of
/// adjacent letters.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let changed = last[j] + usize::from(from != to);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && b[j - 1] == *from {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 11] = [
        "record_id",
        "account_number",
        "identity",
        "usage_type",
        "start_time",
        "start_us",
        "end_time",
        "end_us",
        "duration",
        "duration_us",
        "quantity",
    ];

    #[test]
    fn other_spellings_synonyms_and_slips_are_like_a_known_name() {
        for (name, meant) in [
            ("Duration", "duration"),
            ("DURATION_US", "duration_us"),
            ("billsec", "duration"),
            ("duration_ms", "duration"),
            ("Duration (s)", "duration"),
            ("durtion", "duration"),
            ("duratoin", "duration"),
            ("end_timestamp", "end_time"),
            ("EndTime", "end_time"),
            ("end-time", "end_time"),
            ("Usage_Type", "usage_type"),
            ("recordid", "record_id"),
            ("acount_numbr", "account_number"),
            ("quantitiy", "quantity"),
            ("qty", "quantity"),
            ("identiy", "identity"),
        ] {
            assert_eq!(like(name, &KNOWN), Some(meant), "{name}");
        }
    }

    #[test]
    fn measures_and_attributes_may_be_named_after_units_and_not_after_known_columns() {
        for (name, known) in [
            ("duration", Some("duration")),
            ("end_time", Some("end_time")),
            ("Duration", Some("duration")),
            ("billsec", Some("duration")),
            ("qty", Some("quantity")),
            ("octets", None),
            ("bytes", None),
            ("Total-Bytes", None),
            ("seconds", None),
            ("packets", None),
        ] {
            assert_eq!(meant(name, &KNOWN), known, "{name}");
        }
    }

    #[test]
    fn known_names_and_unrelated_names_resemble_no_known_name() {
        for name in [
            "duration",
            "quantity",
            "note",
            "function",
            "status",
            "service-level",
            "quality",
            "zone",
            "send_time",
            "called",
            "caller",
            "number",
            "region",
            "path",
            "method",
            "cell",
            "rating",
            "tier",
            "id",
            "direction",
            "location",
            "city",
            "count",
            "weekday",
            "usage",
            "type",
            "",
            "identity_provider",
            "duration_class",
            "end_reason",
            "日本",
        ] {
            assert_eq!(like(name, &KNOWN), None, "{name}");
        }
    }
}
