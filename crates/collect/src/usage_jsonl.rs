//! Usage as JSON lines, one object per line (docs/formats.md). The keys are the column names of the
//! CSV form, and `attributes` and `measures`, which are objects.
//!
//! Texts are taken verbatim. Null and an empty text mean that the value is absent, like an empty
//! cell of the CSV form. Numbers can be in quotes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use turnpike_types::{UsageRecord, ZERO_DURATION};

use crate::fault::{Problem, shown};
use crate::fields::{self, UsageTimes};
use crate::json::Json;
use crate::text::Lines;
use crate::usage_csv::{KNOWN, OWN_MEASURES, group_of};
use crate::{Fault, Row, similar_names};

/// The longest line, in bytes. A record has at most 16 KiB, and escapes make it up to six times as
/// long.
const LINE_BYTES_MAX: usize = 256 * 1024;

const EXAMPLE: &str = "write one JSON object per line, such as {\"record_id\":\"r1\",\
                       \"account_number\":42,\"usage_type\":\"octets\",\
                       \"start_time\":\"2026-01-05T10:00:00Z\",\"quantity\":512}";

/// The fields of a line as text, in the form of a CSV row.
#[derive(Default)]
struct Fields {
    known: BTreeMap<&'static str, String>,
    attributes: BTreeMap<String, String>,
    measures: BTreeMap<String, i64>,
}

impl Fields {
    fn of(line: Vec<(String, Json)>) -> Result<Self, Problem> {
        let mut fields = Self::default();
        for (name, value) in line {
            match (name.as_str(), value) {
                ("attributes", Json::Object(pairs)) => fields.attributes = attributes(pairs)?,
                ("measures", Json::Object(pairs)) => fields.measures = measures(pairs)?,
                ("attributes" | "measures", Json::Null) => {}
                (name @ ("attributes" | "measures"), other) => {
                    let problem = format!("it is {}, not an object", other.kind());
                    return Err(Problem::field(name, problem, "write {\"NAME\":VALUE,…}"));
                }
                (name, value) => {
                    let known = KNOWN.into_iter().find(|known| *known == name);
                    let known = known.ok_or_else(|| unknown(name))?;
                    fields.known.extend(scalar(name, value)?.map(|text| (known, text)));
                }
            }
        }
        Ok(fields)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.known.get(name).map(String::as_str)
    }

    fn record(self) -> Result<UsageRecord, Problem> {
        let when = UsageTimes {
            start_time: self.get("start_time"),
            start_us: self.get("start_us"),
            end_time: self.get("end_time"),
            end_us: self.get("end_us"),
            duration: self.get("duration"),
            duration_us: self.get("duration_us"),
        };
        let (account, identity) = fields::owner(self.get("account_number"), self.get("identity"))?;
        let (start, duration_us) = fields::when(&when)?;
        let quantity = self.get("quantity").map(|text| fields::quantity("quantity", text));
        let mut record = UsageRecord {
            record_id: fields::record_id(self.get("record_id"))?,
            account,
            identity,
            usage_type: fields::usage_type(self.get("usage_type"))?,
            start,
            duration_us: 0,
            quantity: quantity.transpose()?,
            measures: self.measures,
            attributes: self.attributes,
        };
        record.state_duration(duration_us);
        fields::checked(record)
    }
}

fn unknown(name: &str) -> Problem {
    let like = similar_names::like(name, &KNOWN);
    let like = like.map(|known| format!("; it is like `{known}`")).unwrap_or_default();
    let name = shown(name);
    let name = name.trim_matches('"');
    Problem::row(
        format!("unknown field `{name}`{like}"),
        format!(
            "use {}, measures and attributes; write an attribute in \"attributes\":{{\"{name}\":…}}",
            KNOWN.join(", ")
        ),
    )
}

/// 2^53: from here on, an f64 cannot represent every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The text that a CSV cell would have for `value`; `None` if the value is null or an empty text.
fn scalar(name: &str, value: Json) -> Result<Option<String>, Problem> {
    let is_text =
        matches!(name, "record_id" | "identity" | "usage_type" | "start_time" | "end_time");
    Ok(match value {
        Json::Null => None,
        Json::Text(text) => Some(without_nul(name, text)?).filter(|text| !text.is_empty()),
        Json::Whole(_) | Json::Fraction(_) if is_text => {
            return Err(Problem::field(name, "it is a number", "write it in double quotes"));
        }
        Json::Whole(number) => Some(number.to_string()),
        Json::Fraction(number) if number.abs() >= EXACT_MAX => {
            let problem = format!("{number} may have lost digits");
            return Err(Problem::field(name, problem, "write it without point and exponent"));
        }
        // `to_string` writes no exponent, and writes 3600.0 as `3600`.
        Json::Fraction(number) => Some(number.to_string()),
        other => {
            let problem = format!("it is {}", other.kind());
            return Err(Problem::field(name, problem, "write a text or a number"));
        }
    })
}

fn attributes(pairs: Vec<(String, Json)>) -> Result<BTreeMap<String, String>, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in pairs {
        let text = match value {
            Json::Null => continue,
            Json::Text(text) if text.is_empty() => continue,
            Json::Text(text) => without_nul("attributes", text)?,
            Json::Whole(number) => number.to_string(),
            other => {
                let problem = format!("attribute {} is {}", shown(&name), other.kind());
                return Err(Problem::field("attributes", problem, "write attributes as texts"));
            }
        };
        attributes.insert(named("attributes", name)?, text);
    }
    Ok(attributes)
}

fn measures(pairs: Vec<(String, Json)>) -> Result<BTreeMap<String, i64>, Problem> {
    let mut measures = BTreeMap::new();
    for (name, value) in pairs {
        if let Some(text) = scalar(&name, value)? {
            let quantity = fields::quantity(&name, &text)?;
            // The measure `duration` is accepted with the value 0: it states a duration of zero.
            if OWN_MEASURES.contains(&name.as_str()) && (name != ZERO_DURATION || quantity != 0) {
                let problem =
                    format!("no plan can read the measure {name}: it is the record's own");
                let remedy = format!("write \"{name}\" beside \"measures\", not in it");
                return Err(Problem::field("measures", problem, remedy));
            }
            measures.insert(named("measures", name)?, quantity);
        }
    }
    Ok(measures)
}

fn named(of: &str, name: String) -> Result<String, Problem> {
    if name.is_empty() {
        return Err(Problem::field(of, "a key is empty", "give every entry a name"));
    }
    without_nul(of, name)
}

/// Returns `text` unless it has NUL characters. CSV files and access logs can't contain them
/// either.
fn without_nul(of: &str, text: String) -> Result<String, Problem> {
    if text.contains('\0') {
        return Err(Problem::field(of, "the text contains NUL characters", "remove \\u0000"));
    }
    Ok(text)
}

/// The names of measures and attributes read so far, each with the known name that it resembles.
#[derive(Debug, Default)]
struct Names {
    attributes: BTreeMap<String, Option<&'static str>>,
    measures: BTreeMap<String, Option<&'static str>>,
}

/// Only this number of different names is checked, so that memory is bounded.
const NAMES_MAX: usize = 1_000;

impl Names {
    /// Returns warnings about names of measures and attributes that resemble a known name, if the
    /// record has no value for this known name or one with the same meaning. Each name causes one
    /// warning per file.
    fn check(&mut self, fields: &Fields, declared: &BTreeSet<String>) -> Vec<Problem> {
        let mut warnings = Vec::new();
        let attributes = fields.attributes.keys().map(|name| ("attribute", name));
        let measures = fields.measures.keys().map(|name| ("measure", name));
        for (kind, name) in attributes.chain(measures) {
            let names = if kind == "measure" { &mut self.measures } else { &mut self.attributes };
            if !names.contains_key(name) && names.len() < NAMES_MAX {
                let is_declared = match kind {
                    // The measure `duration` is accepted with the value 0: it states a duration of
                    // zero.
                    "measure" => {
                        name == ZERO_DURATION || declared.contains(&format!("measure:{name}"))
                    }
                    _ => declared.contains(name),
                };
                let meant = similar_names::meant(name, &KNOWN).filter(|_| !is_declared);
                names.insert(name.clone(), meant);
            }
            let Some(meant) = names.get(name).copied().flatten() else { continue };
            if group_of(meant).iter().any(|known| fields.known.contains_key(known)) {
                continue;
            }
            names.insert(name.clone(), None);
            let relation = similar_names::relation(name, meant);
            warnings.push(Problem::field(
                &format!("{kind}s.{name}"),
                format!("warning: it is read as the {kind} {name}, although {relation}, which is missing"),
                format!(
                    "write \"{meant}\" beside \"{kind}s\" if it is meant (docs/formats.md has the \
                     units)"
                ),
            ));
        }
        warnings
    }
}

/// Reads usage records from JSON lines. Empty lines are skipped.
#[derive(Debug)]
pub struct UsageJsonl<R: Read> {
    lines: Lines<R>,
    begun: bool,
    ended: bool,
    declared: BTreeSet<String>,
    names: Names,
    warnings: Vec<String>,
}

impl<R: Read> UsageJsonl<R> {
    /// Reads from `reader`. `file` is its name in faults.
    pub fn new(file: &str, reader: R) -> Self {
        Self::with_attributes(file, reader, BTreeSet::new())
    }

    /// As [`UsageJsonl::new`], but the attributes of these names (or, with the prefix `measure:`,
    /// the measures) cause no warning, even if they resemble known names.
    pub fn with_attributes(file: &str, reader: R, attributes: BTreeSet<String>) -> Self {
        Self {
            lines: Lines::new(file, reader, LINE_BYTES_MAX),
            begun: false,
            ended: false,
            declared: attributes,
            names: Names::default(),
            warnings: Vec::new(),
        }
    }

    /// Returns the warnings about the records read since the last call. A warning means that a
    /// measure or an attribute resembles a known name for which the record has no value. Each name
    /// causes one warning.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn record(&mut self) -> Result<UsageRecord, Problem> {
        let json: Json = serde_json::from_slice(self.lines.bytes()).map_err(|error| {
            let said = error.to_string();
            // serde_json appends "at line 1 column 9". The line is always 1, so it is replaced.
            let problem = said.split(" at line ").next().unwrap_or(&said);
            Problem::row(format!("{problem} (at character {})", error.column()), EXAMPLE)
        })?;
        match json {
            Json::Object(line) => {
                let fields = Fields::of(line)?;
                let warnings = self.names.check(&fields, &self.declared);
                let warnings =
                    warnings.into_iter().map(|wrong| self.lines.fault(wrong).to_string());
                self.warnings.extend(warnings);
                fields.record()
            }
            other => Err(Problem::row(format!("the line is {}", other.kind()), EXAMPLE)),
        }
    }

    /// The fault of a first line in another format than JSON lines; `None` if the line may be a
    /// record.
    fn other_format(&self) -> Option<Problem> {
        let first = self.lines.bytes().trim_ascii();
        match first {
            [b'[', ..] => Some(Problem::row(
                "this is a JSON array, not JSON lines",
                "write one object per line, as jq -c '.[]' FILE does",
            )),
            b"{" => Some(Problem::row(
                "this is one JSON object on several lines",
                "write one object per line, as jq -c . FILE does",
            )),
            [b'<', ..] => Some(Problem::row(
                "this is XML, not JSON lines",
                "give a file of records; a price plan goes to --plan or to turnpike plan publish",
            )),
            [b'{', ..] => None,
            _ if first.starts_with(b"record_id") || first.starts_with(b"account_number") => {
                Some(Problem::row("this is CSV, not JSON lines", "give --format csv"))
            }
            _ => None,
        }
    }
}

impl<R: Read> Iterator for UsageJsonl<R> {
    type Item = Result<Row<UsageRecord>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = match self.lines.next_line()? {
            Ok(_) if !std::mem::replace(&mut self.begun, true) && self.other_format().is_some() => {
                let wrong = self.other_format()?;
                Err(self.lines.fatal(wrong))
            }
            Ok(line) => match self.record() {
                Ok(content) => Ok(Row { line, content }),
                Err(wrong) => Err(self.lines.fault(wrong)),
            },
            Err(fault) => Err(fault),
        };
        self.ended = row.as_ref().is_err_and(Fault::is_fatal);
        Some(row)
    }
}
