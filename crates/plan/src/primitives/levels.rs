//! Reading a level along units: an accumulator's total, or the count within the record (PLANS
//! section 2).

use turnpike_types::SuspenseReason;

use crate::ladder::{Ladder, Sorter};
use crate::run::{Input, Run, Total};
use crate::state::Period;
use crate::stream::{Span, Stream};

/// Without a level, units count within the record.
pub(super) fn by_count(stream: &Stream, sorter: &mut Sorter<'_>) -> Result<(), SuspenseReason> {
    sorter.ghost(stream, 0);
    let mut level = 0i128;
    for span in &stream.spans {
        let ladder = Ladder { first: span.first, level, copies: span.copies, skip: span.skip };
        sorter.sort(*span, ladder, Period::EVER).ok_or(SuspenseReason::Overflow)?;
        let after = span.count().and_then(|count| level.checked_add(count));
        level = after.ok_or(SuspenseReason::Overflow)?;
    }
    Ok(())
}

/// Each unit of `input`, whose stream was taken, sees the accumulator's total before it.
pub(super) fn by_total(
    total: Total,
    run: &mut Run<'_>,
    input: &Input,
    stream: &Stream,
    sorter: &mut Sorter<'_>,
) -> Result<(), SuspenseReason> {
    let flow = run.flow(input);
    if stream.ghost {
        let period = run.period(total.calendared, flow.start).period;
        sorter.ghost(stream, run.state.get(total.variable, period).unwrap_or(0));
    }
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
                // Units that the accumulator does not count: its total stands still.
                later => {
                    let here = run.period(total.calendared, flow.instant(unit));
                    let before = next.checked_sub(1).and_then(|place| trace.get(place));
                    let level = match before {
                        Some(counted) if counted.period == here.period => {
                            let count = counted.span.count();
                            count.and_then(|count| counted.level.checked_add(count))
                        }
                        _ => Some(run.state.get(total.variable, here.period).unwrap_or(0)),
                    };
                    let level = level.ok_or(SuspenseReason::Overflow)?;
                    let ladder = Ladder { first: unit, level, copies: 0, skip: 0 };
                    let until = later.map_or(i64::MAX, |counted| counted.span.first);
                    (ladder, here.period, flow.units_before(here.to).min(until).max(unit + 1))
                }
            };
            let end = end.min(span.end);
            let piece = Span { first: unit, end, ..*span };
            sorter.sort(piece, ladder, period).ok_or(SuspenseReason::Overflow)?;
            unit = end;
        }
    }
    run.scratch.traces[total.trace] = trace;
    Ok(())
}
