//! Checks of the attributes and child elements of an element.

use turnpike_types::Currency;

use crate::language::findings::{Cause, Findings};
use crate::language::nearest::hint;
use crate::language::values;
use crate::language::xml::Element;

/// Refuses a currency that ISO 4217 does not list.
pub(crate) fn check_listed(element: &Element, currency: Option<Currency>, findings: &mut Findings) {
    let fault = currency.and_then(|code| values::listed_currency(code.as_str()).err());
    if let Some(why) = fault {
        let message = format!("currency: {why}");
        findings.refuse_since(element.line, None, Cause::BadValue, message);
    }
}

/// The value of a required attribute. Returns `None`, with an error in `findings`, when the
/// attribute is absent or can't be read.
pub(crate) fn read_value<T>(
    element: &Element,
    name: &str,
    example: &str,
    parse: fn(&str) -> Result<T, String>,
    findings: &mut Findings,
) -> Option<T> {
    let Some(text) = element.attribute(name) else {
        let message = format!("<{}> has no {name}: write {name}=\"{example}\"", element.name);
        findings.error(element.line, None, Cause::MissingProperty, message);
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(why) => {
            let message = format!("{name}: {why}");
            findings.error(element.line, None, Cause::BadValue, message);
            None
        }
    }
}

/// Refuses attributes that are not among `names`.
pub(crate) fn only(
    element: &Element,
    names: &[&str],
    primitive: Option<&str>,
    findings: &mut Findings,
) {
    for (name, _) in &element.attributes {
        if !names.contains(&name.as_str()) {
            let hint = hint(name, names.iter().copied());
            let message = format!(
                "<{}> has no property {name}{hint}: it has {}",
                element.name,
                names.join(" ")
            );
            findings.error(element.line, primitive, Cause::UnknownProperty, message);
        }
    }
}

/// Refuses elements that are not among `names`.
pub(crate) fn only_elements(
    element: &Element,
    names: &[&str],
    primitive: Option<&str>,
    findings: &mut Findings,
) {
    for child in element.elements() {
        if !names.contains(&child.name.as_str()) {
            let holds = match names {
                [] => "nothing".to_owned(),
                names => format!("<{}>", names.join("> <")),
            };
            let hint = hint(&child.name, names.iter().copied());
            let message =
                format!("<{}> is unknown here{hint}: <{}> holds {holds}", child.name, element.name);
            findings.error(child.line, primitive, Cause::UnknownProperty, message);
        }
    }
}
