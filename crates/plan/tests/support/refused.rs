//! Helpers for plans that must be refused. Each plan has one primitive per line, from line 3.

use crate::support::plan;
use turnpike_plan::{Cause, PlanErrors, parse};

/// Asserts that a plan of these lines has exactly this error.
pub(crate) fn refused(lines: &[&str], line: u32, primitive: &str, cause: Cause) {
    refused_plan(&plan(&lines.join("\n")), line, primitive, cause);
}

/// As [`refused`], for a whole document.
pub(crate) fn refused_plan(xml: &str, line: u32, primitive: &str, cause: Cause) {
    let PlanErrors(errors) = parse(xml).expect_err("the plan must be refused");
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.line, error.primitive.as_deref().unwrap_or_default(), error.cause))
        .collect();
    assert_eq!(found, [(line, primitive, cause)], "{}", PlanErrors(errors.clone()));
}
