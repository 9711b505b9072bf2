//! LevelMeter: bills a level that stays in force until a record states the next one, such as used
//! storage or assigned addresses (docs/plan-semantics.md section 8).
//!
//! Time is split into pieces: the parts of each period that lie within one subscription. The state
//! of a piece is the level in force, the instant from which it is in force, and the integral and
//! the peak of the levels before that instant. A piece in which no record states a level starts
//! with the level of the piece before. The close of a billing cycle bills the periods that end with
//! the cycle, each over all subscriptions that were active in it. It also copies the last level
//! into the next piece, so that old pieces can be dropped. A record that states a level in the next
//! period can arrive before the current period is billed; it changes another piece, so both periods
//! are billed correctly.

use turnpike_types::{SuspenseReason, Timestamp};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendared, PeriodSpan};
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::measure::Quantity;
use crate::language::spec::{
    CHARGE_OUT, ChildSpec, Role, Spec, Value, optional, required, usage_in, with_default,
};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::places::{ChargeOut, UsageInput};
use crate::machine::meaning::{Holds, Meaning, Per};
use crate::machine::state::{Keep, VariableId};
use crate::machine::stream::Stream;

use super::parts::charging::CURRENCY;
use super::parts::steps::{ExactUnits, Tiers};
use super::parts::weekdays::{WEEKDAY, week_of};

/// A piece (the part of a period within one subscription) is stored under the number of the
/// five-minute interval in which it begins.
const INTERVAL_US: i64 = 300_000_000;

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "LevelMeter",
        help: "Bills the average, peak or last value in each period of a level that records state.",
        inputs: &[usage_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[
            with_default(
                "of",
                Value::Choice(&["average", "peak", "last"]),
                "average",
                "the value of the level that is billed",
            ),
            with_default(
                "period",
                Value::Choice(&["billing-cycle", "month", "week", "day"]),
                "billing-cycle",
                "the period over which the level is evaluated",
            ),
            optional("starts", WEEKDAY, "the first day of a week; the default is Mon"),
            CURRENCY,
        ],
        children: &[ChildSpec {
            name: "step",
            at_least: 1,
            properties: &[
                required("id", Value::Id, "the name of the step on lines and receipts"),
                optional(
                    "from",
                    Value::Quantity,
                    "the level at which the step begins, which is the end of the step before",
                ),
                optional(
                    "upto",
                    Value::Quantity,
                    "the level at which the step ends; the last step has no end",
                ),
                required("price", Value::Money, "the price of one per for a whole period"),
                required("per", Value::Quantity, "the quantity that the price is for"),
            ],
            help: "the price of a range of levels",
        }],
        role: Role::Plain,
    },
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
        let message = "starts: it applies to weeks only: take it out";
        return Err(builder.refuse(primitive.line, Cause::BadValue, message));
    }
    let op = LevelMeter {
        of: match primitive.property("of") {
            Some("peak") => LevelStatistic::Peak,
            Some("last") => LevelStatistic::Last,
            _ => LevelStatistic::Average,
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
enum LevelStatistic {
    Average,
    Peak,
    Last,
}

struct LevelMeter {
    of: LevelStatistic,
    calendared: Calendared,
    tiers: Tiers,
    /// The start of the last record that stated a level, in microseconds.
    stated: VariableId,
    /// The instant up to which all time is billed.
    billed: VariableId,
    /// For each piece (the part of a period within one subscription): the level in force, the
    /// instant from which it is in force, and the integral and the peak of the levels before that
    /// instant.
    level: VariableId,
    since: VariableId,
    sum: VariableId,
    peak: VariableId,
    input: UsageInput,
    out: ChargeOut,
}

/// The state of a piece: the part of a period within one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Metered {
    /// The level in force from `since` on.
    level: i128,
    since: i64,
    /// The integral of the levels before `since`, in units times microseconds.
    sum: i128,
    /// The peak of the levels before `since`.
    peak: i128,
}

impl Metered {
    /// Continues the level in force up to an instant, and adds it to the integral and the peak. A
    /// level that was in force for no time does not count. `None` on overflow.
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
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
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
    /// Applies a record: from its start on, the level is the number of its units.
    fn state(&self, run: &mut Evaluation<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
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
        let billed = self.billed_before(run)?;
        // The time of the record is billed already, so its level replaces the level that the close
        // copied into the open piece.
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

    /// Bills the periods that end with a cycle, and copies the last level into the part of time
    /// that follows.
    fn close(&self, run: &mut Evaluation<'_>, cycle: PeriodSpan) -> Result<(), SuspenseReason> {
        let billed = self.billed_before(run)?;
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

    /// Bills the levels of all subscriptions in a period, from the instant `billed` on.
    fn bill(
        &self,
        run: &mut Evaluation<'_>,
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
            LevelStatistic::Average => {
                ExactUnits { top: whole.sum, over: i128::from(period.to) - i128::from(period.from) }
            }
            LevelStatistic::Peak => ExactUnits::of(whole.peak),
            LevelStatistic::Last => ExactUnits::of(whole.level),
        };
        self.tiers.book(run, self.out, total, period.period)
    }

    /// Stores the level at an instant for the piece that begins there (the part of a period within
    /// one subscription), so that earlier pieces can be dropped.
    fn hand_on(&self, run: &mut Evaluation<'_>, at: i64) -> Result<(), SuspenseReason> {
        let next = piece(at)?;
        match self.latest(run, next) {
            Some(before) if run.state.get(self.level, next).is_none() => {
                let level = run.value(self.level, before);
                self.keep(run, at, Metered { level, since: at, sum: 0, peak: 0 })
            }
            _ => Ok(()),
        }
    }

    /// The state of the piece that begins at an instant (the part of a period within one
    /// subscription). If no level is stored for it, it begins with the last level before. The level
    /// of an ended subscription continues when the next subscription begins, but is not in force
    /// between the two.
    fn metered(&self, run: &Evaluation<'_>, begins: i64) -> Result<Metered, SuspenseReason> {
        let piece = piece(begins)?;
        let Some(level) = run.state.get(self.level, piece) else {
            let before = self.latest(run, piece);
            let level = before.map_or(0, |before| run.value(self.level, before));
            return Ok(Metered { level, since: begins, sum: 0, peak: 0 });
        };
        let since = i64::try_from(run.value(self.since, piece));
        let since = since.map_err(|_| SuspenseReason::Overflow)?.max(begins);
        let (sum, peak) = (run.value(self.sum, piece), run.value(self.peak, piece));
        Ok(Metered { level, since, sum, peak })
    }

    /// The latest piece (part of a period within one subscription) that begins before `end` and for
    /// which a level is stored.
    fn latest(&self, run: &Evaluation<'_>, end: Period) -> Option<Period> {
        let known = run.state.between(self.level, Period::EVER, end);
        known.last().map(|entry| entry.period)
    }

    /// The instant up to which the level was billed; the beginning of time if it was not yet.
    fn billed_before(&self, run: &Evaluation<'_>) -> Result<i64, SuspenseReason> {
        let Some(billed) = run.state.get(self.billed, Period::EVER) else { return Ok(i64::MIN) };
        i64::try_from(billed).map_err(|_| SuspenseReason::Overflow)
    }

    fn keep(
        &self,
        run: &mut Evaluation<'_>,
        begins: i64,
        metered: Metered,
    ) -> Result<(), SuspenseReason> {
        let piece = piece(begins)?;
        run.set(self.level, piece, metered.level)?;
        run.set(self.since, piece, metered.since.into())?;
        run.set(self.sum, piece, metered.sum)?;
        run.set(self.peak, piece, metered.peak)
    }
}

/// Refuses a record that states a level for an instant before that of the last such record.
#[cold]
fn too_early(run: &Evaluation<'_>, at: i64, stated: Option<i128>) -> SuspenseReason {
    let show = |at| run.account.zone.show(Timestamp(at));
    let stated = stated.and_then(|stated| i64::try_from(stated).ok()).map(show);
    let stated = stated.as_deref().map_or(String::new(), |stated| format!(", {stated}"));
    let about = format_args!("{} is before the last statement{stated}", show(at));
    run.refuse(SuspenseReason::OutOfOrder, about)
}

/// The instant up to which a period can be billed with a cycle that ends at `closes`: the end of
/// the period or, if no subscription is active in it after the cycle, the end of the last
/// subscription. `None` if a later cycle bills the period.
fn ends_by(held: &[(i64, i64)], period: PeriodSpan, closes: i64) -> Option<i64> {
    if period.to <= closes {
        return Some(period.to);
    }
    let in_it = held.iter().filter(|(since, _)| *since < period.to);
    in_it.map(|&(_, until)| until).max().filter(|&until| until <= closes)
}

/// The key of the piece (the part of a period within one subscription) that begins at an instant.
fn piece(begins: i64) -> Result<Period, SuspenseReason> {
    let number = i32::try_from(begins.div_euclid(INTERVAL_US));
    number.map(Period).map_err(|_| SuspenseReason::Overflow)
}
