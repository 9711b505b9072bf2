//! The declarations of primitive types, on which the checks that apply to every primitive are
//! based.

use std::fmt;

use crate::language::graph::Primitive;

/// The declaration of a primitive type: what an author can write.
pub(crate) struct Spec {
    /// The element's name.
    pub(crate) name: &'static str,
    /// A description in one line.
    pub(crate) help: &'static str,
    pub(crate) inputs: &'static [InputSpec],
    pub(crate) outputs: &'static [OutputSpec],
    pub(crate) properties: &'static [PropertySpec],
    pub(crate) children: &'static [ChildSpec],
    /// The primitive's effect on the flows through it.
    pub(crate) role: Role,
}

/// The output port of a primitive with [`Role::Shares`] for charges of other accounts.
pub(crate) const OTHERS: &str = "others";

/// A primitive's effect on the flows through it, in addition to its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// No effect that other primitives depend on.
    Plain,
    /// Passes charges unchanged: a consumer of its output reads the gathered charges.
    Gathers,
    /// Posts the charges that reach it to the account.
    Posts,
    /// Posts the charges that reach it to other accounts.
    PostsElsewhere,
    /// Charges that leave by the port [`OTHERS`] belong to other accounts.
    Shares,
    /// Derives an attribute of the record, read as `ID.NAME`.
    Derives(&'static str),
    /// Derives the usage type of the units that leave the primitive.
    Relabels,
    /// Changes the number of units: the units that leave the primitive are another measure than the
    /// incoming units. `UsageIncrement` has this role.
    Recounts,
}

/// The kind of value that a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub(crate) enum Carries {
    /// Units of a record.
    Usage,
    /// Charge lines.
    Charge,
    /// An accumulator's running total.
    Level,
}

impl Carries {
    /// The kind in a sentence, with its article.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Charge => "a charge",
            Self::Level => "a level",
        }
    }
}

/// An input: an attribute of the element that holds links.
pub(crate) struct InputSpec {
    pub(crate) name: &'static str,
    pub(crate) carries: Carries,
    pub(crate) required: bool,
    /// Whether several links may feed the input. They are merged.
    pub(crate) many: bool,
    /// Whether the input may carry another measure than the inputs before it.
    pub(crate) apart: bool,
}

/// A required usage input; several links are merged.
pub(crate) const fn usage_in(name: &'static str) -> InputSpec {
    InputSpec { name, carries: Carries::Usage, required: true, many: true, apart: false }
}

/// A required charge input; several links are gathered.
pub(crate) const fn charge_in(name: &'static str) -> InputSpec {
    InputSpec { name, carries: Carries::Charge, required: true, many: true, apart: false }
}

/// A usage input that needs no link, and may carry another measure than the other inputs.
pub(crate) const fn optional_usage_in(name: &'static str) -> InputSpec {
    InputSpec { name, carries: Carries::Usage, required: false, many: true, apart: true }
}

/// An optional input for an accumulator's running total.
pub(crate) const LEVEL_IN: InputSpec = InputSpec {
    name: "level",
    carries: Carries::Level,
    required: false,
    many: false,
    apart: false,
};

/// An output.
pub(crate) struct OutputSpec {
    pub(crate) name: &'static str,
    pub(crate) carries: Carries,
    pub(crate) open: MayBeUnconnected,
}

/// The condition under which an output may have no consumer (docs/plan-semantics.md section 2).
#[derive(Clone, Copy)]
pub(crate) enum MayBeUnconnected {
    Never,
    Always,
    /// No link is required if only measures of the record feed the primitive. Without a link, the
    /// plan does not accept the units that leave by the output.
    SourceFed,
    /// No link is required if the function returns true, because no unit can then leave by the
    /// output.
    When(fn(&Primitive) -> bool),
}

/// The output for an accumulator's running total.
pub(crate) const TOTAL_OUT: OutputSpec =
    OutputSpec { name: "total", carries: Carries::Level, open: MayBeUnconnected::Always };

/// A usage output that needs a consumer.
pub(crate) const fn usage_out(name: &'static str) -> OutputSpec {
    OutputSpec { name, carries: Carries::Usage, open: MayBeUnconnected::Never }
}

/// The charge output.
pub(crate) const CHARGE_OUT: OutputSpec =
    OutputSpec { name: "charge", carries: Carries::Charge, open: MayBeUnconnected::Never };

/// A property: an attribute of the element that holds a value.
pub(crate) struct PropertySpec {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) presence: Presence,
    /// A description in one line.
    pub(crate) help: &'static str,
}

/// Whether a property must be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
    Default(&'static str),
}

/// The syntax of a value.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    /// Any non-empty text.
    Text,
    /// The id of a step.
    Id,
    /// A decimal amount of the plan's currency.
    Money,
    /// A quantity with a unit, which must be the unit of the usage at the primitive.
    Quantity,
    /// A time of day, `HH:MM`.
    TimeOfDay,
    /// Words separated by white space, at least one.
    Words,
    /// Usage types separated by white space, at least one.
    Types,
    /// A whole number from 0.
    Whole,
    /// A currency's code.
    Currency,
    /// A currency's code, or `account` for the currency in which the account is billed.
    TargetCurrency,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A reference to an attribute: of the record, `account.NAME`, or `ID.NAME` for one that a
    /// primitive derives.
    Attribute,
    /// A syntax specific to one primitive type.
    Of(&'static ValueType),
}

/// A value syntax specific to one primitive type.
pub(crate) struct ValueType {
    /// The name of the syntax in editors.
    pub(crate) name: &'static str,
    /// Checks a text; the error says why the text does not have this syntax.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

impl Value {
    /// The name of the syntax in editors.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Id => "id",
            Self::Money => "money",
            Self::Quantity => "quantity",
            Self::TimeOfDay => "time",
            Self::Words | Self::Types => "words",
            Self::Whole => "count",
            Self::Currency => "currency",
            Self::TargetCurrency => "currency-or-account",
            Self::Choice(_) => "choice",
            Self::Attribute => "attribute",
            Self::Of(of) => of.name,
        }
    }
}

/// A child element of a primitive.
pub(crate) struct ChildSpec {
    pub(crate) name: &'static str,
    pub(crate) at_least: usize,
    pub(crate) properties: &'static [PropertySpec],
    /// A description in one line.
    pub(crate) help: &'static str,
}

pub(crate) const fn required(name: &'static str, value: Value, help: &'static str) -> PropertySpec {
    PropertySpec { name, value, presence: Presence::Required, help }
}

pub(crate) const fn optional(name: &'static str, value: Value, help: &'static str) -> PropertySpec {
    PropertySpec { name, value, presence: Presence::Optional, help }
}

pub(crate) const fn with_default(
    name: &'static str,
    value: Value,
    default: &'static str,
    help: &'static str,
) -> PropertySpec {
    PropertySpec { name, value, presence: Presence::Default(default), help }
}

impl Spec {
    pub(crate) fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| input.name == name)
    }

    pub(crate) fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.name == name)
    }
}

/// The primitive types that a plan may use.
#[derive(Clone, Copy)]
pub(crate) struct Vocabulary(pub(crate) &'static [&'static Spec]);

impl Vocabulary {
    /// Finds a primitive type by its name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Spec> {
        self.0.iter().find(|spec| spec.name == name).copied()
    }

    /// The names of all types, in the order of registration.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|spec| spec.name).collect()
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The catalogue of types and the messages about links contain these words.
    #[test]
    fn what_a_port_carries_has_a_name_and_a_word_for_sentences() {
        let all = [Carries::Usage, Carries::Charge, Carries::Level];
        assert_eq!(all.map(|carries| carries.into_str()), ["usage", "charge", "level"]);
        assert_eq!(all.map(Carries::word), ["usage", "a charge", "a level"]);
    }
}
