//! Connection fees: one for each rater, or one for each call.
//!
//! A rater receives only its own units, and not the charges of the plan's other raters. But exactly
//! one of the raters of a call receives the record's first unit. So with `fee-per="call"`, a rater
//! charges the fee only if it receives that unit.

use crate::compile::check::fees;
use crate::language::graph::Primitive;
use crate::language::spec::{PropertySpec, Value, optional};

/// The property of a rater that can charge a fee once for each record.
pub(crate) const FEE_PER: PropertySpec = optional(
    fees::PROPERTY,
    Value::Choice(&["rater", "call"]),
    "whether a connection fee is charged by each rater, or only with the call's first unit",
);

/// Whether the fee is charged with the record's first unit only.
pub(crate) fn is_per_call(primitive: &Primitive) -> bool {
    primitive.property(fees::PROPERTY) == Some("call")
}
