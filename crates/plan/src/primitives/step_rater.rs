//! StepRater: prices units by steps of a level (PLANS sections 2, 3 and 4).
//!
//! ```text
//!  level.rs    what level each unit reads      ladder.rs   runs of units -> parts, one a step
//!  steps.rs    bounds and prices               here        parts -> lines, by mode
//! ```
//!
//! Graduated prices a part by its units alone. The other ways price it by the level before it and
//! after it, so the level must count what is priced and nothing else: then a part's units are just
//! those between the two.

use turnpike_types::{Money, SuspenseReason};

use crate::build::Builder;
use crate::code::{Component, ComponentKind};
use crate::error::Cause;
use crate::graph::{Child, Link, Primitive};
use crate::ladder::Sorter;
use crate::level;
use crate::measure::Quantity;
use crate::price::Price;
use crate::run::{ChargeOut, Input, Op, Part, Run, Total};
use crate::spec::{
    CHARGE_OUT, Carries, ChildSpec, LEVEL_IN, Open, OutputSpec, Refused, Role, Spec, Value,
    optional, required, usage_in, with_default,
};
use crate::state::{Keep, Period, VariableId};
use crate::stream::{Span, Stream};

use super::recurring_charges::CURRENCY;
use super::steps;

pub(super) static SPEC: Spec = Spec {
    name: "StepRater",
    help: "Prices units by steps of a level: an accumulator's total, or the count in the record.",
    inputs: &[usage_in("in"), LEVEL_IN],
    outputs: &[
        CHARGE_OUT,
        OutputSpec { name: "rest", carries: Carries::Usage, open: Open::When(has_no_end) },
    ],
    properties: &[
        with_default(
            "mode",
            Value::Choice(&["graduated", "volume", "package"]),
            "graduated",
            "each unit at its step's price; all at that of the step reached; by packages begun",
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
            required("price", Value::Money, "what so many units cost"),
            required("per", Value::Quantity, "how many units the price is for"),
            optional("constant", Value::Money, "added with the step's first unit"),
        ],
        help: "a price from one level to another",
    }],
    role: Role::Plain,
    build,
};

/// With an open-ended last step nothing is left to flow on.
fn has_no_end(primitive: &Primitive) -> bool {
    primitive.children.last().is_some_and(|step| step.property("upto").is_none())
}

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Result<(), Refused> {
    let total = builder.total("level");
    let mode = match primitive.property("mode") {
        Some("volume") => Mode::Volume,
        Some("package") => Mode::Package,
        _ => Mode::Graduated,
    };
    let running = builder.rounds_running();
    check_level(primitive, mode, running, builder)?;
    let bounds = steps::bounds(primitive, base, builder)?;
    let mut steps = Vec::with_capacity(bounds.len());
    let mut start = 0;
    for (child, bound) in primitive.children.iter().zip(&bounds) {
        let mut step = step(primitive, child, (mode, start), total, builder)?;
        // The first step is never changed to.
        if mode == Mode::Volume && !steps.is_empty() {
            step.correction = Some(correction(primitive, child, total, builder)?);
        }
        steps.push(step);
        start = bound.unwrap_or(start);
    }
    let input = builder.input("in");
    let op = StepRater {
        mode,
        running,
        bounds,
        steps,
        total,
        is_counted: total.is_some_and(|total| total.counts_just(&input)),
        input,
        rest: builder.output("rest"),
        out: builder.charge_out("charge"),
    };
    builder.op(op);
    Ok(())
}

/// How a part's units are priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// At the price of the step in which each is.
    Graduated,
    /// All units of the period at the price of the step reached.
    Volume,
    /// By packages of `per` units, each charged on its first unit.
    Package,
}

fn base(text: &str) -> Result<i128, String> {
    Quantity::parse(text).map(|quantity| quantity.base)
}

/// Where prices are read off the level, what it counts must be what is priced.
fn check_level(
    primitive: &Primitive,
    mode: Mode,
    running: bool,
    builder: &mut Builder<'_>,
) -> Result<(), Refused> {
    if mode == Mode::Graduated && !running {
        return Ok(());
    }
    let way = match mode {
        Mode::Volume => "mode=\"volume\"",
        Mode::Package => "mode=\"package\"",
        Mode::Graduated => "round=\"running\"",
    };
    let Some(level) = primitive.links("level").first() else {
        if !running {
            return Ok(());
        }
        let message = "level: round=\"running\" books differences of a running total: write in=\"A.out\" level=\"A.total\" of an accumulator A";
        return Err(builder.refuse(primitive.line, Cause::OpenInput, message));
    };
    let counted = |link: &Link| link.from == level.from && link.port == "out";
    match primitive.links("in") {
        [only] if counted(only) => Ok(()),
        _ => {
            let message = format!(
                "in: {way} prices by the level, so it must count just what is priced: write in=\"{0}.out\", or put an accumulator right before this rater",
                level.from
            );
            Err(builder.refuse(primitive.line, Cause::UnknownReference, message))
        }
    }
}

fn step(
    primitive: &Primitive,
    child: &Child,
    (mode, start): (Mode, i128),
    total: Option<Total>,
    builder: &mut Builder<'_>,
) -> Result<Step, Refused> {
    let id = builder.child_property(child, "id")?;
    let (amount, per) =
        (builder.child_property(child, "price")?, builder.child_property(child, "per")?);
    let (price, per_units) = match mode {
        Mode::Package => (steps::price(child, 1, builder)?, steps::per(child, base, builder)?),
        _ => (builder.price(child.line, amount, per)?, 1),
    };
    if price.is_tiny() && !builder.rounds_running() {
        let message = format!(
            "one unit of step {id} costs less than 0.000000001: the lines of small records may come to 0"
        );
        builder.warn(child.line, message);
    }
    let currency = builder.currency()?;
    let component = |price: String, builder: &Builder<'_>| Component {
        currency,
        primitive: primitive.id.clone(),
        component: id.to_owned(),
        kind: ComponentKind::Usage,
        price,
        unit: builder.unit(),
        level: total.map(|total| total.variable),
    };
    let begun = if mode == Mode::Package { " begun" } else { "" };
    let units = component(format!("{amount} per {per}{begun}"), builder);
    let component_of_units = builder.component(child.line, units)?;
    let constant = match child.property("constant") {
        None => None,
        Some(written) => {
            let amount = builder.money(child.line, "constant", written)?;
            let period = total.map_or("record", |total| total.calendared.word());
            let fixed = component(format!("{written} once per {period}"), builder);
            let variable = match total {
                Some(_) => Some(builder.variable(Some(id), crate::Unit::One, Keep::Horizon)?),
                None => None,
            };
            Some(Constant { component: builder.component(child.line, fixed)?, amount, variable })
        }
    };
    Ok(Step {
        start,
        component: component_of_units,
        price,
        per: per_units,
        constant,
        correction: None,
    })
}

/// What a change to a step books.
fn correction(
    primitive: &Primitive,
    child: &Child,
    total: Option<Total>,
    builder: &mut Builder<'_>,
) -> Result<u16, Refused> {
    let (amount, per) =
        (builder.child_property(child, "price")?, builder.child_property(child, "per")?);
    let component = Component {
        currency: builder.currency()?,
        primitive: primitive.id.clone(),
        component: format!("{}-correction", builder.child_property(child, "id")?),
        kind: ComponentKind::Adjustment,
        price: format!("correction to {amount} per {per}"),
        unit: builder.unit(),
        level: total.map(|total| total.variable),
    };
    builder.component(child.line, component)
}

struct Step {
    /// The level at which it begins.
    start: i128,
    component: u16,
    /// Of a unit; of a package in that mode.
    price: Price,
    /// Units of a package.
    per: i128,
    constant: Option<Constant>,
    /// What a change to this step books, in mode volume.
    correction: Option<u16>,
}

/// Charged with the step's first unit: once per period of the level, or once per record.
struct Constant {
    component: u16,
    amount: Money,
    /// Remembers the periods it was charged in.
    variable: Option<VariableId>,
}

struct StepRater {
    mode: Mode,
    /// Lines book differences of rounded running totals.
    running: bool,
    /// Where each step ends; `None` without end.
    bounds: Vec<Option<i128>>,
    steps: Vec<Step>,
    total: Option<Total>,
    /// The accumulator counts just what comes in here.
    is_counted: bool,
    input: Input,
    rest: Option<usize>,
    out: ChargeOut,
}

impl Op for StepRater {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
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
    /// Whatever comes in.
    #[inline(never)]
    fn run_any(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
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
        if stream.ghost {
            sorter.ghost(&stream, level::of_ghost(self.total, run, &self.input));
        }
        let sort = |span, ladder, period| sorter.sort(span, ladder, period);
        match self.total {
            Some(total) => level::by_total(total, run, &self.input, &stream, sort)?,
            None => level::by_count(&stream, sort)?,
        }
        parts.sort_unstable_by_key(|part| (part.first_unit, part.step));
        parts.iter().try_for_each(|part| self.book(run, part))?;
        run.scratch.parts = parts;
        if let Some(slot) = self.rest {
            run.scratch.streams[slot] = rest;
        }
        run.give(&self.input, stream);
        Ok(())
    }

    /// The usual record: one run of units, counted at once, which steps cut between two units if
    /// at all. `false`: it is another one.
    fn run_single(&self, run: &mut Run<'_>, mut span: Span) -> Result<bool, SuspenseReason> {
        let (mut before, period) = match self.total {
            None => (0, Period::EVER),
            Some(total) => match *run.scratch.traces[total.trace].as_slice() {
                [counted] if self.is_counted || counted.span == span => {
                    (counted.level, counted.period)
                }
                _ => return Ok(false),
            },
        };
        let first = self.bounds.iter().position(|upto| upto.is_none_or(|upto| before < upto));
        for step in first.unwrap_or(self.bounds.len())..self.bounds.len() {
            let mut quantity = span.count().ok_or(SuspenseReason::Overflow)?;
            let mut after = before.checked_add(quantity).ok_or(SuspenseReason::Overflow)?;
            let over = self.bounds[step].filter(|&upto| upto < after);
            if let Some(upto) = over {
                // Copies of a unit may fall into two steps.
                if span.copies != 1 {
                    return Ok(false);
                }
                (quantity, after) = (upto - before, upto);
            }
            let part = Part { step, period, quantity, first_unit: span.first, before, after };
            self.book(run, &part)?;
            if over.is_none() {
                return Ok(true);
            }
            // Fewer than the run has.
            span.first += i64::try_from(quantity).map_err(|_| SuspenseReason::Overflow)?;
            before = after;
        }
        run.put(self.rest, span);
        Ok(true)
    }

    /// The correction where the step is changed to, the line for the part's units, the constant
    /// beside the step's first unit.
    #[inline(always)]
    fn book(&self, run: &mut Run<'_>, part: &Part) -> Result<(), SuspenseReason> {
        let step = &self.steps[part.step];
        let fixed = |run: &Run<'_>, component, amount| {
            run.fixed(component, amount, part.period, part.first_unit)
        };
        let levels = |before, after| if self.total.is_some() { (before, after) } else { (0, 0) };
        if step.correction.is_some()
            && let Some((component, amount)) = self.correction(part)?
        {
            let (level_before, level_after) = levels(part.before, part.before);
            let line = crate::Line { level_before, level_after, ..fixed(run, component, amount) };
            run.book(self.out, line)?;
        }
        let amount = self.amount(part).ok_or(SuspenseReason::Overflow)?;
        let (level_before, level_after) = levels(part.before, part.after);
        let line = crate::Line {
            quantity: part.quantity,
            level_before,
            level_after,
            ..fixed(run, step.component, amount)
        };
        run.book(self.out, line)?;
        step.constant.as_ref().map_or(Ok(()), |constant| self.book_constant(run, part, constant))
    }

    #[inline(never)]
    fn book_constant(
        &self,
        run: &mut Run<'_>,
        part: &Part,
        &Constant { component, amount, variable }: &Constant,
    ) -> Result<(), SuspenseReason> {
        let line = |run: &Run<'_>| run.fixed(component, amount, part.period, part.first_unit);
        if let Some(variable) = variable {
            return run.charge_once(variable, part.period, self.out, line);
        }
        let line = line(run);
        run.book(self.out, line).map(drop)
    }

    /// What the part's units cost, rounded once.
    #[inline(always)]
    fn amount(&self, part: &Part) -> Option<Money> {
        if self.mode == Mode::Package || self.running {
            return self.amount_by_level(part);
        }
        self.steps[part.step].price.of(part.quantity)
    }

    /// Of packages begun, or as the difference of running totals.
    #[inline(never)]
    fn amount_by_level(&self, part: &Part) -> Option<Money> {
        let step = &self.steps[part.step];
        let (before, after) = match self.mode {
            Mode::Graduated => {
                (part.before.checked_sub(step.start)?, part.after.checked_sub(step.start)?)
            }
            // Units of the steps before were corrected to this one's price.
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

    /// The change of step that the part's first unit brings: F(after) - F(before) of the units
    /// below it, all of which this rater priced (PLANS section 4).
    fn correction(&self, part: &Part) -> Result<Option<(u16, Money)>, SuspenseReason> {
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
