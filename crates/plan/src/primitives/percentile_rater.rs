//! PercentileRater: bills bandwidth by a percentile of its five-minute intervals
//! (docs/plan-semantics.md section 5).
//!
//! State and prices are in bytes per five minutes, because a rate in bit/s is rarely a whole
//! number.

use turnpike_types::SuspenseReason;

use crate::calendar::period::Period;
use crate::calendar::periods::PeriodSpan;
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::measure::{Decimal, Unit};
use crate::language::spec::{
    CHARGE_OUT, ChildSpec, Role, Spec, Value, ValueType, optional, optional_usage_in, required,
    usage_in, with_default,
};
use crate::language::values::whole;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::places::{ChargeOut, UsageInput};
use crate::machine::state::{Keep, VariableId};
use crate::machine::stream::{Span, Stream};

use super::parts::charging::CURRENCY;
use super::parts::steps::{ExactUnits, Tiers};

const INTERVAL_US: i64 = 300_000_000;

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "PercentileRater",
        help: "Bills the bandwidth of each billing cycle by a percentile of its five-minute intervals.",
        inputs: &[usage_in("in"), optional_usage_in("other")],
        outputs: &[CHARGE_OUT],
        properties: &[
            with_default(
                "percentile",
                PERCENTILE,
                "95",
                "the percentage of intervals whose rate is at most the billed rate",
            ),
            CURRENCY,
        ],
        children: &[ChildSpec {
            name: "step",
            at_least: 1,
            properties: &[
                required("id", Value::Id, "the name of the step on lines and receipts"),
                optional(
                    "from",
                    RATE,
                    "the rate at which the step begins, which is the end of the step before",
                ),
                optional("upto", RATE, "the rate at which the step ends; the last step has no end"),
                required("price", Value::Money, "the price of one per for a billing cycle"),
                required("per", RATE, "the rate that the price is for"),
            ],
            help: "the price of a range of rates",
        }],
        role: Role::Plain,
    },
    build,
};

const RATE: Value = Value::Of(&ValueType { name: "rate", check: |text| rate(text).map(drop) });

const PERCENTILE: Value =
    Value::Of(&ValueType { name: "percentile", check: |text| percentile(text).map(drop) });

const RATES: &[(&str, i128)] = &[
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Tbit/s", 1_000_000_000_000),
];

/// Reads a rate such as `1 Mbit/s` as bytes in five minutes.
fn rate(text: &str) -> Result<i128, String> {
    let text = text.trim();
    let (number, name) = text.split_at(text.find([' ', 'k', 'M', 'G', 'T']).unwrap_or(text.len()));
    let name = name.trim();
    let Some(&(_, bits)) = RATES.iter().find(|known| known.0 == name) else {
        let names: Vec<&str> = RATES.iter().map(|known| known.0).collect();
        return Err(format!(
            "\"{text}\" is not a rate: write a number and one of {}",
            names.join(" ")
        ));
    };
    let decimal = Decimal::parse(number)?;
    // The number of bits in 300 seconds, times `10^scale`. `one` is the number of bits of a byte,
    // times the same factor.
    let scaled = decimal.digits.checked_mul(bits * 300);
    let one = 8 * 10i128.pow(decimal.scale);
    match scaled {
        None => Err(format!("\"{text}\" is too large")),
        Some(scaled) if scaled % one != 0 => {
            Err(format!("\"{text}\" is not a whole number of bytes in five minutes"))
        }
        Some(scaled) => Ok(scaled / one),
    }
}

fn percentile(text: &str) -> Result<i64, String> {
    match whole(text) {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err(format!("\"{text}\" is not a percentile: write a whole number from 1 to 100")),
    }
}

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    if builder.unit() == Unit::Microsecond {
        let message = "in: bandwidth needs bytes, and the input is in time: link it to a measure of bytes, such as record.octets-in";
        return Err(builder.refuse(primitive.line, Cause::WrongUnit, message));
    }
    let percent = builder.property(primitive, "percentile")?;
    let percent = builder.read(primitive.line, "percentile", percentile(percent))?;
    let tiers = Tiers::build(primitive, Unit::Byte, rate, builder)?;
    let mut directions = vec![Direction {
        input: builder.input("in"),
        bytes: builder.variable(Some("in"), Unit::Byte, Keep::Intervals)?,
    }];
    if builder.is_fed("other") {
        directions.push(Direction {
            input: builder.input("other"),
            bytes: builder.variable(Some("other"), Unit::Byte, Keep::Intervals)?,
        });
    }
    builder.closes();
    let op = PercentileRater { percent, tiers, directions, out: builder.charge_out("charge") };
    builder.op(op);
    Ok(())
}

struct PercentileRater {
    percent: i64,
    tiers: Tiers,
    /// The directions of traffic. Each has its own percentile, and the greater one is billed.
    directions: Vec<Direction>,
    out: ChargeOut,
}

struct Direction {
    input: UsageInput,
    /// The variable that counts bytes in each five-minute interval.
    bytes: VariableId,
}

impl Op for PercentileRater {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        if let Event::Close(cycle) = *run.event {
            return self.close(run, cycle);
        }
        for direction in &self.directions {
            let stream = run.take(&direction.input)?;
            let counted = direction.count(run, &stream);
            run.give(&direction.input, stream);
            counted?;
        }
        Ok(())
    }
}

impl Direction {
    /// Adds units to the intervals of their instants. Units are in order of time, so their
    /// intervals are too. A record changes at most [`PORTIONS_MAX`](crate::PORTIONS_MAX) intervals;
    /// more changes are refused.
    fn count(&self, run: &mut Evaluation<'_>, stream: &Stream) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.input);
        let mut current: Option<(Period, i128)> = None;
        for span in &stream.spans {
            let mut unit = span.first;
            while unit < span.end {
                let number = flow.instant(unit).div_euclid(INTERVAL_US);
                let ends = number.saturating_add(1).saturating_mul(INTERVAL_US);
                let end = flow.units_before(ends).clamp(unit + 1, span.end);
                let piece = Span { first: unit, end, ..*span };
                let interval = interval(number)?;
                let before = match current {
                    Some((open, bytes)) if open == interval => bytes,
                    _ => {
                        self.keep(run, current)?;
                        run.value(self.bytes, interval)
                    }
                };
                let after = piece.count().and_then(|count| before.checked_add(count));
                current = Some((interval, after.ok_or(SuspenseReason::Overflow)?));
                unit = end;
            }
        }
        self.keep(run, current)
    }

    fn keep(
        &self,
        run: &mut Evaluation<'_>,
        counted: Option<(Period, i128)>,
    ) -> Result<(), SuspenseReason> {
        counted.map_or(Ok(()), |(interval, bytes)| run.set(self.bytes, interval, bytes))
    }
}

impl PercentileRater {
    fn close(&self, run: &mut Evaluation<'_>, cycle: PeriodSpan) -> Result<(), SuspenseReason> {
        // An interval belongs to the cycle in which it begins.
        let number =
            |at: i64| at.div_euclid(INTERVAL_US) + i64::from(at.rem_euclid(INTERVAL_US) != 0);
        let (first, end) = (number(cycle.from), number(cycle.to));
        let dropped = i128::from(100 - self.percent) * i128::from(end - first) / 100;
        let dropped = usize::try_from(dropped).map_err(|_| SuspenseReason::Overflow)?;
        let mut billed = 0;
        for direction in &self.directions {
            let known = run.state.between(direction.bytes, interval(first)?, interval(end)?);
            let mut bytes: Vec<i128> = known.iter().map(|entry| entry.value).collect();
            // Intervals without usage are not stored. They count as zero, after all others in
            // descending order.
            if dropped < bytes.len() {
                let (_, next, _) = bytes.select_nth_unstable_by(dropped, |a, b| b.cmp(a));
                billed = (*next).max(billed);
            }
        }
        self.tiers.book(run, self.out, ExactUnits::of(billed), cycle.period)
    }
}

fn interval(number: i64) -> Result<Period, SuspenseReason> {
    i32::try_from(number).map(Period).map_err(|_| SuspenseReason::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_in_five_minutes() {
        assert_eq!(rate("1 Mbit/s"), Ok(37_500_000));
        assert_eq!(rate("2.5 Gbit/s"), Ok(93_750_000_000));
        assert_eq!(rate("0.008kbit/s"), Ok(300));
        for wrong in
            ["", "1", "1 MB/s", "Mbit/s", "-1 Mbit/s", "1 mbit/s", "1 Mbit", "0.001 kbit/s"]
        {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!(rate(&format!("{} Tbit/s", "9".repeat(27))).is_err());
    }
}
