//! Searches for parameter values with which a plan compiles, if it does not compile with its
//! defaults.
//!
//! A default may be a placeholder: a limit of 0, a window without an end. Whether suitable values
//! exist can't be computed in general, so the search tries a few likely values for each parameter,
//! and keeps a value when it leaves fewer errors. The values found only show that the plan can be
//! accepted: each subscription is checked with its own values.

use std::collections::{BTreeMap, BTreeSet};

use crate::compile::build::build;
use crate::compile::check::check;
use crate::compile::definition::Definition;
use crate::language::document::Document;
use crate::language::fill_in::fill_in;
use crate::language::findings::Findings;
use crate::language::graph::{Parameter, Primitive};
use crate::language::measure::{Quantity, Unit};
use crate::language::spec::{PropertySpec, Value, Vocabulary};
use crate::machine::code::ObjectCode;

/// The maximum number of values that are tried for one parameter.
const CANDIDATES_MAX: usize = 32;

/// The number of attempts to compile a plan: `TRIES_MAX` for small plans, fewer for larger plans,
/// at least `TRIES_MIN`.
const TRIES_MAX: usize = 600;
const TRIES_MIN: usize = 40;

/// The progress of an attempt: the compile stage reached, then the number of errors. A value is
/// greater for a later stage, and in the same stage for fewer errors.
type Reached = (u8, std::cmp::Reverse<usize>);

/// The parameters whose values make a plan sound, and the compiled code.
pub(crate) struct WorkingDefaults {
    /// The parameters whose values differ from the defaults.
    pub(crate) parameters: Vec<String>,
    pub(crate) code: ObjectCode,
}

/// Searches for parameter values with which the document compiles. The document does not compile
/// with its defaults.
pub(crate) fn sound(document: &Document, definitions: &[&Definition]) -> Option<WorkingDefaults> {
    let parameters = used(document);
    if parameters.is_empty() {
        return None;
    }
    let mut search = Search {
        document,
        definitions,
        tries: (60_000 / elements(document).max(1)).clamp(TRIES_MIN, TRIES_MAX),
        overrides: BTreeMap::new(),
    };
    let (mut best, _) = search.reach();
    // Several passes are made, since the best value of one parameter may depend on a later
    // parameter.
    for _ in 0..3 {
        let before = best;
        for parameter in &parameters {
            for candidate in candidates(document, parameter) {
                if search.tries == 0 {
                    return None;
                }
                search.tries -= 1;
                let old = search.overrides.insert(parameter.id.clone(), candidate);
                let (reached, code) = search.reach();
                if let Some(code) = code {
                    return Some(WorkingDefaults {
                        parameters: search.overrides.into_keys().collect(),
                        code,
                    });
                }
                if reached > best {
                    best = reached;
                    continue;
                }
                match old {
                    Some(old) => search.overrides.insert(parameter.id.clone(), old),
                    None => search.overrides.remove(&parameter.id),
                };
            }
        }
        if best == before {
            return None;
        }
    }
    None
}

struct Search<'a> {
    document: &'a Document,
    definitions: &'a [&'a Definition],
    tries: usize,
    overrides: BTreeMap<String, String>,
}

impl Search<'_> {
    fn reach(&self) -> (Reached, Option<ObjectCode>) {
        let mut findings = Findings::of_published(self.document.is_published);
        let faults = |findings: &Findings| std::cmp::Reverse(findings.errors());
        let primitives = fill_in(self.document, &self.overrides, &mut findings);
        if !findings.clean() {
            return ((0, faults(&findings)), None);
        }
        let Some(checked) = check(self.document, &primitives, &mut findings) else {
            return ((1, faults(&findings)), None);
        };
        let code = build(self.document, &primitives, &checked, self.definitions, &mut findings);
        ((2, faults(&findings)), code)
    }
}

fn elements(document: &Document) -> usize {
    let children: usize = document.primitives.iter().map(|p| p.children.len()).sum();
    document.primitives.len() + children
}

/// Every property of a primitive and of its children, with its declaration.
fn properties(
    vocabulary: Vocabulary,
    primitive: &Primitive,
) -> impl Iterator<Item = (&'static PropertySpec, &str)> {
    let spec = vocabulary.find(&primitive.kind);
    let own = spec.into_iter().flat_map(|spec| spec.properties);
    let own = own.filter_map(|known| Some((known, primitive.property(known.name)?)));
    let held = primitive.children.iter().flat_map(move |child| {
        let known = spec.and_then(|spec| spec.children.iter().find(|held| held.name == child.kind));
        let known = known.into_iter().flat_map(|held| held.properties);
        known.filter_map(|known| Some((known, child.property(known.name)?)))
    });
    own.chain(held)
}

/// Every property of all primitives and of their children, with its declaration.
fn all_properties(document: &Document) -> impl Iterator<Item = (&'static PropertySpec, &str)> {
    let vocabulary = *document.vocabulary;
    document.primitives.iter().flat_map(move |primitive| properties(vocabulary, primitive))
}

/// The parameters that the graph reads.
fn used(document: &Document) -> Vec<&Parameter> {
    let all = all_properties(document);
    let named: BTreeSet<&str> = all.filter_map(|(_, text)| text.strip_prefix('$')).collect();
    document.parameters.iter().filter(|p| named.contains(p.id.as_str())).collect()
}

/// Values that may be sound for a parameter.
fn candidates(document: &Document, parameter: &Parameter) -> Vec<String> {
    let fixed = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mut all: Vec<String> = match parameter.kind.as_str() {
        "money" => fixed(&["1", "0.01", "100", "0"]),
        "count" => fixed(&["1", "2", "0", "5", "10", "20", "28", "30", "50", "95", "100", "365"]),
        "time" => fixed(&["06:00", "09:00", "12:00", "18:00", "21:00", "00:00", "23:59", "24:00"]),
        "quantity" => quantities(document, parameter),
        _ => texts(document, parameter),
    };
    all.truncate(CANDIDATES_MAX);
    all
}

/// Quantities between, above and below those that the plan contains.
fn quantities(document: &Document, parameter: &Parameter) -> Vec<String> {
    let default = match Quantity::parse(&parameter.value) {
        Ok(quantity) => quantity.unit,
        // A value without a unit counts single things.
        Err(_) => Unit::One,
    };
    let written = all_properties(document).filter_map(|(_, text)| {
        Quantity::parse(text).ok().filter(|quantity| quantity.unit == default)
    });
    let mut bounds: BTreeSet<i128> = written.map(|quantity| quantity.base).collect();
    bounds.insert(0);
    let bounds: Vec<i128> = bounds.into_iter().collect();
    let last = bounds.last().copied().unwrap_or(0);
    let between = bounds.windows(2).map(|pair| pair[0] + (pair[1] - pair[0]) / 2);
    let mut bases: Vec<i128> = between.filter(|base| *base > 0).collect();
    bases.extend([last.saturating_mul(2).max(1), last.saturating_add(1), 1]);
    let unit = match default {
        Unit::Microsecond => " us",
        Unit::Byte => " B",
        Unit::One => "",
    };
    let bases = bases.into_iter().map(|base| format!("{base}{unit}"));
    bases.chain(["1 h", "1 GB", "1"].map(str::to_owned)).collect()
}

/// Candidate texts: words that the plan uses for properties of the same name, then samples of each
/// kind of value.
fn texts(document: &Document, parameter: &Parameter) -> Vec<String> {
    let name = format!("${}", parameter.id);
    let all = || all_properties(document);
    let mut words: Vec<String> = Vec::new();
    for (spec, _) in all().filter(|(_, text)| *text == name) {
        match spec.value {
            Value::Choice(known) => words.extend(known.iter().map(|word| (*word).to_owned())),
            Value::Currency | Value::TargetCurrency => words.push(document.currency.to_string()),
            _ => {
                // Values of other properties of the same name, and usage types.
                let alike = all().filter(|(other, text)| {
                    (other.name == spec.name || matches!(other.name, "as" | "default" | "types"))
                        && !text.starts_with('$')
                });
                words.extend(alike.map(|(_, text)| text.to_owned()));
            }
        }
    }
    words.sort();
    words.dedup();
    words.truncate(CANDIDATES_MAX / 2);
    let sorts =
        ["1", "10", "x", "1 d", "30 d", "44", "00", "Mon-Fri", "Mon", "2026-01-01", "1 kbit/s"];
    words.extend(sorts.map(str::to_owned));
    words
}
