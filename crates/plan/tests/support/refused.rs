//! Plans that are refused: each primitive on a line of its own, from line 3 on.

use crate::support::plan;
use turnpike_plan::{Cause, PlanErrors, parse};

/// The plan's errors are just this one.
pub(crate) fn refused(lines: &[&str], line: u32, primitive: &str, cause: Cause) {
    refused_plan(&plan(&lines.join("\n")), line, primitive, cause);
}

/// As [`refused`], of a whole document.
pub(crate) fn refused_plan(xml: &str, line: u32, primitive: &str, cause: Cause) {
    let PlanErrors(errors) = parse(xml).expect_err("the plan must be refused");
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.line, error.primitive.as_deref().unwrap_or_default(), error.cause))
        .collect();
    assert_eq!(found, [(line, primitive, cause)], "{}", PlanErrors(errors.clone()));
}
