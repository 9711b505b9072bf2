//! E164DialPlanRater: prices units by the telephone number that was called
//! (docs/plan-semantics.md section 8).

use turnpike_types::{Money, SuspenseReason};

use crate::Unit;
use crate::build::Builder;
use crate::code::{Component, ComponentKind};
use crate::error::Cause;
use crate::graph::Primitive;
use crate::price::{Price, fixed};
use crate::run::{Attribute, ChargeOut, Input, Named, Op, Run, TableRef};
use crate::spec::{
    Built, CHARGE_OUT, Role, Spec, Value, optional, required, usage_in, with_default,
};
use crate::state::Period;
use crate::stream::Stream;
use crate::tables::{DialRow, HomePlan, TableKind, normalise};

use super::recurring_charges::CURRENCY;

pub(super) static SPEC: Spec = Spec {
    name: "E164DialPlanRater",
    help: "Prices units by the longest prefix of the number called, from a dial plan.",
    inputs: &[usage_in("in")],
    outputs: &[CHARGE_OUT],
    properties: &[
        required("table", Value::Id, "the dial plan's id"),
        with_default("number", Value::Attribute, "called", "where the number stands"),
        required("country-code", Value::Text, "of who dials, such as 44"),
        required("international-prefix", Value::Text, "dialled before a country code, such as 00"),
        optional(
            "national-prefix",
            Value::Text,
            "dialled before a number of the same country, such as 0",
        ),
        optional(
            "keeps-national-prefix",
            Value::Choice(&["yes", "no"]),
            "whether the national prefix is part of the number; without, only Italy's is",
        ),
        CURRENCY,
    ],
    children: &[],
    role: Role::Plain,
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    if builder.rounds_running() {
        let message = "round=\"running\" books differences of a running total, and calls have none: write round=\"9 half-even\" for this plan";
        return Err(builder.refuse(primitive.line, Cause::OpenInput, message));
    }
    if builder.unit() == Unit::Byte {
        let message = "in: dial plans price time or a count, and bytes flow here: link it to record.duration, or to a count";
        return Err(builder.refuse(primitive.line, Cause::WrongUnit, message));
    }
    let country = builder.property(primitive, "country-code")?;
    let international = builder.property(primitive, "international-prefix")?;
    let national = primitive.property("national-prefix").unwrap_or_default();
    let home = HomePlan::new(country, international, national);
    let home = builder.read(primitive.line, "home plan", home)?;
    let home = match primitive.property("keeps-national-prefix") {
        Some(keeps) => home.keeping_national_prefix(keeps == "yes"),
        None => home,
    };
    let number = builder.property(primitive, "number")?;
    let table = builder.property(primitive, "table")?;
    let currency = builder.currency()?;
    let component = |name: &str, unit, price| Component {
        primitive: primitive.id.clone(),
        component: name.to_owned(),
        kind: ComponentKind::Usage,
        price,
        unit,
        level: None,
        currency,
    };
    let call = component("call", builder.unit(), format!("by dial plan {table}"));
    let setup = component("setup", Unit::One, format!("setup by dial plan {table}"));
    let op = E164DialPlanRater {
        number: builder.attribute(primitive.line, "number", number)?,
        table: builder.table(TableKind::DialPlan, table),
        home,
        unit: builder.unit(),
        digits: builder.digits(),
        call: builder.component(primitive.line, call)?,
        setup: builder.component(primitive.line, setup)?,
        input: builder.input("in"),
        out: builder.charge_out("charge"),
    };
    builder.op(op);
    Ok(())
}

struct E164DialPlanRater {
    number: Attribute,
    table: TableRef,
    home: HomePlan,
    /// What flows here.
    unit: Unit,
    digits: u32,
    call: u16,
    setup: u16,
    input: Input,
    out: ChargeOut,
}

impl Op for E164DialPlanRater {
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        let rated = self.rate(run, &stream);
        run.give(&self.input, stream);
        rated
    }
}

impl E164DialPlanRater {
    fn rate(&self, run: &mut Run<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
        // A record without units is no call that anybody pays for, whatever its number.
        let Some(first) = stream.spans.first() else { return Ok(()) };
        let quantity = stream
            .spans
            .iter()
            .try_fold(0i128, |sum, span| sum.checked_add(span.count()?))
            .ok_or(SuspenseReason::Overflow)?;
        let row = self.row(run)?;
        if row.per.unit != self.unit {
            let (priced, counted) = (row.per.unit, self.unit);
            let about = format_args!("the table's row is priced per {priced}, {counted} comes in");
            return Err(run.refuse(SuspenseReason::MissingInput, about));
        }
        let (amount, setup) = self.amounts(row, quantity).ok_or(SuspenseReason::Overflow)?;
        let of_row = Some(row.index);
        let line = run.fixed(self.call, amount, Period::EVER, first.first);
        run.book(self.out, crate::Line { quantity, row: of_row, ..line })?;
        if let Some(fee) = setup {
            let line = run.fixed(self.setup, fee, Period::EVER, first.first);
            run.book(self.out, crate::Line { row: of_row, ..line })?;
        }
        Ok(())
    }

    /// The row of the number called.
    fn row<'a>(&self, run: &Run<'a>) -> Result<&'a DialRow, SuspenseReason> {
        let table = run.table(self.table)?;
        let plan = table.dial_plan().ok_or_else(|| run.without_table(self.table))?;
        let number = run.attribute(&self.number)?.ok_or_else(|| run.lacks(&self.number))?;
        let digits = normalise(number, &self.home).map_err(|_| {
            let about = format_args!("{} {number:?} is no telephone number", Named(&self.number));
            run.refuse(SuspenseReason::BadAttribute, about)
        })?;
        plan.longest(digits.as_str()).ok_or_else(|| {
            run.refuse(SuspenseReason::NoPrefix, format_args!("+{}", digits.as_str()))
        })
    }

    /// What the units cost, and the setup fee where the row has one.
    fn amounts(&self, row: &DialRow, quantity: i128) -> Option<(Money, Option<Money>)> {
        let units = Price::new(row.price, row.per.base, self.digits)?.of(quantity)?;
        let setup = match row.setup {
            Some(fee) => Some(fixed(fee, self.digits)?),
            None => None,
        };
        Some((units, setup))
    }
}
