//! StepRater: prices units by steps of a level, graduated (PLANS sections 2 and 4).

use turnpike_types::{Money, SuspenseReason};

use crate::build::Builder;
use crate::code::{Component, ComponentKind};
use crate::error::Cause;
use crate::graph::{Child, Primitive};
use crate::ladder::Sorter;
use crate::level;
use crate::measure::Quantity;
use crate::price::Price;
use crate::run::{ChargeOut, Input, Op, Part, Run, Total};
use crate::spec::{
    CHARGE_OUT, Carries, ChildSpec, LEVEL_IN, Open, OutputSpec, Refused, Role, Spec, Value,
    optional, required, usage_in, with_default,
};
use crate::state::{Keep, VariableId};
use crate::stream::Stream;

use super::recurring_charges::CURRENCY;

pub(super) static SPEC: Spec = Spec {
    name: "StepRater",
    help: "Prices units by steps of a level: an accumulator's total, or the count in the record.",
    inputs: &[usage_in("in"), LEVEL_IN],
    outputs: &[
        CHARGE_OUT,
        OutputSpec { name: "rest", carries: Carries::Usage, open: Open::When(has_no_end) },
    ],
    properties: &[
        with_default("mode", Value::Choice(&["graduated"]), "graduated", "how steps are priced"),
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
    let bounds = bounds(primitive, builder)?;
    let mut steps = Vec::with_capacity(bounds.len());
    for child in &primitive.children {
        steps.push(step(primitive, child, total, builder)?);
    }
    let op = StepRater {
        bounds,
        steps,
        total,
        input: builder.input("in"),
        rest: builder.output("rest"),
        out: builder.charge_out("charge"),
    };
    builder.op(op);
    Ok(())
}

/// Where each step ends: rising, without gap or overlap, at most the last without end.
fn bounds(primitive: &Primitive, builder: &mut Builder<'_>) -> Result<Vec<Option<i128>>, Refused> {
    let mut bounds: Vec<Option<i128>> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    let mut reached = Some(0i128);
    let mut refused = None;
    for child in &primitive.children {
        let id = builder.child_property(child, "id")?;
        let mut bad =
            |cause, message: String| refused = Some(builder.refuse(child.line, cause, message));
        if ids.contains(&id) {
            bad(Cause::DuplicateId, format!("two steps have the id {id}: give each its own"));
        }
        ids.push(id);
        let base =
            |name| child.property(name).and_then(|text| Quantity::parse(text).ok()).map(|q| q.base);
        let Some(start) = reached else {
            bad(
                Cause::BadTiers,
                format!("step {id} stands after a step without upto: nothing can reach it"),
            );
            continue;
        };
        match base("from") {
            Some(from) if from > start => {
                bad(
                    Cause::BadTiers,
                    format!(
                        "step {id} leaves a gap: the one before ends at {start}, it starts at {from}"
                    ),
                );
            }
            Some(from) if from < start => {
                bad(
                    Cause::BadTiers,
                    format!(
                        "step {id} overlaps the one before, which ends at {start}: it starts at {from}"
                    ),
                );
            }
            _ => {}
        }
        let upto = base("upto");
        if let Some(upto) = upto
            && upto <= start
        {
            bad(
                Cause::BadTiers,
                format!(
                    "step {id} ends at {upto}, not after {start} where it starts: order steps by upto"
                ),
            );
        }
        bounds.push(upto);
        reached = upto;
    }
    refused.map_or(Ok(bounds), Err)
}

fn step(
    primitive: &Primitive,
    child: &Child,
    total: Option<Total>,
    builder: &mut Builder<'_>,
) -> Result<Step, Refused> {
    let id = builder.child_property(child, "id")?;
    let (amount, per) =
        (builder.child_property(child, "price")?, builder.child_property(child, "per")?);
    let price = builder.price(child.line, amount, per)?;
    if price.is_tiny() {
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
    let units = component(format!("{amount} per {per}"), builder);
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
    Ok(Step { component: component_of_units, price, constant })
}

struct Step {
    component: u16,
    price: Price,
    constant: Option<Constant>,
}

/// Charged with the step's first unit: once per period of the level, or once per record.
struct Constant {
    component: u16,
    amount: Money,
    /// Remembers the periods it was charged in.
    variable: Option<VariableId>,
}

struct StepRater {
    /// Where each step ends; `None` without end.
    bounds: Vec<Option<i128>>,
    steps: Vec<Step>,
    total: Option<Total>,
    input: Input,
    rest: Option<usize>,
    out: ChargeOut,
}

impl Op for StepRater {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
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
        self.book(run, &mut parts)?;
        run.scratch.parts = parts;
        if let Some(slot) = self.rest {
            run.scratch.streams[slot] = rest;
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

impl StepRater {
    /// A line for each part, rounded once; constants beside the step's first units.
    fn book(&self, run: &mut Run<'_>, parts: &mut [Part]) -> Result<(), SuspenseReason> {
        parts.sort_unstable_by_key(|part| (part.first_unit, part.step));
        for part in parts {
            let step = &self.steps[part.step];
            let amount = step.price.of(part.quantity).ok_or(SuspenseReason::Overflow)?;
            let (level_before, level_after) =
                if self.total.is_some() { (part.before, part.after) } else { (0, 0) };
            let line = crate::Line {
                quantity: part.quantity,
                level_before,
                level_after,
                ..run.fixed(step.component, amount, part.period, part.first_unit)
            };
            run.book(self.out, line)?;
            if let Some(Constant { component, amount, variable }) = step.constant {
                let line = run.fixed(component, amount, part.period, part.first_unit);
                match variable {
                    Some(variable) => run.charge_once(variable, part.period, self.out, line)?,
                    None => run.book(self.out, line).map(drop)?,
                }
            }
        }
        Ok(())
    }
}
