//! Reads a plan's head, parameters and primitives from the element tree. Values are not parsed yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::language::document::{DeclaredUnit, Document};
use crate::language::elements::{check_listed, only, only_elements, read_value};
use crate::language::example;
use crate::language::findings::{Cause, Findings};
use crate::language::graph::{Child, Input, Link, Parameter, Primitive, SOURCE};
use crate::language::measure::Unit;
use crate::language::nearest::hint;
use crate::language::spec::{Spec, Vocabulary};
use crate::language::values::{self, Rounding};
use crate::language::xml::{self, Element};

/// Maximum number of primitives of a plan.
const PRIMITIVES_MAX: usize = 512;

/// Maximum number of elements within one primitive.
const CHILDREN_MAX: usize = 4096;

/// Reads the document; `None`, with findings, when its head can't be read.
pub(crate) fn read(
    xml: &str,
    vocabulary: &'static Vocabulary,
    findings: &mut Findings,
) -> Option<Document> {
    let root = xml::read(xml, findings)?;
    if root.name != "plan" {
        let message = format!("the root is <{}>: write <plan>", root.name);
        findings.error(root.line, None, Cause::Malformed, message);
        return None;
    }
    let mut document = head(&root, vocabulary, findings)?;
    let mut graphs = 0;
    let (mut examples, mut measures) = (Vec::new(), Vec::new());
    for element in root.elements() {
        match element.name.as_str() {
            "parameter" => parameter(element, &mut document, findings),
            "graph" => {
                graphs += 1;
                graph(element, &mut document, findings);
            }
            "example" => examples.push(element),
            // This element is used only by editors that draw the plan.
            "layout" => {}
            "measure" => measures.push(element),
            name => {
                let hint = hint(name, HOLDS);
                let message = format!(
                    "<{name}> is unknown here{hint}: a plan holds <{}>",
                    HOLDS.join(">, <")
                );
                findings.error(element.line, None, Cause::UnknownProperty, message);
            }
        }
    }
    if graphs != 1 {
        let message = format!("{graphs} <graph> elements: write exactly one");
        findings.error(root.line, None, Cause::Malformed, message);
    }
    document.measures = declared(&measures, findings);
    // Examples are read last, since they may set parameters that are declared after them.
    document.examples = example::read(&examples, &document, findings);
    Some(document)
}

const HOLDS: [&str; 5] = ["parameter", "measure", "graph", "example", "layout"];

/// The words for units in a `<measure>`.
const UNITS: [(&str, Unit); 3] =
    [("time", Unit::Microsecond), ("bytes", Unit::Byte), ("count", Unit::One)];

fn declared(elements: &[&Element], findings: &mut Findings) -> BTreeMap<String, DeclaredUnit> {
    let mut measures = BTreeMap::new();
    for element in elements {
        only(element, &["name", "unit"], None, findings);
        only_elements(element, &[], None, findings);
        let name = read_value(element, "name", "octets", measure_name, findings);
        let unit = read_value(element, "unit", "bytes", unit_word, findings);
        let (Some(name), Some(unit)) = (name, unit) else { continue };
        let line = element.line;
        if name == "duration" && unit != Unit::Microsecond {
            let message =
                "record.duration is a time: write unit=\"time\", or leave the <measure> out";
            findings.error(line, None, Cause::WrongUnit, message);
        } else if let Some(first) = measures.insert(name.clone(), DeclaredUnit { unit, line }) {
            let message = format!("measure {name} was declared on line {}: keep one", first.line);
            findings.error(line, None, Cause::DuplicateId, message);
        }
    }
    measures
}

fn measure_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("\"{text}\" is no measure: write what links name, such as octets"));
    }
    Ok(text.to_owned())
}

fn unit_word(text: &str) -> Result<Unit, String> {
    let known = UNITS.iter().find(|(word, _)| *word == text);
    known.map(|(_, unit)| *unit).ok_or_else(|| {
        let words = UNITS.map(|(word, _)| word);
        format!("\"{text}\" is no unit{}: write {}", hint(text, words), words.join(", "))
    })
}

const HEAD: &[&str] = &["id", "version", "starts", "currency", "round", "state", "supersedes"];

fn head(
    root: &Element,
    vocabulary: &'static Vocabulary,
    findings: &mut Findings,
) -> Option<Document> {
    only(root, HEAD, None, findings);
    let id = read_value(root, "id", "my-plan", values::id, findings);
    let version = read_value(root, "version", "1", values::version, findings);
    let starts = read_value(root, "starts", "2026-01-01", values::date, findings);
    let currency = read_value(root, "currency", "USD", values::currency, findings);
    check_listed(root, currency, findings);
    let round = match root.attribute("round") {
        None => Some(Rounding { digits: 9, running: false }),
        Some(_) => read_value(root, "round", "9 half-even", values::round, findings),
    };
    let state = match root.attribute("state") {
        None => None,
        Some(_) => read_value(root, "state", "mobile", values::id, findings),
    };
    let supersedes = match root.attribute("supersedes") {
        None => None,
        Some(_) => read_value(root, "supersedes", "1", values::version, findings),
    };
    if version.zip(supersedes).is_some_and(|(version, older)| older >= version) {
        let message = "supersedes names no earlier version: write the number of the version that this one replaces";
        findings.error(root.line, None, Cause::BadValue, message);
    }
    Some(Document {
        vocabulary,
        state: state.unwrap_or_else(|| id.clone().unwrap_or_default()),
        id: id?,
        version: version?,
        starts: starts?,
        currency: currency?,
        rounding: round?,
        supersedes,
        parameters: Vec::new(),
        measures: BTreeMap::new(),
        is_published: findings.is_published,
        has_unchecked_numbers: false,
        primitives: Vec::new(),
        unread: BTreeSet::new(),
        examples: Vec::new(),
        content_hash: xml::content_hash(root, "layout"),
    })
}

fn parameter(element: &Element, document: &mut Document, findings: &mut Findings) {
    only(element, &["id", "type", "value"], None, findings);
    only_elements(element, &[], None, findings);
    let id = read_value(element, "id", "peak-price", values::id, findings);
    let kind = read_value(element, "type", "money", values::parameter_kind, findings);
    let value = read_value(element, "value", "1.00", |text| Ok(text.to_owned()), findings);
    let (Some(id), Some(kind), Some(value)) = (id, kind, value) else {
        return;
    };
    if let Err(why) = values::fits(&kind, &value) {
        let message = format!("parameter {id}: {why}");
        findings.error(element.line, None, Cause::BadValue, message);
    }
    if let Some(first) = document.parameters.iter().find(|known| known.id == id) {
        let message =
            format!("parameter {id} was declared on line {}: give it another id", first.line);
        findings.error(element.line, None, Cause::DuplicateId, message);
        return;
    }
    document.parameters.push(Parameter { id, kind, value, line: element.line });
}

fn graph(root: &Element, document: &mut Document, findings: &mut Findings) {
    only(root, &[], None, findings);
    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    for element in root.elements() {
        if lines.len() >= PRIMITIVES_MAX {
            let message = format!("more than {PRIMITIVES_MAX} primitives: split the plan");
            findings.error(element.line, None, Cause::TooLarge, message);
            return;
        }
        let Some(id) = read_value(element, "id", "my-id", values::id, findings) else {
            continue;
        };
        if id == SOURCE || id == "account" {
            let message = format!("the id {id} is reserved for the {id}: choose another");
            findings.error(element.line, Some(&id), Cause::DuplicateId, message);
            continue;
        }
        if let Some(first) = lines.insert(id.clone(), element.line) {
            let message = format!("the id {id} was taken on line {first}: give this one another");
            findings.error(element.line, Some(&id), Cause::DuplicateId, message);
            continue;
        }
        match document.vocabulary.find(&element.name) {
            Some(spec) => document.primitives.push(primitive(element, id, spec, findings)),
            None => {
                let names = document.vocabulary.names();
                let hint = hint(&element.name, names.iter().copied());
                let message = format!(
                    "{} is no type of primitive{hint}: write one of {}",
                    element.name,
                    names.join(" ")
                );
                findings.error(element.line, Some(&id), Cause::UnknownType, message);
                document.unread.insert(id);
            }
        }
    }
    if lines.is_empty() {
        findings.error(
            root.line,
            None,
            Cause::Malformed,
            "the graph is empty: write at least one primitive",
        );
    }
}

/// Reads one primitive, and separates its attributes into links and properties.
fn primitive(element: &Element, id: String, spec: &Spec, findings: &mut Findings) -> Primitive {
    let inputs = spec.inputs.iter().map(|input| input.name);
    let names: Vec<&str> =
        std::iter::once("id").chain(inputs).chain(spec.properties.iter().map(|p| p.name)).collect();
    only(element, &names, Some(&id), findings);
    let children: Vec<&str> = spec.children.iter().map(|child| child.name).collect();
    only_elements(element, &children, Some(&id), findings);
    let input = |port: &str| {
        let text = element.attribute(port).unwrap_or_default();
        let links = text.split_whitespace().map(|text| link(text, element.line, &id, findings));
        Input { port: port.to_owned(), links: links.collect() }
    };
    let inputs = spec.inputs.iter().map(|input| input.name).map(input).collect();
    let properties = properties_of(element, |name| spec.properties.iter().any(|p| p.name == name));
    let mut held = Vec::new();
    for child in element.elements() {
        let Some(known) = spec.children.iter().find(|known| known.name == child.name) else {
            continue;
        };
        if held.len() >= CHILDREN_MAX {
            let message = format!("more than {CHILDREN_MAX} elements: split the primitive");
            findings.error(child.line, Some(&id), Cause::TooLarge, message);
            break;
        }
        let names: Vec<&str> = known.properties.iter().map(|p| p.name).collect();
        only(child, &names, Some(&id), findings);
        only_elements(child, &[], Some(&id), findings);
        let properties = properties_of(child, |name| names.contains(&name));
        held.push(Child { kind: child.name.clone(), line: child.line, properties });
    }
    Primitive {
        id,
        kind: spec.name.to_owned(),
        line: element.line,
        inputs,
        properties,
        children: held,
    }
}

fn properties_of(element: &Element, known: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    element.attributes.iter().filter(|(name, _)| known(name)).cloned().collect()
}

fn link(text: &str, line: u32, id: &str, findings: &mut Findings) -> Link {
    let (from, port) = text.split_once('.').unwrap_or((text, ""));
    let mut link = Link { from: from.to_owned(), port: port.to_owned() };
    if from.is_empty() || port.is_empty() {
        let message = format!("\"{text}\" is no link: write PRIMITIVE.PORT, or record.MEASURE");
        findings.error(line, Some(id), Cause::UnknownReference, message);
    } else if text.contains(values::SEPARATORS) {
        let apart = text.replace(values::SEPARATORS, " ");
        let message =
            format!("\"{text}\" is one word: links are separated by spaces: write \"{apart}\"");
        if link.is_source() {
            // A measure of the record whose name contains a separator was accepted by earlier
            // releases, so a published plan may read one.
            findings.refuse_since(line, Some(id), Cause::UnknownReference, message);
        } else {
            findings.error(line, Some(id), Cause::UnknownReference, message);
            // A link with an empty port is not resolved later, so the error is reported only once.
            link.port.clear();
        }
    }
    link
}
