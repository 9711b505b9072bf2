//! Shared code of the primitives that work on charges: percentages, references to accounts, and
//! lines that are derived from other lines.

use turnpike_types::{AccountNumber, LineKind, Money, Posting, SuspenseReason};

use crate::compile::build::Builder;
use crate::language::findings::Refused;
use crate::language::measure::{Decimal, Unit};
use crate::language::price::half_even;
use crate::language::spec::{Value, ValueType};
use crate::language::values;
use crate::machine::code::{Component, Evaluation};
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::places::Attribute;
use crate::machine::evaluation::refusal::Named;
use crate::machine::lines::ChargeLine;

/// A percentage as an exact fraction: `-2.5` is -25 / 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent {
    negative: bool,
    top: i128,
    bottom: i128,
}

/// The largest percentage; a larger one is assumed to be a mistake.
const PERCENT_MAX: i128 = 1000;

impl Percent {
    /// Parses a percentage such as `5`, `2.5` or `-10`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let percent = Self::of(Decimal::parse(digits)?);
        if percent.top > PERCENT_MAX * (percent.bottom / 100) {
            return Err(format!(
                "\"{text}\" is more than {PERCENT_MAX} percent: write percent, such as 5"
            ));
        }
        Ok(Self { negative, ..percent })
    }

    /// Converts a decimal number of percent.
    pub(crate) fn of(rate: Decimal) -> Self {
        // A decimal has at most 27 digits: this can't overflow.
        Self { negative: false, top: rate.digits, bottom: 100 * 10i128.pow(rate.scale) }
    }

    /// The fraction without its sign: `top / bottom`.
    pub(crate) const fn fraction(&self) -> (i128, i128) {
        (self.top, self.bottom)
    }

    /// This percentage of an amount, rounded once.
    pub(crate) fn part(&self, amount: Money, digits: u32) -> Result<Money, SuspenseReason> {
        let nanos = if self.negative { -amount.nanos() } else { amount.nanos() };
        half_even(nanos, self.top, self.bottom, digits).ok_or(SuspenseReason::Overflow)
    }
}

/// A percentage up to 100, or a negative one.
pub(crate) const SIGNED_PERCENT: Value = Value::Of(&ValueType {
    name: "percent",
    check: |text| {
        let percent = Percent::parse(text)?;
        if !percent.negative && percent.top > percent.bottom {
            return Err(format!("\"{text}\" is more than the whole: write 100 or less"));
        }
        Ok(())
    },
});

/// A percentage from 0 to 100.
pub(crate) const PERCENT: Value = Value::Of(&ValueType {
    name: "percent",
    check: |text| {
        let percent = Percent::parse(text)?;
        if percent.negative || percent.top > percent.bottom {
            return Err(format!("\"{text}\" is not a part of the whole: write 0 to 100"));
        }
        Ok(())
    },
});

/// A reference of a plan to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountRef {
    /// The record's own account.
    Own,
    Number(AccountNumber),
    /// The account whose number an attribute holds.
    Held(Attribute),
}

/// The word in a plan for the record's own account.
pub(crate) const OWN: &str = "self";

/// The syntax of a reference to an account: `901`, `self`, `account.provider`, `record.advertiser`.
pub(crate) const ACCOUNT: Value = Value::Of(&ValueType {
    name: "account",
    check: |text| {
        match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if number(text).is_none() => {
            Err(format!("\"{text}\" is not an account number: write a whole number from 1"))
        }
        true => Ok(()),
        false => values::attribute(text).map_err(|_| {
            format!("\"{text}\" is not an account: write its number, {OWN}, or an attribute that holds its number, such as account.provider")
        }),
    }
    },
});

/// Parses an account number; `None` for zero, which belongs to no account.
fn number(text: &str) -> Option<AccountNumber> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|&number| number > 0).map(AccountNumber)
}

impl AccountRef {
    /// Reads a text that [`ACCOUNT`] accepts.
    pub(crate) fn read(
        builder: &mut Builder<'_>,
        line: u32,
        name: &str,
        text: &str,
    ) -> Result<Self, Refused> {
        match number(text) {
            Some(number) => Ok(Self::Number(number)),
            None if text == OWN => Ok(Self::Own),
            None => builder.attribute(line, name, text).map(Self::Held),
        }
    }

    /// The posting of a line that this account pays.
    pub(crate) fn posting(&self, run: &Evaluation<'_>) -> Result<Posting, SuspenseReason> {
        let number = match self {
            Self::Own => return Ok(Posting::Account),
            Self::Number(number) => *number,
            Self::Held(attribute) => {
                let held = run.attribute(attribute)?.map(str::trim);
                held.and_then(number).ok_or_else(|| no_account(run, attribute, held))?
            }
        };
        // The record's own account always gets the posting `Account`, even if the plan gives its
        // number.
        let own = number == run.record.account;
        Ok(if own { Posting::Account } else { Posting::Second(number) })
    }
}

/// Refuses the record because the attribute does not hold an account's number.
#[cold]
fn no_account(run: &Evaluation<'_>, attribute: &Attribute, held: Option<&str>) -> SuspenseReason {
    let (name, reason) = (Named(attribute), SuspenseReason::NoParty);
    match held {
        Some(text) => run.refuse(reason, format_args!("{name} {text:?} is no account number")),
        None => run.refuse(reason, format_args!("{name} is missing")),
    }
}

/// Declares a component of a primitive that derives lines from other lines.
pub(crate) fn component(
    builder: &mut Builder<'_>,
    line: u32,
    (primitive, component): (&str, &str),
    kind: LineKind,
    price: String,
) -> Result<u16, Refused> {
    let currency = builder.charged();
    let component = Component {
        primitive: primitive.to_owned(),
        component: component.to_owned(),
        kind,
        price,
        unit: Unit::One,
        level: None,
        currency,
    };
    builder.component(line, component)
}

/// The line that was booked under this number.
pub(crate) fn line<'r>(
    run: &'r Evaluation<'_>,
    number: u32,
) -> Result<&'r ChargeLine, SuspenseReason> {
    // Every number is the number of a line that was booked before.
    run.lines.get(number as usize).ok_or(SuspenseReason::Overflow)
}

/// A line that is derived from another line and has the same posting.
pub(crate) fn beside(
    run: &Evaluation<'_>,
    number: u32,
    component: u16,
    amount: Money,
) -> Result<ChargeLine, SuspenseReason> {
    let posting = line(run, number)?.posting;
    Ok(ChargeLine { posting, ..run.made_of(number, component, amount) })
}

/// Marks a line as replaced by the lines that were derived from it.
pub(crate) fn replaced(run: &mut Evaluation<'_>, number: u32) {
    if let Some(line) = run.lines.get_mut(number as usize) {
        line.posting = Posting::Replaced;
    }
}

/// Whether the line is a charge. An event has no amount, so it is neither taxed nor shared.
pub(crate) fn is_charge(run: &Evaluation<'_>, number: u32) -> Result<bool, SuspenseReason> {
    let component = run.code.components.get(usize::from(line(run, number)?.component));
    Ok(component.is_some_and(|component| component.kind != LineKind::Event))
}

/// Calls `each` for every line of a charge input, in the order of booking.
pub(crate) fn for_each_line<'a>(
    run: &mut Evaluation<'a>,
    slots: &[usize],
    mut each: impl FnMut(&mut Evaluation<'a>, u32) -> Result<(), SuspenseReason>,
) -> Result<(), SuspenseReason> {
    let lines = run.take_lines(slots);
    let done = lines.iter().try_for_each(|&number| each(run, number));
    run.give_lines(lines);
    done
}

/// The instant that decides in which period a line counts: the start of the record or of the due
/// charge; for the close of a billing cycle, the cycle's last instant.
pub(crate) fn instant(run: &Evaluation<'_>) -> i64 {
    match *run.event {
        Event::Close(cycle) => cycle.to.saturating_sub(1),
        _ => run.record.start.micros(),
    }
}

/// Billionths as money; `None` and values out of range are an overflow.
pub(crate) fn money(nanos: Option<i128>) -> Result<Money, SuspenseReason> {
    nanos.and_then(Money::from_nanos).ok_or(SuspenseReason::Overflow)
}
