//! Allowance: granted units with a validity period, used before any unit is charged
//! (docs/plan-semantics.md section 4).
//!
//! This module holds the properties and ports; `parts/buckets.rs` holds the grants and the order in
//! which they are used.

use turnpike_types::SuspenseReason;

use crate::calendar::periods::Calendared;
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::measure::{Quantity, Unit};
use crate::language::spec::{
    Carries, ChildSpec, MayBeUnconnected, OutputSpec, PropertySpec, Role, Spec, Value, ValueType,
    optional, optional_usage_in, required, usage_in, usage_out, with_default,
};
use crate::language::values::whole;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::UsageInput;
use crate::machine::meaning::{Holds, Meaning, Per};
use crate::machine::state::Keep;
use crate::machine::stream::Stream;

use super::parts::buckets::{Bucket, Drawing, Kind};
use super::parts::weekdays::{WEEKDAY, week_from};

const PRIORITY: PropertySpec = with_default(
    "priority",
    Value::Whole,
    "0",
    "among equal expiry dates the higher priority is used first",
);

/// The longest validity, in days. The state of a grant is kept for the same time.
const VALID_DAYS_MAX: i64 = 3660;

static DAYS: ValueType = ValueType { name: "days", check: |text| days(text).map(drop) };

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "Allowance",
        help: "Covers units from granted or bought units; units that are not covered leave by rest.",
        inputs: &[usage_in("in"), optional_usage_in("topup")],
        outputs: &[
            OutputSpec { name: "covered", carries: Carries::Usage, open: MayBeUnconnected::Always },
            usage_out("rest"),
        ],
        properties: &[],
        children: &[
            ChildSpec {
                name: "bucket",
                at_least: 0,
                properties: &[
                    required("id", Value::Id, "the name of the bucket and of its state"),
                    required("grant", Value::Quantity, "the amount of each grant"),
                    optional(
                        "every",
                        Value::Choice(EVERY),
                        "one grant for each such period; without it, a single grant",
                    ),
                    optional("starts", WEEKDAY, "the first day of a week; the default is Mon"),
                    optional(
                        "rollover",
                        Value::Whole,
                        "for how many further periods unused units stay valid",
                    ),
                    optional("valid", Value::Of(&DAYS), "the validity of a single grant, in days"),
                    PRIORITY,
                ],
                help: "units that the plan grants",
            },
            ChildSpec {
                name: "bought",
                at_least: 0,
                properties: &[
                    required("id", Value::Id, "the name of the bucket and of its state"),
                    required(
                        "valid",
                        Value::Of(&DAYS),
                        "the validity in days, the day of purchase included",
                    ),
                    PRIORITY,
                ],
                help: "the bucket that units of the input topup are added to",
            },
        ],
        role: Role::Plain,
    },
    build,
};

const EVERY: &[&str] = &["month", "billing-cycle", "week", "day"];

/// Parses a number of days such as `30 d`.
fn days(text: &str) -> Result<i32, String> {
    let number = text.strip_suffix('d').map(str::trim_end).map(whole);
    match number {
        Some(Ok(days @ 1..=VALID_DAYS_MAX)) => i32::try_from(days).map_err(|e| e.to_string()),
        _ => Err(format!("\"{text}\" is not a validity: write days, 1 d to {VALID_DAYS_MAX} d")),
    }
}

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let mut buckets = Vec::with_capacity(primitive.children.len());
    let mut topup = None;
    for (place, child) in primitive.children.iter().enumerate() {
        let id = builder.child_property(child, "id")?;
        if primitive.children.iter().take(place).any(|other| other.property("id") == Some(id)) {
            let message = format!("two buckets have the id {id}: give each its own");
            return Err(builder.refuse(child.line, Cause::DuplicateId, message));
        }
        let priority = builder.child_property(child, "priority")?;
        let priority = builder.read(child.line, "priority", whole(priority))?;
        if child.kind == "bought" && topup.replace(place).is_some() {
            let message = "topup fills one <bought>: take the others out";
            return Err(builder.refuse(child.line, Cause::BadValue, message));
        }
        let kind = if child.kind == "bought" {
            bought(child, id, builder)
        } else {
            granted(child, builder)
        };
        let kind = kind?;
        let (grant, keep) = match kind {
            Kind::Bought { .. } => (0, Keep::Year),
            Kind::Every { .. } => (grant(child, builder)?, Keep::Year),
            Kind::Once { .. } => (grant(child, builder)?, Keep::Ever),
        };
        let meaning = match kind {
            Kind::Bought { .. } => Meaning::new(Holds::Left, Per::Expiry),
            Kind::Every { .. } => Meaning::new(Holds::Units, Per::Date),
            Kind::Once { .. } => Meaning::new(Holds::Units, Per::Subscription),
        };
        let variable = builder.remember(Some(id), builder.unit(), keep, meaning)?;
        buckets.push(Bucket { kind, grant, priority, variable });
    }
    check_ports(primitive, topup.is_some(), builder)?;
    let op = Allowance {
        buckets: buckets.into(),
        topup: topup.map(|place| (place, builder.input("topup"))),
        input: builder.input("in"),
        covered: builder.output("covered"),
        rest: builder.output("rest"),
    };
    builder.op(op);
    Ok(())
}

fn check_ports(primitive: &Primitive, has_bought: bool, builder: &mut Builder<'_>) -> Built {
    if primitive.children.is_empty() {
        let message = "it has no bucket: write a <bucket> or a <bought>";
        return Err(builder.refuse(primitive.line, Cause::MissingProperty, message));
    }
    match (has_bought, builder.is_fed("topup")) {
        (true, false) => {
            let message = "nothing feeds <bought>: write topup=\"PRIMITIVE.PORT\"";
            Err(builder.refuse(primitive.line, Cause::OpenInput, message))
        }
        (false, true) => {
            let message =
                "the units of topup have no validity: write <bought id=\"bought\" valid=\"30 d\"/>";
            Err(builder.refuse(primitive.line, Cause::MissingProperty, message))
        }
        _ => Ok(()),
    }
}

fn bought(child: &Child, id: &str, builder: &mut Builder<'_>) -> Result<Kind, Refused> {
    let valid = builder.child_property(child, "valid")?;
    let valid = builder.read(child.line, "valid", days(valid))?;
    // A bucket cannot have this name, because an id contains no slash.
    let begins = Meaning::new(Holds::Date("valid from"), Per::Expiry);
    let since = builder.remember(Some(&format!("{id}/since")), Unit::One, Keep::Year, begins)?;
    Ok(Kind::Bought { valid, since })
}

fn granted(child: &Child, builder: &mut Builder<'_>) -> Result<Kind, Refused> {
    let refuse = |builder: &mut Builder<'_>, message: &str| {
        Err(builder.refuse(child.line, Cause::BadValue, message))
    };
    let (rollover, valid) = (child.property("rollover"), child.property("valid"));
    let Some(every) = child.property("every") else {
        if rollover.is_some() || child.property("starts").is_some() {
            return refuse(
                builder,
                "every: rollover and starts need periods: write every, or take them out",
            );
        }
        let valid = match valid {
            Some(valid) => Some(builder.read(child.line, "valid", days(valid))?),
            None => None,
        };
        return Ok(Kind::Once { valid });
    };
    if valid.is_some() {
        return refuse(
            builder,
            "valid: a grant for each period is valid for that period: write rollover, or take every out",
        );
    }
    if child.property("starts").is_some() && every != "week" {
        return refuse(builder, "starts: it applies to weeks only: take it out");
    }
    // The maximum number of past periods whose state is kept: the periods of a year.
    let (calendared, most) = match every {
        "month" => (Calendared::Month, 12),
        "billing-cycle" => (Calendared::Cycle, 12),
        "week" => (week_from(child.property("starts")), 52),
        _ => (Calendared::Day, 366),
    };
    let rollover = builder.read(child.line, "rollover", rollover.map_or(Ok(0), whole))?;
    match usize::try_from(rollover) {
        Ok(rollover) if rollover <= most => Ok(Kind::Every { calendared, rollover }),
        _ => {
            let message =
                format!("rollover: unused units are kept for at most a year: write at most {most}");
            refuse(builder, &message)
        }
    }
}

fn grant(child: &Child, builder: &mut Builder<'_>) -> Result<i128, Refused> {
    let written = builder.child_property(child, "grant")?;
    let grant = builder.read(child.line, "grant", Quantity::parse(written))?.base;
    if grant == 0 {
        let message = "grant: 0 grants nothing: take the bucket out";
        return Err(builder.refuse(child.line, Cause::BadValue, message));
    }
    Ok(grant)
}

struct Allowance {
    buckets: Box<[Bucket]>,
    /// The index of the bucket of bought units, and the input whose units are added to that bucket.
    topup: Option<(usize, UsageInput)>,
    input: UsageInput,
    covered: Option<usize>,
    rest: Option<usize>,
}

impl Op for Allowance {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let mut drawing = Drawing::new(&self.buckets);
        if let Some((place, topup)) = &self.topup {
            // Both inputs may read the same stream, so the stream of this input is returned before
            // the other input is taken.
            let stream = run.take(topup)?;
            let flow = run.flow(topup);
            drawing.fill(*place, run, flow, &stream)?;
            run.give(topup, stream);
        }
        let stream = run.take(&self.input)?;
        if !stream.is_empty() {
            let flow = run.flow(&self.input);
            let [mut covered, mut rest] = [self.covered, self.rest].map(|slot| match slot {
                Some(slot) => std::mem::take(&mut run.scratch.streams[slot]),
                None => Stream::default(),
            });
            drawing.draw(run, flow, &stream, &mut covered, &mut rest)?;
            for (slot, stream) in [(self.covered, covered), (self.rest, rest)] {
                if let Some(slot) = slot {
                    run.scratch.streams[slot] = stream;
                }
            }
        }
        run.give(&self.input, stream);
        drawing.keep(run)
    }
}
