//! The steps of raters and meters: rising bounds, and a price for each step
//! (docs/plan-semantics.md section 4).

use turnpike_types::{LineKind, SuspenseReason};

use crate::calendar::period::Period;
use crate::compile::build::Builder;
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::measure::{Decimal, Unit};
use crate::language::price::Price;
use crate::machine::code::{Component, Evaluation};
use crate::machine::evaluation::places::ChargeOut;
use crate::machine::lines::ChargeLine;

/// Reads a bound or quantity of a step as a number of priced units.
pub(crate) type ReadQuantity = fn(&str) -> Result<i128, String>;

/// The level at which each step ends. Refuses bounds that do not rise, steps that leave a gap or
/// overlap, and a step without end before the last step.
pub(crate) fn bounds(
    primitive: &Primitive,
    read: ReadQuantity,
    builder: &mut Builder<'_>,
) -> Result<Vec<Option<i128>>, Refused> {
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
        let base = |name| child.property(name).and_then(|text| read(text).ok());
        let Some(start) = reached else {
            bad(
                Cause::BadTiers,
                format!("step {id} is after a step without upto: no unit can reach it"),
            );
            continue;
        };
        match base("from") {
            Some(from) if from > start => {
                bad(
                    Cause::BadTiers,
                    format!(
                        "step {id} leaves a gap: the step before ends at {start}, and it starts at {from}"
                    ),
                );
            }
            Some(from) if from < start => {
                bad(
                    Cause::BadTiers,
                    format!(
                        "step {id} overlaps the step before, which ends at {start}: it starts at {from}"
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
                    "step {id} ends at {upto}, which is not after its start {start}: order steps by upto"
                ),
            );
        }
        bounds.push(upto);
        reached = upto;
    }
    refused.map_or(Ok(bounds), Err)
}

/// The quantity `per` of a step in priced units; at least one.
pub(crate) fn per(
    child: &Child,
    read: ReadQuantity,
    builder: &mut Builder<'_>,
) -> Result<i128, Refused> {
    let text = builder.child_property(child, "per")?;
    let per = builder.read(child.line, "per", read(text))?;
    if per == 0 {
        let message = "per: a price is per at least one unit, not 0";
        return Err(builder.refuse(child.line, Cause::BadValue, message));
    }
    Ok(per)
}

/// The exact price of a step: `price` for every `per` units.
pub(crate) fn price(child: &Child, per: i128, builder: &mut Builder<'_>) -> Result<Price, Refused> {
    let amount = builder.child_property(child, "price")?;
    let amount = builder.read(child.line, "price", Decimal::parse(amount))?;
    Price::new(amount, per, builder.digits()).ok_or_else(|| {
        builder.refuse(
            child.line,
            Cause::BadValue,
            "price: the price per unit does not fit in 128 bits: write fewer digits",
        )
    })
}

/// An exact number of units: `top / over`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExactUnits {
    pub(crate) top: i128,
    /// The denominator, which is positive.
    pub(crate) over: i128,
}

impl ExactUnits {
    /// A whole number of units.
    pub(crate) const fn of(units: i128) -> Self {
        Self { top: units, over: 1 }
    }
}

/// Graduated prices of a total that is known at the close of a billing cycle.
pub(crate) struct Tiers {
    /// The end of each step, its price and its component. The last step has no end.
    tiers: Vec<(Option<i128>, Price, u16)>,
}

impl Tiers {
    /// Reads the steps of a meter. Its last step must have no end, because a meter has no output
    /// for units above it.
    pub(crate) fn build(
        primitive: &Primitive,
        unit: Unit,
        read: ReadQuantity,
        builder: &mut Builder<'_>,
    ) -> Result<Self, Refused> {
        let bounds = bounds(primitive, read, builder)?;
        if let Some((last, Some(_))) = primitive.children.last().zip(bounds.last().copied()) {
            let message = "upto: units above the last step would have no price: leave it out";
            return Err(builder.refuse(last.line, Cause::BadTiers, message));
        }
        let mut tiers = Vec::with_capacity(bounds.len());
        for (child, bound) in primitive.children.iter().zip(bounds) {
            let per_units = per(child, read, builder)?;
            let price = price(child, per_units, builder)?;
            let (amount, per) =
                (builder.child_property(child, "price")?, builder.child_property(child, "per")?);
            let component = Component {
                primitive: primitive.id.clone(),
                component: builder.child_property(child, "id")?.to_owned(),
                kind: LineKind::Usage,
                price: format!("{amount} per {per}"),
                unit,
                level: None,
                currency: builder.currency()?,
            };
            tiers.push((bound, price, builder.component(child.line, component)?));
        }
        Ok(Self { tiers })
    }

    /// Books a line for each step that the total reaches, rounded once
    /// (docs/plan-semantics.md section 3).
    ///
    /// The quantity of a line is in whole units. A fraction of a unit is in the amount only.
    pub(crate) fn book(
        &self,
        run: &mut Evaluation<'_>,
        out: ChargeOut,
        ExactUnits { top, over }: ExactUnits,
        period: Period,
    ) -> Result<(), SuspenseReason> {
        let mut start = 0;
        for &(bound, price, component) in &self.tiers {
            if top <= start {
                break;
            }
            // A bound that does not fit in 128 bits is above the total.
            let bound = bound.and_then(|bound| bound.checked_mul(over));
            let end = bound.map_or(top, |bound| bound.min(top));
            let quantity = (end - start) / over;
            let amount = price.of_part(end - start, over).ok_or(SuspenseReason::Overflow)?;
            let line = ChargeLine { quantity, ..run.fixed(component, amount, period, 0) };
            run.book(out, line)?;
            start = end;
        }
        Ok(())
    }
}
