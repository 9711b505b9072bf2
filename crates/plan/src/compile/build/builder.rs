//! The interface by which a primitive builds its code: what it holds, and how it reports errors.

use crate::compile::check::Checked;
use crate::language::document::Document;
use crate::language::findings::{Cause, Findings, Refused};
use crate::language::graph::Primitive;
use crate::language::measure::Unit;
use crate::machine::code::ObjectCode;
use crate::machine::evaluation::places::{ChargeOut, Total};

/// The interface by which a primitive builds its code.
pub(crate) struct Builder<'a> {
    pub(super) document: &'a Document,
    pub(super) checked: &'a Checked,
    pub(super) findings: &'a mut Findings,
    /// Index of the primitive that is being built.
    pub(super) place: usize,
    pub(super) primitive: &'a Primitive,
    /// The number of the stream of each usage output, by primitive and output index.
    pub(super) streams: Vec<Vec<usize>>,
    /// The destination of the charges of each output, by primitive and output index.
    pub(super) charges: Vec<Vec<ChargeOut>>,
    pub(super) totals: Vec<Option<Total>>,
    pub(super) code: ObjectCode,
}

impl Builder<'_> {
    /// Records an error.
    pub(crate) fn refuse(
        &mut self,
        line: u32,
        cause: Cause,
        message: impl Into<String>,
    ) -> Refused {
        self.findings.error(line, Some(&self.primitive.id), cause, message);
        Refused
    }

    /// Records a violation of a rule that is newer than some published plans, see
    /// [`Findings::refuse_since`].
    pub(crate) fn refuse_since(&mut self, line: u32, cause: Cause, message: impl Into<String>) {
        self.findings.refuse_since(line, Some(&self.primitive.id), cause, message);
    }

    /// The unit of a measure, if the plan declares it.
    pub(crate) fn declared(&self, measure: &str) -> Option<Unit> {
        self.document.measures.get(measure).map(|declared| declared.unit)
    }

    /// Whether the plan was published by a release that did not check telephone numbers by country.
    pub(crate) fn has_unchecked_numbers(&self) -> bool {
        self.document.has_unchecked_numbers
    }

    /// Records a warning.
    pub(crate) fn warn(&mut self, line: u32, message: impl Into<String>) {
        self.findings.warn(line, Some(&self.primitive.id), message);
    }
}
