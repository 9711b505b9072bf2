//! LevelMeter: bills a level that holds until the next statement: storage held, addresses in use
//! (PLANS section 8).
//!
//! For each cycle it keeps the level in force, since when, and what was integrated until then. The
//! close of a cycle hands its last level on to the next, so that a cycle never needs more than the
//! one before it. Statements for the next cycle come before this one is closed; each cycle has its
//! own, so both are right.

use turnpike_types::SuspenseReason;

use crate::build::Builder;
use crate::calendar::Span as PeriodSpan;
use crate::graph::Primitive;
use crate::measure::Quantity;
use crate::run::{Calendared, ChargeOut, Event, Input, Op, Run};
use crate::spec::{
    Built, CHARGE_OUT, ChildSpec, Role, Spec, Value, optional, required, usage_in, with_default,
};
use crate::state::{Keep, Period, VariableId};
use crate::stream::Stream;

use super::recurring_charges::CURRENCY;
use super::steps::Tiers;

pub(super) static SPEC: Spec = Spec {
    name: "LevelMeter",
    help: "Bills each billing cycle the average, peak or last of a level that records state.",
    inputs: &[usage_in("in")],
    outputs: &[CHARGE_OUT],
    properties: &[
        with_default(
            "of",
            Value::Choice(&["average", "peak", "last"]),
            "average",
            "what is billed",
        ),
        with_default(
            "period",
            Value::Choice(&["billing-cycle"]),
            "billing-cycle",
            "of how long a time one level is made",
        ),
        CURRENCY,
    ],
    children: &[ChildSpec {
        name: "step",
        at_least: 1,
        properties: &[
            required("id", Value::Id, "its name on lines and receipts"),
            optional("from", Value::Quantity, "where it begins: where the one before ends"),
            optional("upto", Value::Quantity, "the level at which it ends; the last step has none"),
            required("price", Value::Money, "what so much costs for a billing cycle"),
            required("per", Value::Quantity, "how much the price is for"),
        ],
        help: "a price from one level to another",
    }],
    role: Role::Plain,
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let unit = builder.unit();
    let read = |text: &str| Quantity::parse(text).map(|quantity| quantity.base);
    let op = LevelMeter {
        of: match primitive.property("of") {
            Some("peak") => Of::Peak,
            Some("last") => Of::Last,
            _ => Of::Average,
        },
        tiers: Tiers::build(primitive, unit, read, builder)?,
        stated: builder.variable(Some("stated"), unit, Keep::Ever)?,
        level: builder.variable(Some("level"), unit, Keep::Horizon)?,
        since: builder.variable(Some("since"), unit, Keep::Horizon)?,
        sum: builder.variable(Some("sum"), unit, Keep::Horizon)?,
        peak: builder.variable(Some("peak"), unit, Keep::Horizon)?,
        input: builder.input("in"),
        out: builder.charge_out("charge"),
    };
    builder.closes();
    builder.op(op);
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Average,
    Peak,
    Last,
}

struct LevelMeter {
    of: Of,
    tiers: Tiers,
    /// The instant of the last statement, in microseconds.
    stated: VariableId,
    /// By cycle: the level in force, from which instant, and of the time before it, what levels
    /// come to, and the highest of them.
    level: VariableId,
    since: VariableId,
    sum: VariableId,
    peak: VariableId,
    input: Input,
    out: ChargeOut,
}

/// What is known of a cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Metered {
    /// In force from `since` on.
    level: i128,
    since: i64,
    /// Units times microseconds, before `since`.
    sum: i128,
    /// Of the levels before `since`.
    peak: i128,
}

impl Metered {
    /// The level goes on until an instant. What was held for no time counts in nothing.
    fn until(self, at: i64) -> Option<Self> {
        if at <= self.since {
            return Some(self);
        }
        let time = i128::from(at).checked_sub(i128::from(self.since))?;
        let sum = self.sum.checked_add(self.level.checked_mul(time)?)?;
        Some(Self { since: at, sum, peak: self.peak.max(self.level), ..self })
    }
}

impl Op for LevelMeter {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        if let Event::Close(cycle) = *run.event {
            return self.close(run, cycle);
        }
        let stream = run.take(&self.input)?;
        let taken = if stream.is_empty() { Ok(()) } else { self.state(run, &stream) };
        run.give(&self.input, stream);
        taken
    }
}

impl LevelMeter {
    /// A record states the level at its start: as many as it has units.
    fn state(&self, run: &mut Run<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
        let at = run.flow(&self.input).start;
        let level = stream
            .spans
            .iter()
            .try_fold(0i128, |sum, span| sum.checked_add(span.count()?))
            .ok_or(SuspenseReason::Overflow)?;
        let stated = run.state.get(self.stated, Period::EVER);
        if stated.is_some_and(|stated| i128::from(at) < stated) {
            return Err(SuspenseReason::OutOfOrder);
        }
        run.set(self.stated, Period::EVER, at.into())?;
        let cycle = run.period(Calendared::Cycle, at);
        // Where its cycle is closed, a later one has begun: there the level is known from now on.
        if let Some(open) = self.latest(run, Period(i32::MAX)).filter(|open| cycle.period < *open) {
            return run.set(self.level, open, level);
        }
        let until = self.metered(run, cycle).until(at).ok_or(SuspenseReason::Overflow)?;
        self.keep(run, cycle.period, Metered { level, ..until })
    }

    /// Bills a cycle, and hands its last level on.
    fn close(&self, run: &mut Run<'_>, cycle: PeriodSpan) -> Result<(), SuspenseReason> {
        let ends = cycle.to.min(run.cancelled);
        let metered = self.metered(run, cycle).until(ends).ok_or(SuspenseReason::Overflow)?;
        let length = i128::from(cycle.to) - i128::from(cycle.from);
        let billed = match self.of {
            Of::Average => metered.sum.checked_div(length).ok_or(SuspenseReason::Overflow)?,
            Of::Peak => metered.peak,
            Of::Last => metered.level,
        };
        let next = run.period(Calendared::Cycle, cycle.to).period;
        let is_known = run.state.get(self.level, next).is_some();
        if !is_known && self.latest(run, next).is_some() {
            let handed_on = Metered { level: metered.level, since: cycle.to, sum: 0, peak: 0 };
            self.keep(run, next, handed_on)?;
        }
        self.tiers.book(run, self.out, billed, cycle.period)
    }

    /// A cycle as it stands; where nothing was stated in it, with the level that came before.
    fn metered(&self, run: &Run<'_>, cycle: PeriodSpan) -> Metered {
        let value = |variable, period| run.value(variable, period);
        if run.state.get(self.level, cycle.period).is_none() {
            let before = self.latest(run, cycle.period);
            let level = before.map_or(0, |before| value(self.level, before));
            // A level of a subscription that ended goes on with the next one, not between.
            return Metered { level, since: cycle.from.max(run.since), sum: 0, peak: 0 };
        }
        let since = i64::try_from(value(self.since, cycle.period)).unwrap_or(cycle.from);
        Metered {
            level: value(self.level, cycle.period),
            since: since.max(cycle.from).max(run.since),
            sum: value(self.sum, cycle.period),
            peak: value(self.peak, cycle.period),
        }
    }

    /// The latest cycle before `end` of which something is known.
    fn latest(&self, run: &Run<'_>, end: Period) -> Option<Period> {
        let known = run.state.between(self.level, Period::EVER, end);
        known.last().map(|entry| entry.period)
    }

    fn keep(
        &self,
        run: &mut Run<'_>,
        cycle: Period,
        metered: Metered,
    ) -> Result<(), SuspenseReason> {
        run.set(self.level, cycle, metered.level)?;
        run.set(self.since, cycle, metered.since.into())?;
        run.set(self.sum, cycle, metered.sum)?;
        run.set(self.peak, cycle, metered.peak)
    }
}
