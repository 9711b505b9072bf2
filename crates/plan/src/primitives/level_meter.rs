//! LevelMeter: bills a level that holds until the next statement: storage held, addresses in use
//! (docs/plan-semantics.md section 8).
//!
//! Time is cut where a period begins and where a subscription does. For each piece it keeps the level
//! in force, since when, and what was integrated until then; a piece in which nothing was stated has
//! the level of the one before. The close of a billing cycle bills the periods that end with it, each
//! over all subscriptions that held something in it, and hands the last level on, so that old pieces
//! may be forgotten. Statements for the next period come before this one is billed; each has its own
//! pieces, so both are right.

use turnpike_types::{SuspenseReason, Timestamp};

use crate::build::Builder;
use crate::calendar::Span as PeriodSpan;
use crate::error::Cause;
use crate::graph::Primitive;
use crate::measure::Quantity;
use crate::remembered::{Holds, Meaning, Per};
use crate::run::{Calendared, ChargeOut, Event, Input, Op, Run};
use crate::spec::{
    Built, CHARGE_OUT, ChildSpec, Role, Spec, Value, optional, required, usage_in, with_default,
};
use crate::state::{Keep, Period, VariableId};
use crate::stream::Stream;

use super::accumulators::{WEEKDAY, week_of};
use super::recurring_charges::CURRENCY;
use super::steps::{Tiers, Total};

/// What pieces are named by: the number of the five minutes in which they begin.
const INTERVAL_US: i64 = 300_000_000;

pub(super) static SPEC: Spec = Spec {
    name: "LevelMeter",
    help: "Bills each period the average, peak or last of a level that records state.",
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
            Value::Choice(&["billing-cycle", "month", "week", "day"]),
            "billing-cycle",
            "of how long a time one level is made",
        ),
        optional("starts", WEEKDAY, "the day with which weeks start, Mon unless told"),
        CURRENCY,
    ],
    children: &[ChildSpec {
        name: "step",
        at_least: 1,
        properties: &[
            required("id", Value::Id, "its name on lines and receipts"),
            optional("from", Value::Quantity, "where it begins: where the one before ends"),
            optional("upto", Value::Quantity, "the level at which it ends; the last step has none"),
            required("price", Value::Money, "what so much costs for a whole period"),
            required("per", Value::Quantity, "how much the price is for"),
        ],
        help: "a price from one level to another",
    }],
    role: Role::Plain,
    build,
};

const INSTANT: Meaning = Meaning::new(Holds::Instant, Per::Date);
const SINCE: Meaning = Meaning::new(Holds::Instant, Per::Interval);
const SUM: Meaning = Meaning::new(Holds::UnitTime, Per::Interval);

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let unit = builder.unit();
    let read = |text: &str| Quantity::parse(text).map(|quantity| quantity.base);
    let period = primitive.property("period");
    if primitive.property("starts").is_some() && period != Some("week") {
        let message = "starts: only weeks start on a day of choice: take it out";
        return Err(builder.refuse(primitive.line, Cause::BadValue, message));
    }
    let op = LevelMeter {
        of: match primitive.property("of") {
            Some("peak") => Of::Peak,
            Some("last") => Of::Last,
            _ => Of::Average,
        },
        calendared: match period {
            Some("month") => Calendared::Month,
            Some("week") => week_of(primitive),
            Some("day") => Calendared::Day,
            _ => Calendared::Cycle,
        },
        tiers: Tiers::build(primitive, unit, read, builder)?,
        stated: builder.remember(Some("stated"), unit, Keep::Ever, INSTANT)?,
        billed: builder.remember(Some("billed"), unit, Keep::Ever, INSTANT)?,
        level: builder.variable(Some("level"), unit, Keep::Intervals)?,
        since: builder.remember(Some("since"), unit, Keep::Intervals, SINCE)?,
        sum: builder.remember(Some("sum"), unit, Keep::Intervals, SUM)?,
        peak: builder.variable(Some("peak"), unit, Keep::Intervals)?,
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
    calendared: Calendared,
    tiers: Tiers,
    /// The instant of the last statement, in microseconds.
    stated: VariableId,
    /// The instant before which everything is billed.
    billed: VariableId,
    /// By piece: the level in force, from which instant, and of the time before it, what levels
    /// come to, and the highest of them.
    level: VariableId,
    since: VariableId,
    sum: VariableId,
    peak: VariableId,
    input: Input,
    out: ChargeOut,
}

/// What is known of a piece of time.
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
            return Err(too_early(run, at, stated));
        }
        run.set(self.stated, Period::EVER, at.into())?;
        let billed = self.billed_before(run);
        // Where its time is billed, the level was handed on: there it is known from now on.
        if at < billed
            && let Some(open) = self.latest(run, Period(i32::MAX))
            && open >= piece(billed)?
        {
            return run.set(self.level, open, level);
        }
        let period = run.period(self.calendared, at);
        let begins = period.from.max(run.since);
        let begins = if at < billed { begins } else { begins.max(billed) };
        let until = self.metered(run, begins)?.until(at).ok_or(SuspenseReason::Overflow)?;
        self.keep(run, begins, Metered { level, ..until })
    }

    /// Bills the periods that end with a cycle, and hands the last level on.
    fn close(&self, run: &mut Run<'_>, cycle: PeriodSpan) -> Result<(), SuspenseReason> {
        let billed = self.billed_before(run);
        let open = cycle.from.max(billed);
        let mut reached = open;
        while reached < cycle.to {
            let period = run.period(self.calendared, reached);
            let Some(ends) = ends_by(run.held, period, cycle.to).filter(|&ends| ends > reached)
            else {
                break;
            };
            self.bill(run, period, (billed, ends))?;
            reached = ends;
            if period.to > cycle.to {
                break;
            }
        }
        if reached == open {
            return Ok(());
        }
        run.set(self.billed, Period::EVER, reached.into())?;
        self.hand_on(run, reached)
    }

    /// Bills what all subscriptions held in a period, from what is billed on.
    fn bill(
        &self,
        run: &mut Run<'_>,
        period: PeriodSpan,
        (billed, ends): (i64, i64),
    ) -> Result<(), SuspenseReason> {
        let mut whole = Metered::default();
        for &(since, until) in run.held {
            let (begins, ends) = (period.from.max(since).max(billed), ends.min(until));
            if begins >= ends {
                continue;
            }
            let piece = self.metered(run, begins)?.until(ends).ok_or(SuspenseReason::Overflow)?;
            let sum = whole.sum.checked_add(piece.sum).ok_or(SuspenseReason::Overflow)?;
            whole = Metered { sum, peak: whole.peak.max(piece.peak), ..piece };
        }
        let total = match self.of {
            Of::Average => {
                Total { top: whole.sum, over: i128::from(period.to) - i128::from(period.from) }
            }
            Of::Peak => Total::of(whole.peak),
            Of::Last => Total::of(whole.level),
        };
        self.tiers.book(run, self.out, total, period.period)
    }

    /// What is held at an instant is known there, whatever is forgotten of the time before.
    fn hand_on(&self, run: &mut Run<'_>, at: i64) -> Result<(), SuspenseReason> {
        let next = piece(at)?;
        match self.latest(run, next) {
            Some(before) if run.state.get(self.level, next).is_none() => {
                let level = run.value(self.level, before);
                self.keep(run, at, Metered { level, since: at, sum: 0, peak: 0 })
            }
            _ => Ok(()),
        }
    }

    /// A piece as it stands; where nothing was stated in it, with the level that came before: that
    /// of a subscription that ended goes on with the next one, not between.
    fn metered(&self, run: &Run<'_>, begins: i64) -> Result<Metered, SuspenseReason> {
        let piece = piece(begins)?;
        let Some(level) = run.state.get(self.level, piece) else {
            let before = self.latest(run, piece);
            let level = before.map_or(0, |before| run.value(self.level, before));
            return Ok(Metered { level, since: begins, sum: 0, peak: 0 });
        };
        let since = i64::try_from(run.value(self.since, piece)).unwrap_or(begins).max(begins);
        let (sum, peak) = (run.value(self.sum, piece), run.value(self.peak, piece));
        Ok(Metered { level, since, sum, peak })
    }

    /// The latest piece before `end` of which something is known.
    fn latest(&self, run: &Run<'_>, end: Period) -> Option<Period> {
        let known = run.state.between(self.level, Period::EVER, end);
        known.last().map(|entry| entry.period)
    }

    fn billed_before(&self, run: &Run<'_>) -> i64 {
        let billed = run.state.get(self.billed, Period::EVER);
        billed.and_then(|billed| i64::try_from(billed).ok()).unwrap_or(i64::MIN)
    }

    fn keep(&self, run: &mut Run<'_>, begins: i64, metered: Metered) -> Result<(), SuspenseReason> {
        let piece = piece(begins)?;
        run.set(self.level, piece, metered.level)?;
        run.set(self.since, piece, metered.since.into())?;
        run.set(self.sum, piece, metered.sum)?;
        run.set(self.peak, piece, metered.peak)
    }
}

/// Refuses a statement that comes before the last one.
#[cold]
fn too_early(run: &Run<'_>, at: i64, stated: Option<i128>) -> SuspenseReason {
    let stated = stated.and_then(|stated| i64::try_from(stated).ok()).unwrap_or(i64::MAX);
    let [at, stated] = [at, stated].map(|at| run.account.zone.show(Timestamp(at)));
    let about = format_args!("{at} is before the last statement, {stated}");
    run.refuse(SuspenseReason::OutOfOrder, about)
}

/// Until when a period can be billed with a cycle that ends at `closes`: to its end; where nothing is
/// held in it past the cycle, until the last subscription ends. `None`: a later cycle bills it.
fn ends_by(held: &[(i64, i64)], period: PeriodSpan, closes: i64) -> Option<i64> {
    if period.to <= closes {
        return Some(period.to);
    }
    let in_it = held.iter().filter(|(since, _)| *since < period.to);
    in_it.map(|&(_, until)| until).max().filter(|&until| until <= closes)
}

/// The piece of time that begins at an instant.
fn piece(begins: i64) -> Result<Period, SuspenseReason> {
    let number = i32::try_from(begins.div_euclid(INTERVAL_US));
    number.map(Period).map_err(|_| SuspenseReason::Overflow)
}
