//! Prices parts of a record, each by its step.

use turnpike_types::{Money, SuspenseReason};

use crate::calendar::period::Period;
use crate::language::price::Price;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{ChargeOut, StepPortion, Total, UsageInput};
use crate::machine::ladder::Sorter;
use crate::machine::level;
use crate::machine::lines::ChargeLine;
use crate::machine::state::VariableId;
use crate::machine::stream::{Span, Stream};

/// The way in which a part's units are priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each unit has the price of its own step.
    Graduated,
    /// All units of the period have the price of the step that was reached.
    Volume,
    /// The price is for packages of `per` units. A package is charged with its first unit.
    Package,
}

pub(super) struct Step {
    /// The level at which the step begins.
    pub(super) start: i128,
    pub(super) component: u16,
    /// The price of a unit; in mode package, of a package.
    pub(super) price: Price,
    /// The units of a package; 1 in other modes.
    pub(super) per: i128,
    pub(super) constant: Option<Constant>,
    /// The component of the correction that a change to this step books, in mode volume.
    pub(super) correction: Option<u16>,
}

/// A fixed amount that is charged with the step's first unit: once per period of the level, or once
/// per record.
pub(super) struct Constant {
    pub(super) component: u16,
    pub(super) amount: Money,
    /// The variable that records the periods in which the amount was charged; `None` without a
    /// level.
    pub(super) variable: Option<VariableId>,
    /// Whether the amount is charged with the record's first unit only.
    pub(super) per_call: bool,
}

pub(super) struct StepRater {
    pub(super) mode: Mode,
    /// Whether lines are differences of rounded running totals.
    pub(super) running: bool,
    /// The level at which each step ends; `None` if the step has no end.
    pub(super) bounds: Vec<Option<i128>>,
    pub(super) steps: Vec<Step>,
    pub(super) total: Option<Total>,
    /// Whether the accumulator counts exactly the units of this input.
    pub(super) is_counted: bool,
    pub(super) input: UsageInput,
    pub(super) rest: Option<usize>,
    pub(super) out: ChargeOut,
}

impl Op for StepRater {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        run.read(&self.input)?;
        if let Some(span) = run.single(&self.input)
            && self.run_single(run, span)?
        {
            return Ok(());
        }
        self.run_any(run)
    }
}

impl StepRater {
    /// Handles the general case of any number of ranges of units.
    #[inline(never)]
    fn run_any(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if stream.is_empty() {
            run.give(&self.input, stream);
            return Ok(());
        }
        let mut parts = std::mem::take(&mut run.scratch.parts);
        let mut rest = match self.rest {
            Some(slot) => std::mem::take(&mut run.scratch.streams[slot]),
            None => Stream::default(),
        };
        parts.clear();
        let mut sorter = Sorter { bounds: &self.bounds, parts: &mut parts, rest: &mut rest };
        if stream.zero_quantity {
            sorter.zero_quantity(&stream, level::of_zero_quantity(self.total, run, &self.input));
        }
        let mut begins = stream.spans.first().is_some_and(Span::begins_record);
        let sort = |span, ladder, period| sorter.sort(span, ladder, period);
        match self.total {
            Some(total) => level::by_total(total, run, &self.input, &stream, sort)?,
            None => level::by_count(&stream, sort)?,
        }
        parts.sort_unstable_by_key(|part| (part.first_unit, part.step));
        for part in &parts {
            self.book(run, part, std::mem::take(&mut begins))?;
        }
        run.scratch.parts = parts;
        if let Some(slot) = self.rest {
            run.scratch.streams[slot] = rest;
        }
        run.give(&self.input, stream);
        Ok(())
    }

    /// Handles the common case: one range of units in one period, in which each step prices whole
    /// units. Returns `false`, and books no line, in all other cases.
    fn run_single(&self, run: &mut Evaluation<'_>, mut span: Span) -> Result<bool, SuspenseReason> {
        let (mut before, period) = match self.total {
            None => (0, Period::EVER),
            Some(total) => match *run.scratch.traces[total.trace].as_slice() {
                [counted] if self.is_counted || counted.span == span => {
                    (counted.level, counted.period)
                }
                _ => return Ok(false),
            },
        };
        let mut begins = span.begins_record();
        let first = self.bounds.iter().position(|upto| upto.is_none_or(|upto| before < upto));
        for step in first.unwrap_or(self.bounds.len())..self.bounds.len() {
            let mut quantity = span.count().ok_or(SuspenseReason::Overflow)?;
            let mut after = before.checked_add(quantity).ok_or(SuspenseReason::Overflow)?;
            let over = self.bounds[step].filter(|&upto| upto < after);
            if let Some(upto) = over {
                // Each unit counts several times (behind a `Weigher`), so a step may end within a
                // unit.
                if span.copies != 1 {
                    return Ok(false);
                }
                (quantity, after) = (upto - before, upto);
            }
            let part =
                StepPortion { step, period, quantity, first_unit: span.first, before, after };
            self.book(run, &part, std::mem::take(&mut begins))?;
            if over.is_none() {
                return Ok(true);
            }
            // `quantity` is less than the number of units in the span, so it fits in 64 bits.
            span.first += i64::try_from(quantity).map_err(|_| SuspenseReason::Overflow)?;
            before = after;
        }
        run.put(self.rest, span);
        Ok(true)
    }

    /// Books the correction for a change to the step, the line of the part's units, and the
    /// constant. `begins` is whether the part begins with the record's first unit.
    #[inline(always)]
    fn book(
        &self,
        run: &mut Evaluation<'_>,
        part: &StepPortion,
        begins: bool,
    ) -> Result<(), SuspenseReason> {
        let step = &self.steps[part.step];
        let fixed = |run: &Evaluation<'_>, component, amount| {
            run.fixed(component, amount, part.period, part.first_unit)
        };
        let levels = |before, after| if self.total.is_some() { (before, after) } else { (0, 0) };
        if step.correction.is_some()
            && let Some((component, amount)) = self.correction(part)?
        {
            let (level_before, level_after) = levels(part.before, part.before);
            let line = ChargeLine { level_before, level_after, ..fixed(run, component, amount) };
            run.book(self.out, line)?;
        }
        let amount = self.amount(part).ok_or(SuspenseReason::Overflow)?;
        let (level_before, level_after) = levels(part.before, part.after);
        let line = ChargeLine {
            quantity: part.quantity,
            level_before,
            level_after,
            ..fixed(run, step.component, amount)
        };
        run.book(self.out, line)?;
        match &step.constant {
            Some(constant) if begins || !constant.per_call => {
                self.book_constant(run, part, constant)
            }
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn book_constant(
        &self,
        run: &mut Evaluation<'_>,
        part: &StepPortion,
        &Constant { component, amount, variable, .. }: &Constant,
    ) -> Result<(), SuspenseReason> {
        let line =
            |run: &Evaluation<'_>| run.fixed(component, amount, part.period, part.first_unit);
        if let Some(variable) = variable {
            return run.charge_once(variable, part.period, self.out, line);
        }
        let line = line(run);
        run.book(self.out, line).map(drop)
    }

    /// The price of the part's units, rounded once; `None` on overflow.
    #[inline(always)]
    fn amount(&self, part: &StepPortion) -> Option<Money> {
        if self.mode == Mode::Package || self.running {
            return self.amount_by_level(part);
        }
        self.steps[part.step].price.of(part.quantity)
    }

    /// The price of the packages begun by the part's units, or the difference of running totals;
    /// `None` on overflow.
    #[inline(never)]
    fn amount_by_level(&self, part: &StepPortion) -> Option<Money> {
        let step = &self.steps[part.step];
        let (before, after) = match self.mode {
            Mode::Graduated => {
                (part.before.checked_sub(step.start)?, part.after.checked_sub(step.start)?)
            }
            // The correction has repriced the units of earlier steps at this step's price.
            Mode::Volume => (part.before, part.after),
            Mode::Package => {
                let begun = |level: i128| {
                    let units = level.checked_sub(step.start)?;
                    let whole = units.div_euclid(step.per);
                    whole.checked_add(i128::from(units.rem_euclid(step.per) != 0))
                };
                let (before, after) = (begun(part.before)?, begun(part.after)?);
                if !self.running {
                    return step.price.of(after.checked_sub(before)?);
                }
                (before, after)
            }
        };
        difference(step.price.of(after)?, step.price.of(before)?)
    }

    /// The correction if the part's first unit is the first of its step: the price of all units
    /// before it at this step's price, less their price at the price of the step before. This rater
    /// priced all of these units (docs/plan-semantics.md section 4).
    fn correction(&self, part: &StepPortion) -> Result<Option<(u16, Money)>, SuspenseReason> {
        let step = &self.steps[part.step];
        let Some(component) = step.correction else { return Ok(None) };
        let before = part.step.checked_sub(1).and_then(|place| self.steps.get(place));
        let Some(before) = before else { return Ok(None) };
        if part.before != step.start {
            return Ok(None);
        }
        let prices = step.price.of(step.start).zip(before.price.of(step.start));
        let amount = prices.and_then(|(now, then)| difference(now, then));
        Ok(Some((component, amount.ok_or(SuspenseReason::Overflow)?)))
    }
}

fn difference(later: Money, earlier: Money) -> Option<Money> {
    Money::from_nanos(later.nanos().checked_sub(earlier.nanos())?)
}
