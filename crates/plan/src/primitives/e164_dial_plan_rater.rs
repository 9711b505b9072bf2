//! E164DialPlanRater: prices units by the called telephone number
//! (docs/plan-semantics.md section 8).

use turnpike_types::{LineKind, Money, SuspenseReason};

use crate::calendar::period::Period;
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::{Cause, Refused};
use crate::language::graph::Primitive;
use crate::language::measure::{Unit, plural};
use crate::language::price::{Price, fixed};
use crate::language::spec::{
    CHARGE_OUT, Role, Spec, Value, optional, required, usage_in, with_default,
};
use crate::language::table_name::TableKind;
use crate::machine::code::{Component, Evaluation, Op};
use crate::machine::evaluation::places::{Attribute, ChargeOut, TableRef, UsageInput};
use crate::machine::evaluation::refusal::Named;
use crate::machine::lines::ChargeLine;
use crate::machine::stream::Stream;
use crate::tables::{
    BadNumber, DialRow, HomePlan, Number, NumberReading, national_prefix, read_number,
};

use super::parts::charging::CURRENCY;
use super::parts::fee_per::{FEE_PER, is_per_call};

/// The national prefix of a plan whose numbers have none.
const NO_PREFIX: &str = "none";

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "E164DialPlanRater",
        help: "Prices units by the longest prefix of the called number in a dial plan.",
        inputs: &[usage_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[
            required("table", Value::Id, "the id of the dial plan"),
            with_default(
                "number",
                Value::Attribute,
                "called",
                "the attribute that holds the number",
            ),
            with_default(
                "numbers",
                Value::Choice(&["dialled", "international"]),
                "dialled",
                "how a number without + is read: as dialled, or with its country code first",
            ),
            optional(
                "country-code",
                Value::Text,
                "the caller's country code, such as 44; needed for dialled numbers",
            ),
            optional(
                "international-prefix",
                Value::Text,
                "the prefix before a country code, such as 00; needed for dialled numbers",
            ),
            optional(
                "national-prefix",
                Value::Text,
                "the prefix before a number of the same country, such as 0; none if numbers have none",
            ),
            optional(
                "keeps-national-prefix",
                Value::Choice(&["yes", "no"]),
                "whether the national prefix is part of the number; the default is yes for Italy only",
            ),
            optional(
                "ambiguous",
                Value::Choice(&["suspend", "national"]),
                "what happens to a dialled number without any prefix that may be national or international; the default is suspend",
            ),
            FEE_PER,
            CURRENCY,
        ],
        children: &[],
        role: Role::Plain,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    if builder.rounds_running() {
        let message = "round=\"running\" needs a running total, and calls have none: write round=\"9 half-even\" for this plan";
        return Err(builder.refuse(primitive.line, Cause::OpenInput, message));
    }
    if builder.unit() == Unit::Byte {
        let message = "in: a dial plan prices time or a count, and the input is in bytes: link it to record.duration, or to a count";
        return Err(builder.refuse(primitive.line, Cause::WrongUnit, message));
    }
    let reading = reading(primitive, builder)?;
    let number = builder.property(primitive, "number")?;
    let table = builder.property(primitive, "table")?;
    let currency = builder.currency()?;
    let component = |name: &str, unit, price| Component {
        primitive: primitive.id.clone(),
        component: name.to_owned(),
        kind: LineKind::Usage,
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
        reading,
        fee_per_call: is_per_call(primitive),
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

/// How the rater interprets telephone numbers without `+`.
fn reading(primitive: &Primitive, builder: &mut Builder<'_>) -> Result<NumberReading, Refused> {
    let line = primitive.line;
    let prefix = primitive.property("international-prefix");
    if primitive.property("numbers") == Some("international") {
        let home = ["country-code", "national-prefix", "keeps-national-prefix", "ambiguous"];
        if let Some(name) = home.into_iter().find(|name| primitive.property(name).is_some()) {
            let message = format!(
                "{name}: numbers=\"international\" include the country code: leave {name} out"
            );
            return Err(builder.refuse(line, Cause::BadValue, message));
        }
        let prefix = prefix.unwrap_or_default();
        if prefix.len() > 8 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!(
                "international-prefix: \"{prefix}\" is not an international prefix: write up to 8 digits, such as 00, or leave it out"
            );
            return Err(builder.refuse(line, Cause::BadValue, message));
        }
        return Ok(NumberReading::International { prefix: prefix.into() });
    }
    let mut missing = |name: &str, example: &str| {
        let message = format!(
            "<E164DialPlanRater> has no {name}: write {name}=\"{example}\", or numbers=\"international\" if the numbers include their country code"
        );
        builder.refuse(line, Cause::MissingProperty, message)
    };
    let Some(country) = primitive.property("country-code") else {
        return Err(missing("country-code", "44"));
    };
    let Some(international) = prefix else {
        return Err(missing("international-prefix", "00"));
    };
    let national = primitive.property("national-prefix").filter(|&prefix| prefix != NO_PREFIX);
    let national = national.unwrap_or_default();
    let home = HomePlan::new(country, international, national);
    let home = builder.read(line, "home plan", home)?;
    let home = match primitive.property("keeps-national-prefix") {
        Some(keeps) => home.keeping_national_prefix(keeps == "yes"),
        None => home,
    };
    warn_of_prefixes(primitive, builder, country);
    let home = match primitive.property("ambiguous") {
        Some("national") => home.national_if_ambiguous(),
        _ => home,
    };
    Ok(match builder.has_unchecked_numbers() {
        true => NumberReading::Unchecked(home),
        false => NumberReading::Dialled(home),
    })
}

/// Warns of a plan without the national prefix of its country, and of a property that has no effect
/// without one. The word `none` states that numbers have none.
fn warn_of_prefixes(primitive: &Primitive, builder: &mut Builder<'_>, country: &str) {
    let written = primitive.property("national-prefix");
    if let (None, Some(dialled)) = (written, national_prefix(country)) {
        builder.warn(
            primitive.line,
            format!(
                "callers of +{country} dial {dialled} before national numbers, and the plan has no national-prefix: write national-prefix=\"{dialled}\", or national-prefix=\"none\" if no number has it"
            ),
        );
    }
    if primitive.property("ambiguous").is_some() && matches!(written, None | Some(NO_PREFIX)) {
        let message = "ambiguous has no effect without a national-prefix: every number without an international prefix is national then";
        builder.warn(primitive.line, message);
    }
}

struct E164DialPlanRater {
    number: Attribute,
    table: TableRef,
    reading: NumberReading,
    /// Whether the setup fee is charged with the record's first unit only.
    fee_per_call: bool,
    /// The unit in which the input is measured.
    unit: Unit,
    digits: u32,
    call: u16,
    setup: u16,
    input: UsageInput,
    out: ChargeOut,
}

impl Op for E164DialPlanRater {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.input)?;
        let rated = self.rate(run, &stream);
        run.give(&self.input, stream);
        rated
    }
}

impl E164DialPlanRater {
    fn rate(&self, run: &mut Evaluation<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
        // A record without units costs nothing, so its number is not checked.
        let Some(first) = stream.spans.first() else { return Ok(()) };
        let quantity = stream
            .spans
            .iter()
            .try_fold(0i128, |sum, span| sum.checked_add(span.count()?))
            .ok_or(SuspenseReason::Overflow)?;
        let row = self.row(run)?;
        if row.per.value.unit != self.unit {
            let (prefix, per) = (row.prefix, &row.per.text);
            let flows = plural(self.unit);
            let about = format_args!("prefix {prefix} is priced per {per}, and {flows} come in");
            return Err(run.refuse(SuspenseReason::MissingInput, about));
        }
        let (amount, setup) = self.amounts(&row, quantity).ok_or(SuspenseReason::Overflow)?;
        let of_row = Some(row.index);
        let line = run.fixed(self.call, amount, Period::EVER, first.first);
        run.book(self.out, ChargeLine { quantity, row: of_row, ..line })?;
        let setup = setup.filter(|_| !self.fee_per_call || first.begins_record());
        if let Some(fee) = setup {
            let line = run.fixed(self.setup, fee, Period::EVER, first.first);
            run.book(self.out, ChargeLine { row: of_row, ..line })?;
        }
        Ok(())
    }

    /// The row of the dial plan for the called number.
    fn row<'a>(&self, run: &mut Evaluation<'a>) -> Result<DialRow<'a>, SuspenseReason> {
        let table = run.table(self.table)?;
        let plan = table.dial_plan().ok_or_else(|| run.without_table(self.table))?;
        let number = run.attribute(&self.number)?.ok_or_else(|| run.lacks(&self.number))?;
        let read = match read_number(number, &self.reading) {
            Ok(read) => read,
            Err(fault) => return Err(self.bad(run, number, fault)),
        };
        let (digits, service) = match read {
            Number::Whole(digits) => (digits, None),
            Number::Service(digits, fault) => (digits, Some(fault)),
        };
        let row = plan.longest(digits.as_str());
        match (row, service) {
            (Some(row), None) => Ok(row),
            // A service number must be equal to a prefix of the dial plan.
            (Some(row), Some(_)) if row.prefix.is(digits.as_str()) => Ok(row),
            (_, Some(fault)) => Err(self.bad(run, number, fault)),
            (None, None) => {
                let about = format_args!("+{}", digits.as_str());
                Err(run.refuse(SuspenseReason::NoPrefix, about))
            }
        }
    }

    #[cold]
    fn bad(&self, run: &Evaluation<'_>, number: &str, fault: BadNumber) -> SuspenseReason {
        let about = format_args!("{} {number:?}: {fault}", Named(&self.number));
        run.refuse(SuspenseReason::BadAttribute, about)
    }

    /// The price of the units, and the setup fee if the row has one; `None` on overflow.
    fn amounts(&self, row: &DialRow<'_>, quantity: i128) -> Option<(Money, Option<Money>)> {
        let units = Price::new(row.price.value, row.per.value.base, self.digits)?.of(quantity)?;
        let setup = match row.setup {
            Some(fee) => Some(fixed(fee.value, self.digits)?),
            None => None,
        };
        Some((units, setup))
    }
}
