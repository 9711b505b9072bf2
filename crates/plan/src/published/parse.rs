//! Parses plans and compiles them: the language, the compiler and the primitives together.

use std::collections::BTreeMap;

use crate::compile::{defaults, pipeline};
use crate::language::fill_in::fill_in;
use crate::language::findings::{Cause, Findings, PlanError, PlanErrors};
use crate::language::plan::Plan;
use crate::language::read::read as read_document;
use crate::machine::code::ObjectCode;
use crate::primitives::{ALL, VOCABULARY};

/// Parses and checks a plan that is to be published (docs/architecture.md section 7).
///
/// A plan that is unsound with its default values, and sound with others, is accepted with a
/// warning: its subscriptions must give such values.
///
/// # Errors
/// All errors, each with its line and primitive.
pub fn parse(xml: &str) -> Result<Plan, PlanErrors> {
    read(xml, Findings::default(), false)
}

/// Parses a plan that was published before, perhaps by an earlier release. A violation of a newer
/// rule is a warning, since accounts are already rated by the plan.
///
/// # Errors
/// As [`parse`], for errors that every release refuses.
pub fn parse_published(xml: &str) -> Result<Plan, PlanErrors> {
    read(xml, Findings::of_published(true), false)
}

/// As [`parse_published`], for a plan that was published by a release that did not check telephone
/// numbers by country (and did not record the version of the time-zone database). Its primitives
/// read numbers as that release did, so that the version prices every call as before.
///
/// # Errors
/// As [`parse_published`].
pub fn parse_published_earlier(xml: &str) -> Result<Plan, PlanErrors> {
    read(xml, Findings::of_published(true), true)
}

fn read(xml: &str, mut findings: Findings, has_unchecked: bool) -> Result<Plan, PlanErrors> {
    let Some(mut document) = read_document(xml, &VOCABULARY, &mut findings) else {
        return Err(refused(findings));
    };
    document.has_unchecked_numbers = has_unchecked;
    let nothing = BTreeMap::new();
    let is_sound_document = findings.clean();
    let (primitives, code) = match pipeline::compile(&document, &nothing, ALL, &mut findings) {
        Some(made) => made,
        // No parameter value repairs an error in the document itself.
        None if is_sound_document => {
            let Some(sound) = defaults::sound(&document, ALL) else {
                return Err(refused(findings));
            };
            findings.blame_defaults(&sound.parameters);
            let primitives = fill_in(&document, &nothing, &mut Findings::default());
            (primitives, sound.code)
        }
        None => return Err(refused(findings)),
    };
    let warnings = findings.into_result()?;
    Ok(Plan { document, primitives, warnings, tables: code.tables })
}

/// Compiles a plan, with a subscription's values for its parameters.
///
/// # Errors
/// An override that the plan does not declare or that is of the wrong type, and errors caused by an
/// override's value. Without overrides a parsed plan compiles, unless [`parse`] warned that its
/// default values are not sound.
pub fn compile(
    plan: &Plan,
    overrides: &BTreeMap<String, String>,
) -> Result<ObjectCode, PlanErrors> {
    let mut findings = Findings::of_published(plan.document.is_published);
    match pipeline::compile(&plan.document, overrides, ALL, &mut findings) {
        Some((_, code)) => findings.into_result().map(|_| code),
        None => Err(refused(findings)),
    }
}

fn refused(findings: Findings) -> PlanErrors {
    match findings.into_result() {
        Err(errors) => errors,
        // Each stage that fails records an error. This error only guarantees that the list is not
        // empty.
        Ok(_) => PlanErrors(vec![PlanError {
            line: 1,
            primitive: None,
            cause: Cause::Malformed,
            message: "the plan can't be read".to_owned(),
        }]),
    }
}
