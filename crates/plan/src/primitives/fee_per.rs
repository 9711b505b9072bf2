//! Connection fees: once for each rater, or once for each call.
//!
//! A rater that looks at its own units alone can't know what others of the plan charge. What it does
//! know is whether the record's first unit came to it, and that unit comes to one of the raters that
//! share a call. So `fee-per="call"` charges with the first unit only.

use crate::graph::Primitive;
use crate::spec::{PropertySpec, Value, optional};

pub(crate) const NAME: &str = "fee-per";

/// Of a rater that may charge a fee once for each record.
pub(super) const FEE_PER: PropertySpec = optional(
    NAME,
    Value::Choice(&["rater", "call"]),
    "whether a connection fee is charged by each rater, or only with the call's first unit",
);

/// Does the fee come with the record's first unit alone?
pub(crate) fn is_per_call(primitive: &Primitive) -> bool {
    primitive.property(NAME) == Some("call")
}
