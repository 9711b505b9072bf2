//! Shared code of the filters: one input, two outputs, and the split of units between the outputs
//! by their instants.

use turnpike_types::SuspenseReason;

use crate::calendar::periods::Calendar;
use crate::compile::build::Builder;
use crate::language::spec::{OutputSpec, usage_out};
use crate::machine::code::Evaluation;
use crate::machine::evaluation::places::UsageInput;
use crate::machine::stream::{SPANS_MAX, Span, Stream};

pub(crate) const OUTPUTS: &[OutputSpec] = &[usage_out("pass"), usage_out("rest")];

/// The maximum number of pieces into which a filter splits one record.
const PIECES_MAX: usize = 2 * SPANS_MAX;

/// The ports of a filter.
pub(crate) struct FilterPorts {
    pub(crate) input: UsageInput,
    pass: Option<usize>,
    rest: Option<usize>,
}

impl FilterPorts {
    pub(crate) fn of(builder: &Builder<'_>) -> Self {
        Self {
            input: builder.input("in"),
            pass: builder.output("pass"),
            rest: builder.output("rest"),
        }
    }

    /// Calls `sort` to split the input into the units that pass (the first output stream) and the
    /// rest. Does not call it for an empty input.
    pub(crate) fn divide<'a>(
        &self,
        run: &mut Evaluation<'a>,
        sort: impl FnOnce(
            &mut Evaluation<'a>,
            &Stream,
            &mut Stream,
            &mut Stream,
        ) -> Result<(), SuspenseReason>,
    ) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if !stream.is_empty() {
            let out = |run: &mut Evaluation<'_>, slot: Option<usize>| {
                slot.map_or_else(Stream::default, |slot| {
                    std::mem::take(&mut run.scratch.streams[slot])
                })
            };
            let (mut pass, mut rest) = (out(run, self.pass), out(run, self.rest));
            sort(run, &stream, &mut pass, &mut rest)?;
            for (slot, stream) in [(self.pass, pass), (self.rest, rest)] {
                if let Some(slot) = slot {
                    run.scratch.streams[slot] = stream;
                }
            }
        }
        run.give(&self.input, stream);
        Ok(())
    }

    /// Splits units by their instants. `at` returns whether a unit at an instant passes, and the
    /// instant before which this answer holds.
    pub(crate) fn by_instant<'a, A>(
        &self,
        run: &mut Evaluation<'a>,
        at: impl FnOnce(&Evaluation<'a>) -> Result<A, SuspenseReason>,
    ) -> Result<(), SuspenseReason>
    where
        A: Fn(&mut Calendar, i64) -> (bool, i64),
    {
        run.read(&self.input)?;
        if let Some(span) = run.single(&self.input) {
            let at = at(run)?;
            return self.divide_single(run, span, at);
        }
        self.divide(run, |run, stream, pass, rest| {
            let (flow, at) = (run.flow(&self.input), at(run)?);
            let calendar = &mut run.scratch.calendar;
            if stream.zero_quantity {
                let passes = at(calendar, flow.start).0;
                if passes { pass.zero_quantity = true } else { rest.zero_quantity = true }
            }
            let mut pieces = 0;
            for span in &stream.spans {
                let mut unit = span.first;
                while unit < span.end {
                    pieces += 1;
                    if pieces > PIECES_MAX {
                        return Err(SuspenseReason::Overflow);
                    }
                    let (passes, until) = at(calendar, flow.instant(unit));
                    let end = flow.units_before(until).clamp(unit + 1, span.end);
                    let out = if passes { &mut *pass } else { &mut *rest };
                    out.push(Span { first: unit, end, ..*span });
                    unit = end;
                }
            }
            Ok(())
        })
    }

    /// Handles the common case of one range of units, which is read in place.
    fn divide_single(
        &self,
        run: &mut Evaluation<'_>,
        span: Span,
        at: impl Fn(&mut Calendar, i64) -> (bool, i64),
    ) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.input);
        let mut left = span;
        for piece in 0..PIECES_MAX {
            let (passes, until) = at(&mut run.scratch.calendar, flow.instant(left.first));
            let out = if passes { self.pass } else { self.rest };
            let end = flow.units_before(until).max(left.first + 1);
            if piece == 0 && end >= left.end {
                run.put(out, left);
                return Ok(());
            }
            if let Some(slot) = out {
                let end = end.min(left.end);
                run.scratch.streams[slot].push(Span { end, ..left });
            }
            if end >= left.end {
                return Ok(());
            }
            left.first = end;
        }
        Err(SuspenseReason::Overflow)
    }
}
