//! The level that units read: the accumulator's total before each unit, or without an accumulator
//! the count within the record (docs/plan-semantics.md sections 2 and 4).

use turnpike_types::SuspenseReason;

use crate::calendar::period::Period;
use crate::machine::code::Evaluation;
use crate::machine::evaluation::places::{Total, UsageInput};
use crate::machine::ladder::Ladder;
use crate::machine::stream::{Span, Stream};

/// A function that is called with a span of units, the level along the span, and the period of the
/// units. It returns `None` on overflow of 128 bits.
pub(crate) trait LevelReader: FnMut(Span, Ladder, Period) -> Option<()> {}

impl<F: FnMut(Span, Ladder, Period) -> Option<()>> LevelReader for F {}

/// The level of a zero-quantity record: the total before the record in the period of its start.
pub(crate) fn of_zero_quantity(
    total: Option<Total>,
    run: &mut Evaluation<'_>,
    input: &UsageInput,
) -> i128 {
    let Some(total) = total else { return 0 };
    let start = run.flow(input).start;
    let period = run.period(total.calendared, start).period;
    run.value(total.variable, period)
}

/// Calls `read` for each span of a rater without a level input. The level is the count of units
/// within the record.
pub(crate) fn by_count(stream: &Stream, mut read: impl LevelReader) -> Result<(), SuspenseReason> {
    let mut level = 0i128;
    for span in &stream.spans {
        let ladder = Ladder { first: span.first, level, copies: span.copies, skip: span.skip };
        read(*span, ladder, Period::EVER).ok_or(SuspenseReason::Overflow)?;
        let after = span.count().and_then(|count| level.checked_add(count));
        level = after.ok_or(SuspenseReason::Overflow)?;
    }
    Ok(())
}

/// Calls `read` for each span of a rater with a level input. The level of a unit is the
/// accumulator's total before the unit.
pub(crate) fn by_total(
    total: Total,
    run: &mut Evaluation<'_>,
    input: &UsageInput,
    stream: &Stream,
    mut read: impl LevelReader,
) -> Result<(), SuspenseReason> {
    let flow = run.flow(input);
    let trace = std::mem::take(&mut run.scratch.traces[total.trace]);
    let mut next = 0;
    for span in &stream.spans {
        let mut unit = span.first;
        while unit < span.end {
            while trace.get(next).is_some_and(|counted| counted.span.end <= unit) {
                next += 1;
            }
            let (ladder, period, end) = match trace.get(next) {
                Some(counted) if counted.span.first <= unit => {
                    let Span { first, end, copies, skip } = counted.span;
                    let ladder = Ladder { first, level: counted.level, copies, skip };
                    (ladder, counted.period, end)
                }
                // The accumulator does not count these units: its total is constant along them.
                later => {
                    let here = run.period(total.calendared, flow.instant(unit));
                    let before = next.checked_sub(1).and_then(|place| trace.get(place));
                    let level = match before {
                        Some(counted) if counted.period == here.period => {
                            let count = counted.span.count();
                            count.and_then(|count| counted.level.checked_add(count))
                        }
                        _ => Some(run.value(total.variable, here.period)),
                    };
                    let level = level.ok_or(SuspenseReason::Overflow)?;
                    let ladder = Ladder { first: unit, level, copies: 0, skip: 0 };
                    let until = later.map_or(i64::MAX, |counted| counted.span.first);
                    (ladder, here.period, flow.units_before(here.to).min(until).max(unit + 1))
                }
            };
            let end = end.min(span.end);
            read(Span { first: unit, end, ..*span }, ladder, period)
                .ok_or(SuspenseReason::Overflow)?;
            unit = end;
        }
    }
    run.scratch.traces[total.trace] = trace;
    Ok(())
}
