//! Properties and inputs of the primitives that create charges.

use crate::compile::build::Builder;
use crate::language::findings::{Cause, Refused};
use crate::language::graph::Primitive;
use crate::language::spec::{
    InputSpec, PropertySpec, Value, optional, optional_usage_in, with_default,
};

/// The property that states when a charge falls due.
pub(crate) const DUE: PropertySpec = with_default(
    "due",
    Value::Choice(&["period-start", "first-use"]),
    "period-start",
    "period-start: in advance, also without usage; first-use: with the first usage",
);

/// The property that states the currency of a charge.
pub(crate) const CURRENCY: PropertySpec = optional(
    "currency",
    Value::Currency,
    "the currency of the charge; the default is the plan's currency",
);

/// The input for the usage with which a charge falls due.
pub(crate) const TRIGGER: &[InputSpec] = &[optional_usage_in("trigger")];

/// Whether the charge falls due with the first usage of each period. If so, checks that the input
/// `trigger` has a link.
pub(crate) fn is_due_with_use(
    primitive: &Primitive,
    builder: &mut Builder<'_>,
) -> Result<bool, Refused> {
    let with_use = primitive.property("due") == Some("first-use");
    let fed = builder.is_fed("trigger");
    if with_use && !fed {
        let message = "trigger: due=\"first-use\" needs usage as its trigger: write trigger=\"PRIMITIVE.PORT\"";
        return Err(builder.refuse(primitive.line, Cause::OpenInput, message));
    }
    if !with_use && fed {
        builder.warn(
            primitive.line,
            "trigger has no effect: due=\"period-start\" falls due without usage",
        );
    }
    Ok(with_use)
}
