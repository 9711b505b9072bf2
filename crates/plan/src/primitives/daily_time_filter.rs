//! DailyTimeFilter: passes units by the wall clock of the account (PLANS section 1).

use turnpike_types::SuspenseReason;

use crate::calendar::Stretch;
use crate::error::Cause;
use crate::measure::time_of_day;
use crate::run::{Input, Op, Run};
use crate::spec::{Role, Spec, Value, required, usage_in, usage_out};
use crate::stream::{SPANS_MAX, Span, Stream};

const DAY_US: i64 = 86_400_000_000;

pub(super) static SPEC: Spec = Spec {
    name: "DailyTimeFilter",
    help: "Passes units whose time of day is from <= t < to in the account's zone.",
    inputs: &[usage_in("in")],
    outputs: &[usage_out("pass"), usage_out("rest")],
    properties: &[
        required("from", Value::TimeOfDay, "the window's start"),
        required(
            "to",
            Value::TimeOfDay,
            "its end, 24:00 at most; before from it wraps round midnight",
        ),
    ],
    children: &[],
    role: Role::Plain,
    build: |primitive, builder| {
        let (from, to) = (builder.property(primitive, "from")?, builder.property(primitive, "to")?);
        let window = Window {
            from: builder.read(primitive.line, "from", time_of_day(from))?,
            to: builder.read(primitive.line, "to", time_of_day(to))?,
        };
        if window.from == DAY_US {
            let message = "from: 24:00 is the end of a day: write from=\"00:00\"";
            return Err(builder.refuse(primitive.line, Cause::BadValue, message));
        }
        if window.from == window.to {
            let message =
                format!("from and to are both {from}, so nothing can pass: widen the window");
            return Err(builder.refuse(primitive.line, Cause::NothingPasses, message));
        }
        if window.from == 0 && window.to == DAY_US {
            builder.warn(
                primitive.line,
                "the window is the whole day, so nothing ever leaves by rest",
            );
        }
        let op = DailyTimeFilter {
            window,
            input: builder.input("in"),
            pass: builder.output("pass"),
            rest: builder.output("rest"),
        };
        builder.op(op);
        Ok(())
    },
};

/// Microseconds since local midnight; wraps round it when `from > to`.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: i64,
    to: i64,
}

impl Window {
    /// Is an instant within, and until when does that hold? Within one stretch of constant
    /// offset the wall clock runs evenly.
    fn at(self, instant: i64, stretch: Stretch) -> (bool, i64) {
        let clock = instant.saturating_add(stretch.offset_us).rem_euclid(DAY_US);
        let within = if self.from < self.to {
            self.from <= clock && clock < self.to
        } else {
            clock >= self.from || clock < self.to
        };
        let edge = if within { self.to } else { self.from };
        let wait = if edge > clock { edge - clock } else { edge + DAY_US - clock };
        (within, instant.saturating_add(wait).min(stretch.to))
    }
}

struct DailyTimeFilter {
    window: Window,
    input: Input,
    pass: Option<usize>,
    rest: Option<usize>,
}

impl Op for DailyTimeFilter {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if !stream.is_empty() {
            let out = |run: &mut Run<'_>, slot: Option<usize>| {
                slot.map_or_else(Stream::default, |slot| {
                    std::mem::take(&mut run.scratch.streams[slot])
                })
            };
            let (mut pass, mut rest) = (out(run, self.pass), out(run, self.rest));
            self.split(run, &stream, &mut pass, &mut rest)?;
            for (slot, stream) in [(self.pass, pass), (self.rest, rest)] {
                if let Some(slot) = slot {
                    run.scratch.streams[slot] = stream;
                }
            }
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

impl DailyTimeFilter {
    fn split(
        &self,
        run: &mut Run<'_>,
        stream: &Stream,
        pass: &mut Stream,
        rest: &mut Stream,
    ) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.input);
        if stream.ghost {
            let (within, _) = self.window.at(flow.start, run.scratch.calendar.stretch(flow.start));
            if within { pass.ghost = true } else { rest.ghost = true }
        }
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let at = flow.instant(unit);
                let (within, until) = self.window.at(at, run.scratch.calendar.stretch(at));
                let end = flow.units_before(until).clamp(unit + 1, span.end);
                let out = if within { &mut *pass } else { &mut *rest };
                out.push(Span { first: unit, end, ..*span });
                if out.spans.len() > SPANS_MAX {
                    return Err(SuspenseReason::Overflow);
                }
                unit = end;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const UTC: Stretch = Stretch { from: i64::MIN, to: i64::MAX, offset_us: 0 };

    fn at(window: Window, hours: i64) -> (bool, i64) {
        let (within, until) = window.at(hours * HOUR_US, UTC);
        (within, until / HOUR_US)
    }

    #[test]
    fn a_window_is_half_open() {
        let evening = Window { from: 19 * HOUR_US, to: DAY_US };
        assert_eq!(at(evening, 18), (false, 19));
        assert_eq!(at(evening, 19), (true, 24));
        assert_eq!(at(evening, 24), (false, 43));
        assert_eq!(at(evening, -1), (true, 0));
    }

    #[test]
    fn a_window_whose_from_is_later_than_its_to_wraps_round_midnight() {
        let night = Window { from: 22 * HOUR_US, to: 6 * HOUR_US };
        assert_eq!(at(night, 21), (false, 22));
        assert_eq!(at(night, 23), (true, 30));
        assert_eq!(at(night, 5), (true, 6));
        assert_eq!(at(night, 6), (false, 22));
    }

    #[test]
    fn no_answer_holds_past_a_change_of_the_clocks() {
        let evening = Window { from: 19 * HOUR_US, to: DAY_US };
        let short = Stretch { to: 20 * HOUR_US, ..UTC };
        assert_eq!(evening.at(19 * HOUR_US, short), (true, 20 * HOUR_US));
    }
}
