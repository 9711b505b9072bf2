//! MonthlyAccumulator: counts the units that pass, month by month (PLANS sections 2 and 4).

use turnpike_types::SuspenseReason;

use crate::run::{Calendared, Counted, Input, Op, Run, Total};
use crate::spec::{Carries, Open, OutputSpec, Spec, usage_in, usage_out};
use crate::state::{Period, StateEntry};
use crate::stream::{PORTIONS_MAX, Span, Stream};

pub(super) static SPEC: Spec = Spec {
    name: "MonthlyAccumulator",
    help: "Counts the units that pass in each calendar month; raters read its total.",
    inputs: &[usage_in("in")],
    outputs: &[
        usage_out("out"),
        OutputSpec { name: "total", carries: Carries::Level, open: Open::Always },
    ],
    properties: &[],
    children: &[],
    build: |_, builder| {
        let op = Accumulator {
            total: builder.accumulator(Calendared::Month)?,
            is_read: builder.is_read(),
            input: builder.input("in"),
            out: builder.output("out"),
        };
        builder.op(op);
        Ok(())
    },
};

struct Accumulator {
    total: Total,
    is_read: bool,
    input: Input,
    out: Option<usize>,
}

impl Op for Accumulator {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(out) = self.out {
            run.scratch.streams[out].copy_from(&stream);
        }
        self.count(run, &stream)?;
        run.give(&self.input, stream);
        Ok(())
    }
}

impl Accumulator {
    /// Counts period by period. Units come in order of time, so periods do too.
    fn count(&self, run: &mut Run<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.input);
        let (mut period, mut level) = (None, 0i128);
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let here = run.period(self.total.calendared, flow.instant(unit));
                if period != Some(here.period) {
                    self.keep(run, period, level)?;
                    period = Some(here.period);
                    level = run.state.get(self.total.variable, here.period).unwrap_or(0);
                }
                let end = flow.units_before(here.to).clamp(unit + 1, span.end);
                let piece = Span { first: unit, end, ..*span };
                if self.is_read {
                    let counted = Counted { span: piece, level, period: here.period };
                    run.scratch.traces[self.total.trace].push(counted);
                }
                let after = piece.count().and_then(|count| level.checked_add(count));
                level = after.ok_or(SuspenseReason::Overflow)?;
                unit = end;
            }
        }
        self.keep(run, period, level)
    }

    fn keep(
        &self,
        run: &mut Run<'_>,
        period: Option<Period>,
        value: i128,
    ) -> Result<(), SuspenseReason> {
        if let Some(period) = period {
            if run.changes.len() >= PORTIONS_MAX {
                return Err(SuspenseReason::Overflow);
            }
            run.changes.push(StateEntry { variable: self.total.variable, period, value });
        }
        Ok(())
    }
}
