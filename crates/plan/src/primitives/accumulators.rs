//! The accumulators: they count the units that pass in each period
//! (docs/plan-semantics.md sections 2 and 4).

use turnpike_types::SuspenseReason;

use crate::calendar::period::Period;
use crate::calendar::periods::Calendared;
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::spec::{OutputSpec, Role, Spec, TOTAL_OUT, usage_in, usage_out, with_default};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{Counted, Total, UsageInput};
use crate::machine::stream::Span;

use super::parts::weekdays::{WEEKDAY, week_of};

const OUTPUTS: &[OutputSpec] = &[usage_out("out"), TOTAL_OUT];

pub(super) static MONTHLY: Definition = Definition {
    spec: Spec {
        name: "MonthlyAccumulator",
        help: "Counts the units that pass in each calendar month; other primitives read its total.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[],
        children: &[],
        role: Role::Plain,
    },
    build: |_, builder| build(Calendared::Month, builder),
};

pub(super) static BILLING_CYCLE: Definition = Definition {
    spec: Spec {
        name: "BillingCycleAccumulator",
        help: "Counts the units that pass in each billing cycle; other primitives read its total.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[],
        children: &[],
        role: Role::Plain,
    },
    build: |_, builder| build(Calendared::Cycle, builder),
};

pub(super) static WEEKLY: Definition = Definition {
    spec: Spec {
        name: "WeeklyAccumulator",
        help: "Counts the units that pass in each week; other primitives read its total.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[with_default("starts", WEEKDAY, "Mon", "the first day of a week")],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| build(week_of(primitive), builder),
};

pub(super) static DAILY: Definition = Definition {
    spec: Spec {
        name: "DailyAccumulator",
        help: "Counts the units that pass on each local date; other primitives read its total.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[],
        children: &[],
        role: Role::Plain,
    },
    build: |_, builder| build(Calendared::Day, builder),
};

fn build(calendared: Calendared, builder: &mut Builder<'_>) -> Built {
    let shared = builder.share("in", "out");
    let op = Accumulator {
        total: builder.accumulator(calendared)?,
        is_read: builder.is_read(),
        input: builder.input("in"),
        out: if shared { None } else { builder.output("out") },
    };
    builder.op(op);
    Ok(())
}

struct Accumulator {
    total: Total,
    is_read: bool,
    input: UsageInput,
    /// The stream to which the input is copied; `None` if the consumers read the input's own
    /// stream.
    out: Option<usize>,
}

impl Op for Accumulator {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        run.read(&self.input)?;
        match run.single(&self.input) {
            Some(span) => self.count_single(run, span),
            None => self.count_any(run),
        }
    }
}

impl Accumulator {
    /// Handles the common case of one range of units within one period.
    #[inline]
    fn count_single(&self, run: &mut Evaluation<'_>, span: Span) -> Result<(), SuspenseReason> {
        run.put(self.out, span);
        let Some(period) = run.only_period(self.total.calendared, &self.input) else {
            return self.count(run, &[span]);
        };
        let level = run.value(self.total.variable, period);
        if self.is_read {
            let counted = Counted { span, level, period };
            run.scratch.traces[self.total.trace].push(counted);
        }
        let after = span.count().and_then(|count| level.checked_add(count));
        run.set(self.total.variable, period, after.ok_or(SuspenseReason::Overflow)?)
    }

    /// Handles the general case of any number of ranges of units.
    #[inline(never)]
    fn count_any(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(out) = self.out {
            run.scratch.streams[out].copy_from(&stream);
        }
        self.count(run, &stream.spans)?;
        run.give(&self.input, stream);
        Ok(())
    }

    /// Counts each period in turn. Units are in order of time, so their periods are too.
    #[inline(never)]
    fn count(&self, run: &mut Evaluation<'_>, spans: &[Span]) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.input);
        let (mut period, mut level) = (None, 0i128);
        for span in spans {
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
        run: &mut Evaluation<'_>,
        period: Option<Period>,
        value: i128,
    ) -> Result<(), SuspenseReason> {
        match period {
            Some(period) => run.set(self.total.variable, period, value),
            None => Ok(()),
        }
    }
}
