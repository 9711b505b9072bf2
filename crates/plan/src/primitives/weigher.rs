//! Weigher: multiplies each unit by a weight, chosen by an attribute's value or by the unit's time
//! (docs/plan-semantics.md section 8).

use turnpike_types::{DAY_US, SuspenseReason, Timestamp};

use crate::calendar::periods::OffsetInterval;
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::measure::time_of_day;
use crate::language::spec::{
    ChildSpec, Role, Spec, Value, optional, required, usage_in, usage_out,
};
use crate::language::values::whole;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{Attribute, UsageInput};
use crate::machine::evaluation::refusal::Named;
use crate::machine::stream::{SPANS_MAX, Span, Stream};

use super::parts::weekdays::{DAYS, Weekdays};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "Weigher",
        help: "Multiplies each unit by a weight, chosen by an attribute or by its time of day.",
        inputs: &[usage_in("in")],
        outputs: &[usage_out("out")],
        properties: &[
            optional("attribute", Value::Attribute, "the attribute whose value chooses the weight"),
            optional("default", Value::Whole, "the weight of every other value or time"),
        ],
        children: &[ChildSpec {
            name: "weight",
            at_least: 1,
            properties: &[
                optional("value", Value::Text, "a value of the attribute"),
                optional(
                    "from",
                    Value::TimeOfDay,
                    "the start of a window of the day; the default is 00:00",
                ),
                optional(
                    "to",
                    Value::TimeOfDay,
                    "the end, up to 24:00; an end before from is on the next day",
                ),
                optional(
                    "days",
                    DAYS,
                    "the days on which the window starts; the default is all days",
                ),
                required("weight", Value::Whole, "the number of units that one unit counts as"),
            ],
            help: "the weight of a value or of a window of time",
        }],
        role: Role::Plain,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let default = match primitive.property("default") {
        Some(text) => Some(builder.read(primitive.line, "default", whole(text))?.into()),
        None => None,
    };
    let by_value = |child: &Child| child.property("value").is_some();
    let first_by_value = primitive.children.first().is_some_and(by_value);
    if let Some(other) = primitive.children.iter().find(|child| by_value(child) != first_by_value) {
        let message =
            "weights by value and weights by time do not mix: put a second Weigher after this one";
        return Err(builder.refuse(other.line, Cause::BadValue, message));
    }
    let weights =
        if first_by_value { values(primitive, builder)? } else { windows(primitive, builder)? };
    let (input, out) = (builder.input("in"), builder.output("out"));
    builder.op(Weigher { weights, default, input, out });
    Ok(())
}

fn values(primitive: &Primitive, builder: &mut Builder<'_>) -> Result<Weights, Refused> {
    let mut weights: Vec<(Box<str>, i128)> = Vec::new();
    for child in &primitive.children {
        if let Some(time) =
            ["from", "to", "days"].iter().find(|name| child.property(name).is_some())
        {
            let message = format!(
                "{time}: the weight of a value does not depend on the time: take it out, or put a second Weigher after this one"
            );
            return Err(builder.refuse(child.line, Cause::BadValue, message));
        }
        let value = builder.child_property(child, "value")?;
        weights.push((value.into(), weight(child, builder)?));
    }
    weights.sort();
    if let Some(pair) = weights.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let value = pair[0].0.clone();
        let again = primitive.children.iter().filter(|c| c.property("value") == Some(&value));
        let line = again.map(|child| child.line).next_back().unwrap_or(primitive.line);
        let message = format!("\"{value}\" has two weights: keep one");
        return Err(builder.refuse(line, Cause::DuplicateId, message));
    }
    let Some(attribute) = primitive.property("attribute") else {
        let message = "attribute: weights by value need one: write the attribute that holds the value, such as attribute=\"function\"";
        return Err(builder.refuse(primitive.line, Cause::MissingProperty, message));
    };
    let attribute = builder.attribute(primitive.line, "attribute", attribute)?;
    Ok(Weights::Values { attribute, weights })
}

fn windows(primitive: &Primitive, builder: &mut Builder<'_>) -> Result<Weights, Refused> {
    if primitive.property("attribute").is_some() {
        let message = "attribute: no weight has a value, so it is not read: take it out, or give every weight a value";
        return Err(builder.refuse(primitive.line, Cause::BadValue, message));
    }
    let mut weights = Vec::new();
    for child in &primitive.children {
        let time = |name, builder: &mut Builder<'_>, otherwise| match child.property(name) {
            Some(text) => builder.read(child.line, name, time_of_day(text)),
            None => Ok(otherwise),
        };
        let (from, to) = (time("from", builder, 0)?, time("to", builder, DAY_US)?);
        if from == DAY_US {
            let message = "from: 24:00 is the end of a day: write from=\"00:00\"";
            return Err(builder.refuse(child.line, Cause::BadValue, message));
        }
        if from == to {
            let message =
                "from and to are the same time, so no unit has this weight: widen the window";
            return Err(builder.refuse(child.line, Cause::NothingPasses, message));
        }
        let days = match child.property("days") {
            Some(text) => builder.read(child.line, "days", Weekdays::parse(text))?,
            None => Weekdays::ALL,
        };
        weights.push((Window { from, to, days }, weight(child, builder)?));
    }
    Ok(Weights::Windows(weights))
}

fn weight(child: &Child, builder: &mut Builder<'_>) -> Result<i128, Refused> {
    let weight = builder.child_property(child, "weight")?;
    Ok(builder.read(child.line, "weight", whole(weight))?.into())
}

/// A window on some days of the week. A window past midnight belongs to the day on which it starts.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// The start of the window, in microseconds since local midnight; `to` is its end.
    from: i64,
    to: i64,
    days: Weekdays,
}

impl Window {
    fn holds(&self, local: i64) -> bool {
        let clock = local.rem_euclid(DAY_US);
        // 1970-01-01 was a Thursday.
        let starts_on = |days_back: i64| self.days.holds(local.div_euclid(DAY_US) - days_back + 3);
        if self.from < self.to {
            return self.from <= clock && clock < self.to && starts_on(0);
        }
        (clock >= self.from && starts_on(0)) || (clock < self.to && starts_on(1))
    }

    /// The first time of day after `clock` at which the result of `holds` can change.
    fn edge_after(&self, clock: i64) -> i64 {
        [self.from, self.to].into_iter().filter(|edge| *edge > clock).min().unwrap_or(DAY_US)
    }
}

enum Weights {
    Values {
        attribute: Attribute,
        /// The weights by attribute value, sorted by value.
        weights: Vec<(Box<str>, i128)>,
    },
    /// The weights by time: the first window that contains the unit's time determines the weight.
    Windows(Vec<(Window, i128)>),
}

struct Weigher {
    weights: Weights,
    default: Option<i128>,
    input: UsageInput,
    out: Option<usize>,
}

impl Op for Weigher {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        if let Some(slot) = self.out
            && !stream.is_empty()
        {
            let mut out = std::mem::take(&mut run.scratch.streams[slot]);
            let weighed = match &self.weights {
                Weights::Values { attribute, weights } => {
                    let weight = self.by_value(run, attribute, weights)?;
                    // A record with weight zero is dropped entirely, so that it does not trigger
                    // charges due at first use.
                    out.zero_quantity = stream.zero_quantity && weight > 0;
                    stream.spans.iter().try_for_each(|span| multiply(*span, weight, &mut out))
                }
                Weights::Windows(windows) => self.by_time(run, windows, &stream, &mut out),
            };
            run.scratch.streams[slot] = out;
            weighed?;
        }
        run.give(&self.input, stream);
        Ok(())
    }
}

/// Passes a range of units on, each multiplied by its weight.
fn multiply(span: Span, weight: i128, out: &mut Stream) -> Result<(), SuspenseReason> {
    if weight > 0 {
        let copies = span.copies.checked_mul(weight).ok_or(SuspenseReason::Overflow)?;
        let skip = span.skip.checked_mul(weight).ok_or(SuspenseReason::Overflow)?;
        out.push(Span { copies, skip, ..span });
    }
    Ok(())
}

/// Refuses a record because no window holds one of its instants.
#[cold]
fn outside(run: &Evaluation<'_>, at: i64) -> SuspenseReason {
    let at = run.account.zone.show(Timestamp(at));
    run.refuse(SuspenseReason::NoWeight, format_args!("no window holds {at}"))
}

impl Weigher {
    fn by_value(
        &self,
        run: &Evaluation<'_>,
        attribute: &Attribute,
        weights: &[(Box<str>, i128)],
    ) -> Result<i128, SuspenseReason> {
        let Some(value) = run.attribute(attribute)? else {
            return self.default.ok_or_else(|| run.lacks(attribute));
        };
        match weights.binary_search_by(|(known, _)| (**known).cmp(value)) {
            Ok(found) => Ok(weights[found].1),
            Err(_) => self.default.ok_or_else(|| {
                let name = Named(attribute);
                run.refuse(SuspenseReason::NoWeight, format_args!("{name} {value:?}"))
            }),
        }
    }

    fn by_time(
        &self,
        run: &mut Evaluation<'_>,
        windows: &[(Window, i128)],
        stream: &Stream,
        out: &mut Stream,
    ) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.input);
        if stream.zero_quantity {
            let at = run.scratch.calendar.offset_interval(flow.start);
            let found = self.at(flow.start, at, windows);
            out.zero_quantity = found.ok_or_else(|| outside(run, flow.start))?.0 > 0;
        }
        let mut pieces = 0;
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let at = flow.instant(unit);
                let found = self.at(at, run.scratch.calendar.offset_interval(at), windows);
                let (weight, until) = found.ok_or_else(|| outside(run, at))?;
                let end = flow.units_before(until).clamp(unit + 1, span.end);
                multiply(Span { first: unit, end, ..*span }, weight, out)?;
                unit = end;
                // The counter includes spans that are dropped or joined with the span before, so
                // that it bounds the work.
                pieces += 1;
                if pieces > SPANS_MAX {
                    return Err(SuspenseReason::Overflow);
                }
            }
        }
        Ok(())
    }

    /// The weight at an instant, and the instant up to which it holds; `None` if no window holds
    /// the instant. The weight holds at most to the end of `interval`, an interval of constant
    /// offset from UTC.
    fn at(
        &self,
        instant: i64,
        interval: OffsetInterval,
        windows: &[(Window, i128)],
    ) -> Option<(i128, i64)> {
        let local = instant.saturating_add(interval.offset_us);
        let found = windows.iter().find(|(window, _)| window.holds(local));
        let weight = found.map(|(_, weight)| *weight).or(self.default);
        let clock = local.rem_euclid(DAY_US);
        let edge = windows.iter().map(|(window, _)| window.edge_after(clock)).min();
        let wait = edge.unwrap_or(DAY_US) - clock;
        let until = instant.saturating_add(wait).min(interval.to);
        Some((weight?, until))
    }
}
