//! The stages of a compilation.

use std::collections::BTreeMap;

use crate::compile::build::build;
use crate::compile::check::check;
use crate::compile::definition::Definition;
use crate::language::document::Document;
use crate::language::fill_in::fill_in;
use crate::language::findings::Findings;
use crate::language::graph::Primitive;
use crate::machine::code::ObjectCode;

/// Fills in values, checks and builds; `None`, with findings, when a step fails.
pub(crate) fn compile(
    document: &Document,
    overrides: &BTreeMap<String, String>,
    definitions: &[&Definition],
    findings: &mut Findings,
) -> Option<(Vec<Primitive>, ObjectCode)> {
    let primitives = fill_in(document, overrides, findings);
    let checked = check(document, &primitives, findings)?;
    let code = build(document, &primitives, &checked, definitions, findings)?;
    Some((primitives, code))
}
