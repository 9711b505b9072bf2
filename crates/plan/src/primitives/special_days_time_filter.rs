//! SpecialDaysTimeFilter: passes units on special local dates
//! (docs/plan-semantics.md sections 1 and 8).

use turnpike_types::SuspenseReason;

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendar, Calendared, date_of};
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::spec::{
    ChildSpec, Role, Spec, Value, ValueType, optional, required, usage_in,
};
use crate::language::table_name::TableKind;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{Attribute, TableRef};
use crate::tables::{Holidays, SpecialDay};

use super::parts::filter::{FilterPorts, OUTPUTS};

static SPECIAL_DAY: ValueType =
    ValueType { name: "special-day", check: |text| SpecialDay::parse(text).map(drop) };

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "SpecialDaysTimeFilter",
        help: "Passes units on special local dates, from a holidays table or written in the plan.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[
            optional("table", Value::Id, "the id of a holidays table"),
            optional(
                "place",
                Value::Attribute,
                "the attribute that holds a place; the special days of the place count too",
            ),
        ],
        children: &[ChildSpec {
            name: "day",
            at_least: 0,
            properties: &[required(
                "date",
                Value::Of(&SPECIAL_DAY),
                "YYYY-MM-DD, or --MM-DD for every year",
            )],
            help: "a special day",
        }],
        role: Role::Plain,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let (line, table) = (primitive.line, primitive.property("table"));
    if table.is_none() && primitive.children.is_empty() {
        let message = "no day is special: write table=\"ID\" of a holidays table, or <day date=\"YYYY-MM-DD\"/>";
        return Err(builder.refuse(line, Cause::MissingProperty, message));
    }
    let place = match primitive.property("place") {
        Some(_) if table.is_none() => {
            let message =
                "place: the days in the plan are special everywhere: add a table, or leave it out";
            return Err(builder.refuse(line, Cause::BadValue, message));
        }
        Some(place) => Some(builder.attribute(line, "place", place)?),
        None => None,
    };
    let mut days = Vec::with_capacity(primitive.children.len());
    for child in &primitive.children {
        let date = builder.child_property(child, "date")?;
        let day = builder.read(child.line, "date", SpecialDay::parse(date))?;
        if days.contains(&day) {
            builder.warn(child.line, format!("{date} is written twice"));
        } else {
            days.push(day);
        }
    }
    days.sort_unstable();
    let op = SpecialDaysTimeFilter {
        table: table.map(|id| builder.table(TableKind::Holidays, id)),
        place,
        days,
        ports: FilterPorts::of(builder),
    };
    builder.op(op);
    Ok(())
}

struct SpecialDaysTimeFilter {
    table: Option<TableRef>,
    place: Option<Attribute>,
    /// The special days that the plan itself lists, sorted.
    days: Vec<SpecialDay>,
    ports: FilterPorts,
}

/// The holidays table and the place of one record; `None` without a table.
type AtPlace<'a> = Option<(&'a Holidays, &'a str)>;

impl Op for SpecialDaysTimeFilter {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        self.ports.by_instant(run, |run| {
            let listed = self.listed(run)?;
            Ok(move |calendar: &mut Calendar, at| {
                let day = calendar.period(Calendared::Day, at);
                (self.is_special(day.period, listed), day.to)
            })
        })
    }
}

impl SpecialDaysTimeFilter {
    fn listed<'a>(&self, run: &Evaluation<'a>) -> Result<AtPlace<'a>, SuspenseReason> {
        let Some(table) = self.table else { return Ok(None) };
        let place = match &self.place {
            Some(place) => run.attribute(place)?.ok_or_else(|| run.lacks(place))?,
            None => "",
        };
        let holidays = run.table(table)?.holidays();
        let holidays = holidays.ok_or_else(|| run.without_table(table))?;
        Ok(Some((holidays, place)))
    }

    fn is_special(&self, day: Period, listed: AtPlace<'_>) -> bool {
        let date = date_of(day);
        let (once, yearly) = (SpecialDay::Once(date), SpecialDay::Yearly(date.month(), date.day()));
        self.days.binary_search(&once).is_ok()
            || self.days.binary_search(&yearly).is_ok()
            || listed.is_some_and(|(holidays, place)| holidays.is_special(date, place))
    }
}
