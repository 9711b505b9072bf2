//! What a primitive declares about itself, from which generic checking is done.

use crate::build::Builder;
use crate::graph::Primitive;

/// Everything the checker and the compiler know about a type of primitive.
pub(crate) struct Spec {
    /// The element's name.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) help: &'static str,
    pub(crate) inputs: &'static [InputSpec],
    pub(crate) outputs: &'static [OutputSpec],
    pub(crate) properties: &'static [PropertySpec],
    pub(crate) children: &'static [ChildSpec],
    /// What it is to the flows that pass it.
    pub(crate) role: Role,
    /// Checks its own properties, once generic checks passed, and makes its code.
    pub(crate) build: fn(&Primitive, &mut Builder<'_>) -> Built,
}

/// The port of a primitive that shares by which charges of other accounts leave.
pub(crate) const OTHERS: &str = "others";

/// What a primitive is to the flows that pass it, beside its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing that others need to know.
    Plain,
    /// Charges leave it as they came: who takes its charge takes those that it gathers.
    Gathers,
    /// Charges that reach it are posted to the account.
    Posts,
    /// Charges that reach it are posted to other accounts.
    PostsElsewhere,
    /// What leaves by the port [`OTHERS`] are charges of other accounts.
    Shares,
    /// It gives the record an attribute, read as `ID.NAME`.
    Tells(&'static str),
    /// The usage type of what leaves it is what it says.
    Relabels,
    /// What leaves it is another count of units than what came in.
    Recounts,
}

/// Whether a primitive could be built; if not, the findings say why.
pub(crate) type Built = Result<(), Refused>;

/// The findings say why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused;

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Units of a record.
    Usage,
    /// Charge lines.
    Charge,
    /// An accumulator's running total.
    Level,
}

impl Carries {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Charge => "a charge",
            Self::Level => "a level",
        }
    }
}

/// An input: an attribute that holds links.
pub(crate) struct InputSpec {
    pub(crate) name: &'static str,
    pub(crate) carries: Carries,
    pub(crate) required: bool,
    /// May hold several links, which merge.
    pub(crate) many: bool,
    /// May count by another measure than the input before it.
    pub(crate) apart: bool,
}

/// A required usage input that merges.
pub(crate) const fn usage_in(name: &'static str) -> InputSpec {
    InputSpec { name, carries: Carries::Usage, required: true, many: true, apart: false }
}

/// A required charge input that gathers.
pub(crate) const fn charge_in(name: &'static str) -> InputSpec {
    InputSpec { name, carries: Carries::Charge, required: true, many: true, apart: false }
}

/// A usage input that may be left open.
pub(crate) const fn optional_usage_in(name: &'static str) -> InputSpec {
    InputSpec { name, carries: Carries::Usage, required: false, many: true, apart: true }
}

/// An accumulator's running total, if it is connected.
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
    pub(crate) open: Open,
}

/// When an output may stay without a consumer (docs/plan-semantics.md section 2).
#[derive(Clone, Copy)]
pub(crate) enum Open {
    Never,
    Always,
    /// When the primitive is fed by the source: what leaves here is not accepted by the plan.
    SourceFed,
    /// When this says that nothing can flow there.
    When(fn(&Primitive) -> bool),
}

/// An accumulator's running total, to be read.
pub(crate) const TOTAL_OUT: OutputSpec =
    OutputSpec { name: "total", carries: Carries::Level, open: Open::Always };

/// A usage output that something must take.
pub(crate) const fn usage_out(name: &'static str) -> OutputSpec {
    OutputSpec { name, carries: Carries::Usage, open: Open::Never }
}

/// The charge output.
pub(crate) const CHARGE_OUT: OutputSpec =
    OutputSpec { name: "charge", carries: Carries::Charge, open: Open::Never };

/// A property: an attribute that holds a value.
pub(crate) struct PropertySpec {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) need: Need,
    /// One line for people.
    pub(crate) help: &'static str,
}

/// Whether a property must be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    Default(&'static str),
}

/// The syntax of a value.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    /// Any text, not empty.
    Text,
    /// The id of a step.
    Id,
    /// A decimal amount of the plan's currency.
    Money,
    /// A quantity of the flow, with its unit.
    Quantity,
    /// HH:MM.
    TimeOfDay,
    /// Words between white space, at least one.
    Words,
    /// Usage types, between white space, at least one.
    Types,
    /// A whole number from 0.
    Whole,
    /// A currency's code.
    Currency,
    /// A currency's code, or `account` for the one that the account is billed in.
    TargetCurrency,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Where a text stands: an attribute of the record, `account.NAME`, or `ID.NAME` that a
    /// primitive tells.
    Attribute,
    /// What a primitive reads by itself.
    Of(&'static ValueType),
}

/// A syntax of a primitive's own.
pub(crate) struct ValueType {
    /// Its name, for people who choose a value.
    pub(crate) name: &'static str,
    /// Why a text is none of it.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

impl Value {
    /// The type's name, for editors.
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

/// An element that a primitive holds.
pub(crate) struct ChildSpec {
    pub(crate) name: &'static str,
    pub(crate) at_least: usize,
    pub(crate) properties: &'static [PropertySpec],
    /// One line for people.
    pub(crate) help: &'static str,
}

pub(crate) const fn required(name: &'static str, value: Value, help: &'static str) -> PropertySpec {
    PropertySpec { name, value, need: Need::Required, help }
}

pub(crate) const fn optional(name: &'static str, value: Value, help: &'static str) -> PropertySpec {
    PropertySpec { name, value, need: Need::Optional, help }
}

pub(crate) const fn with_default(
    name: &'static str,
    value: Value,
    default: &'static str,
    help: &'static str,
) -> PropertySpec {
    PropertySpec { name, value, need: Need::Default(default), help }
}

impl Spec {
    pub(crate) fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|input| input.name == name)
    }

    pub(crate) fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.name == name)
    }
}
