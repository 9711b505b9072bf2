//! StepRater: prices units by steps of a level (docs/plan-semantics.md sections 2, 3 and 4).
//!
//! ```text
//!  machine/level.rs   the level that each unit reads
//!  machine/ladder.rs  splits units into parts, one per step
//!  parts/steps.rs     bounds and prices
//!  rate.rs            books lines for the parts, by mode
//! ```
//!
//! The mode `graduated` prices a part by its number of units. The other modes, and running
//! rounding, price a part by the levels before and after it. For these modes the level must count
//! exactly the priced units, so that a part consists of the units between the two levels.

mod rate;

use turnpike_types::LineKind;

use crate::compile::build::Builder;
use crate::compile::check::fees;
use crate::compile::definition::Definition;
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Link, Primitive};
use crate::language::measure::{Quantity, Unit};
use crate::language::spec::{
    CHARGE_OUT, Carries, ChildSpec, LEVEL_IN, MayBeUnconnected, OutputSpec, Role, Spec, Value,
    optional, required, usage_in, with_default,
};
use crate::machine::code::Component;
use crate::machine::evaluation::places::Total;
use crate::machine::meaning::CHARGED;
use crate::machine::state::Keep;

use super::parts::charging::CURRENCY;
use super::parts::fee_per::{FEE_PER, is_per_call};
use super::parts::steps;
use rate::{Constant, Mode, Step, StepRater};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "StepRater",
        help: "Prices units by steps of a level: an accumulator's total, or the count in the record.",
        inputs: &[usage_in("in"), LEVEL_IN],
        outputs: &[
            CHARGE_OUT,
            OutputSpec {
                name: "rest",
                carries: Carries::Usage,
                open: MayBeUnconnected::When(has_no_end),
            },
        ],
        properties: &[
            with_default(
                "mode",
                Value::Choice(&["graduated", "volume", "package"]),
                "graduated",
                "each unit at its step's price; all units at the reached step's price; by started packages",
            ),
            FEE_PER,
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
                    "the level at which the step ends; without it, the step has no end",
                ),
                required("price", Value::Money, "the price of one per"),
                required("per", Value::Quantity, "the quantity that the price is for"),
                optional(
                    "constant",
                    Value::Money,
                    "a fixed amount that is charged with the step's first unit",
                ),
            ],
            help: "the price of a range of levels",
        }],
        role: Role::Plain,
    },
    build,
};

/// Whether the last step has no end, so that no unit leaves by the output rest.
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
    if primitive.property(fees::PROPERTY).is_some() && builder.is_fed("level") {
        let message =
            "fee-per: with a level a constant is charged once a period: leave fee-per out";
        return Err(builder.refuse(primitive.line, Cause::BadValue, message));
    }
    let bounds = steps::bounds(primitive, base, builder)?;
    let mut steps = Vec::with_capacity(bounds.len());
    let mut start = 0;
    for (child, bound) in primitive.children.iter().zip(&bounds) {
        let mut step = step(primitive, child, (mode, start), total, builder)?;
        // The first step is not reached from another step, so it needs no correction.
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

fn base(text: &str) -> Result<i128, String> {
    Quantity::parse(text).map(|quantity| quantity.base)
}

/// Checks that the level counts exactly the priced units, if prices depend on the level.
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
        let message = "level: round=\"running\" needs a running total: write in=\"A.out\" level=\"A.total\" of an accumulator A";
        return Err(builder.refuse(primitive.line, Cause::OpenInput, message));
    };
    let counted = |link: &Link| link.from == level.from && link.port == "out";
    match primitive.links("in") {
        [only] if counted(only) => Ok(()),
        _ => {
            let message = format!(
                "in: {way} prices by the level, so the level must count exactly the priced units: write in=\"{0}.out\", or put an accumulator right before this rater",
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
    let (small, shown) = small_record(builder.unit(), builder.read(child.line, "per", base(per))?);
    if mode != Mode::Package && price.is_coarse_for(small) && !builder.rounds_running() {
        let comes_to = price.of(small).map_or_else(String::new, |money| money.to_string());
        let message = format!(
            "at {amount} per {per} a record of {shown} costs {comes_to}, and rounding changes it by more than a tenth: the sum of many small records is wrong; keep more decimals, or write round=\"{} running\"",
            builder.digits()
        );
        builder.warn(child.line, message);
    }
    let currency = builder.currency()?;
    let component = |price: String, builder: &Builder<'_>| Component {
        currency,
        primitive: primitive.id.clone(),
        component: id.to_owned(),
        kind: LineKind::Usage,
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
            let per_call = is_per_call(primitive);
            let period = match total {
                Some(total) => total.calendared.word(),
                None if per_call => "call",
                None => "record",
            };
            let fixed = component(format!("{written} once per {period}"), builder);
            let variable = match total {
                Some(_) => Some(builder.remember(Some(id), Unit::One, Keep::Horizon, CHARGED)?),
                None => None,
            };
            let component = builder.component(child.line, fixed)?;
            Some(Constant { component, amount, variable, per_call })
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

/// The quantity of a typical small record, and its text. If rounding changes the price of such a
/// record, the error in the bill is noticeable. For a count it is a thousandth of `per`, because a
/// count may be a number of bytes.
fn small_record(unit: Unit, per: i128) -> (i128, String) {
    match unit {
        Unit::Microsecond => (60_000_000, "1 min".to_owned()),
        Unit::Byte => (1_000_000, "1 MB".to_owned()),
        Unit::One => {
            let count = (per / 1_000).max(1);
            (count, count.to_string())
        }
    }
}

/// Declares the component of the correction that is booked when the level reaches a further step.
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
        kind: LineKind::Adjustment,
        price: format!("correction to {amount} per {per}"),
        unit: builder.unit(),
        level: total.map(|total| total.variable),
    };
    builder.component(child.line, component)
}
