//! Errors and warnings about a plan, for the author of the plan: the problem, its line, and the
//! remedy.

use std::fmt;

/// All errors of a plan, in document order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PlanErrors(pub Vec<PlanError>);

/// One error that makes a plan unacceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Line of the XML, from 1; 0 where no line can be named (a subscription's overrides).
    pub line: u32,
    /// Id of the primitive at fault, where there is one.
    pub primitive: Option<String>,
    /// The kind of error, for programs.
    pub cause: Cause,
    /// The error and its remedy, for people.
    pub message: String,
}

/// Kinds of errors (docs/architecture.md section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Not well-formed XML, or not a plan document.
    Malformed,
    /// A plan, or a part of it, that exceeds a limit.
    TooLarge,
    /// An unknown primitive type.
    UnknownType,
    /// Two declarations with the same id.
    DuplicateId,
    /// A link to a primitive or port that does not exist or carries another kind of value.
    UnknownReference,
    /// An input without a link.
    OpenInput,
    /// A usage output that no primitive consumes.
    OpenUsage,
    /// A charge that reaches no finalizer.
    OpenCharge,
    /// A charge output that two primitives consume.
    ChargeTwice,
    /// A cycle of primitives.
    Cycle,
    /// A missing required property.
    MissingProperty,
    /// A property or child that the primitive does not have.
    UnknownProperty,
    /// A value that can't be parsed.
    BadValue,
    /// A primitive in a position where it is not allowed.
    Misplaced,
    /// A quantity whose unit differs from the unit of the usage at the primitive.
    WrongUnit,
    /// Tiers that overlap, leave a gap, or are out of order.
    BadTiers,
    /// A filter that no unit can pass.
    NothingPasses,
    /// Charges of two currencies where only one is allowed.
    MixedCurrencies,
    /// An undeclared parameter.
    UnknownParameter,
    /// Charges of other accounts where only the account's own are allowed, or the reverse.
    WrongAccount,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}", self.line)?;
        } else {
            f.write_str("overrides")?;
        }
        if let Some(id) = &self.primitive {
            write!(f, ", primitive \"{id}\"")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Display for PlanErrors {
    /// Writes one error per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// Something valid that the author probably does not intend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line of the XML, from 1.
    pub line: u32,
    /// Id of the primitive concerned, where there is one.
    pub primitive: Option<String>,
    /// The effect of the plan as written, for people.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(id) = &self.primitive {
            write!(f, ", primitive \"{id}\"")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A marker for a refusal whose reason is in the findings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused;

/// Maximum number of errors and of warnings; further ones are dropped.
const ERRORS_MAX: usize = 100;

/// Collects errors and warnings while a plan is read, checked and compiled.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Whether the plan was published before, see [`Findings::refuse_since`].
    pub(crate) is_published: bool,
    errors: Vec<PlanError>,
    warnings: Vec<Warning>,
}

impl Findings {
    pub(crate) fn of_published(is_published: bool) -> Self {
        Self { is_published, ..Self::default() }
    }

    pub(crate) fn error(
        &mut self,
        line: u32,
        primitive: Option<&str>,
        cause: Cause,
        message: impl Into<String>,
    ) {
        if self.errors.len() < ERRORS_MAX {
            let (primitive, message) = (primitive.map(str::to_owned), message.into());
            self.errors.push(PlanError { line, primitive, cause, message });
        }
    }

    /// Records a violation of a rule that is newer than some published plans. A published plan gets
    /// a warning instead of an error: the plan stays valid, because accounts are rated by it.
    pub(crate) fn refuse_since(
        &mut self,
        line: u32,
        primitive: Option<&str>,
        cause: Cause,
        message: impl Into<String>,
    ) {
        if self.is_published {
            self.warn(line, primitive, message);
        } else {
            self.error(line, primitive, cause, message);
        }
    }

    pub(crate) fn warn(&mut self, line: u32, primitive: Option<&str>, message: impl Into<String>) {
        if self.warnings.len() < ERRORS_MAX {
            let (primitive, message) = (primitive.map(str::to_owned), message.into());
            self.warnings.push(Warning { line, primitive, message });
        }
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors.len()
    }

    /// Turns the errors into warnings, for a plan that is sound with other parameter values.
    pub(crate) fn blame_defaults(&mut self, parameters: &[String]) {
        let names: Vec<String> = parameters.iter().map(|id| format!("${id}")).collect();
        let (names, are) = (names.join(", "), if names.len() == 1 { "is" } else { "are" });
        for error in std::mem::take(&mut self.errors) {
            let message = format!(
                "{}; with the default values no account can be rated: each subscription must give others ({names} {are} at fault)",
                error.message
            );
            self.warn(error.line, error.primitive.as_deref(), message);
        }
    }

    pub(crate) fn clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The warnings, or the errors in document order.
    pub(crate) fn into_result(mut self) -> Result<Vec<Warning>, PlanErrors> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by_key(|error| error.line);
        self.errors.dedup();
        Err(PlanErrors(self.errors))
    }
}
