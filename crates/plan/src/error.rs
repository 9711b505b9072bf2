//! What is wrong with a plan, said to its author: where it stands and what to do about it.

use std::fmt;

/// Everything found wrong with a plan, in document order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PlanErrors(pub Vec<PlanError>);

/// One thing that makes a plan impossible to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Line of the XML, from 1; 0 where no line can be named (a subscription's overrides).
    pub line: u32,
    /// Id of the primitive at fault, where there is one.
    pub primitive: Option<String>,
    /// What kind of fault, for programs.
    pub cause: Cause,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// Kinds of faults (docs/architecture.md section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Not well-formed XML, or not a plan document.
    Malformed,
    /// Larger than a limit.
    TooLarge,
    /// A primitive type that exists nowhere.
    UnknownType,
    /// Two things share an id.
    DuplicateId,
    /// A link to a primitive or port that does not exist, or of another kind.
    UnknownReference,
    /// An input that nothing feeds.
    OpenInput,
    /// A usage output that nothing takes.
    OpenUsage,
    /// A charge that reaches no finalizer.
    OpenCharge,
    /// A charge taken twice.
    ChargeTwice,
    /// Primitives that feed each other in a ring.
    Cycle,
    /// A property that is required and absent.
    MissingProperty,
    /// A property or child that the primitive does not have.
    UnknownProperty,
    /// A value that can't be read.
    BadValue,
    /// A primitive that can't stand where it does.
    Misplaced,
    /// Units that do not fit the flow they price or count.
    WrongUnit,
    /// Tiers that overlap, leave a gap, or stand out of order.
    BadTiers,
    /// A filter that nothing can pass.
    NothingPasses,
    /// Amounts of two currencies meet.
    MixedCurrencies,
    /// A parameter that is not declared.
    UnknownParameter,
    /// Charges of other accounts where only the account's own may come, or the other way round.
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
    /// One error a line.
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

/// Something legal that its author probably does not mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line of the XML, from 1.
    pub line: u32,
    /// Id of the primitive concerned, where there is one.
    pub primitive: Option<String>,
    /// What will happen.
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

/// How many errors are collected before reading stops: past these, nobody reads on.
const ERRORS_MAX: usize = 100;

/// Collects errors and warnings while a plan is read, checked and compiled.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The plan was accepted before: see [`Findings::refuse_since`].
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

    /// An error by a rule that is younger than some published plans. Those go on as they were
    /// accepted, with a warning: accounts rely on them.
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

    /// Makes warnings of errors that other values of parameters do not have.
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

    /// The warnings, or the errors in the order of the document.
    pub(crate) fn into_result(mut self) -> Result<Vec<Warning>, PlanErrors> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by_key(|error| error.line);
        self.errors.dedup();
        Err(PlanErrors(self.errors))
    }
}
