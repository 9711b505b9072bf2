//! Descriptions of account state as text for people: totals with their units, amounts, dates,
//! bookings, buckets.
//!
//! A state entry holds a plain number. The primitive that writes the variable determines its
//! meaning (meaning.rs), which is therefore declared together with the variable.

use jiff::civil::Date;
use turnpike_types::{Currency, Money, Timestamp};

use crate::calendar::period::Period;
use crate::calendar::zone::Zone;
use crate::language::measure::Unit;
use crate::machine::booked_dates::BookedDates;
use crate::machine::code::{ObjectCode, Variable};
use crate::machine::in_force::OfferId;
use crate::machine::meaning::{Holds, Per};
use crate::machine::offset;
use crate::machine::state::{StateEntry, plan_number};

/// An entry of an account's state, described for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The name of the variable, such as `plan/primitive`, `plan/rater/step`, `option NAME/picked`
    /// or `account/total-EUR`; its number in hexadecimal when no given plan declares it.
    pub name: String,
    /// The period as text, such as `2026-11-01` or `subscription from 2026-11-01T00:00:00+00:00`;
    /// empty for [`Period::EVER`].
    pub period: String,
    /// The value as text, such as `7200 s`, `12.500000000 EUR`, `charged` or `charged until
    /// 2026-12-01`.
    pub value: String,
}

/// The plans and options by which an account's state is described.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Plan versions by which the account is or was rated.
    pub codes: &'a [&'a ObjectCode],
    /// The options offered to the account: name and offer.
    pub offers: &'a [(&'a str, OfferId)],
    /// The time zone of the account's dates and instants.
    pub zone: &'a Zone,
}

impl Reading<'_> {
    /// The description of an entry as text.
    pub fn words(&self, entry: &StateEntry) -> Remembered {
        let of_plan = self.codes.iter().find_map(|code| {
            let known = code.variables().iter().find(|known| known.id == entry.variable)?;
            Some((format!("{}/{}", code.plan_id(), known.primitive), known))
        });
        if let Some((name, known)) = of_plan {
            let (period, value) = known.words(entry, self.zone);
            return Remembered { name, period, value };
        }
        let known = self.of_account(entry).or_else(|| self.of_close(entry));
        known.or_else(|| self.of_option(entry)).unwrap_or_else(|| Remembered {
            name: format!("{:016x}", entry.variable.0),
            period: first_date(entry.period),
            value: entry.value.to_string(),
        })
    }

    /// Describes a total by which bonuses are offset against charges; `None` for any other entry.
    fn of_account(&self, entry: &StateEntry) -> Option<Remembered> {
        let (currency, is_granted) = offset::total_of(entry.variable)?;
        let what = if is_granted { "bonuses" } else { "total" };
        let name = format!("account/{what}-{currency}");
        Some(Remembered { name, period: first_date(entry.period), value: money(entry, currency) })
    }

    /// Describes the date until which a plan's billing cycles are closed; `None` for any other
    /// entry.
    fn of_close(&self, entry: &StateEntry) -> Option<Remembered> {
        let code = self.codes.iter().find(|code| code.tentative.closed == entry.variable)?;
        Some(closed(format!("{}/closed", code.plan_id()), entry))
    }

    /// Describes the choice, the billed plan, the closes or a sum of an option; `None` for any
    /// other entry.
    fn of_option(&self, entry: &StateEntry) -> Option<Remembered> {
        self.offers.iter().find_map(|&(option, offer)| {
            let named = |what: &str, value: String| Remembered {
                name: format!("option {option}/{what}"),
                period: first_date(entry.period),
                value,
            };
            if entry.variable == offer.choice() {
                return Some(named("picked", self.plan(entry.value)));
            }
            if entry.variable == offer.billed() {
                return Some(named("billed", self.plan(entry.value)));
            }
            if entry.variable == offer.closed() {
                return Some(closed(format!("option {option}/closed"), entry));
            }
            self.codes.iter().find_map(|code| {
                let [running, once] =
                    [code.tentative.running, code.tentative.once].map(|v| v.of(offer.0));
                let what = match entry.variable {
                    variable if variable == running => "so-far",
                    variable if variable == once => "once",
                    _ => return None,
                };
                let what = format!("{}/{what}", code.plan_id());
                Some(named(&what, money(entry, code.posts)))
            })
        })
    }

    /// The id of the plan with a [`plan_number`].
    fn plan(&self, number: i128) -> String {
        let mut ids = self.codes.iter().map(|code| code.plan_id());
        let known = ids.find(|id| plan_number(id) == number);
        known.map_or_else(|| format!("plan of number {number}"), str::to_owned)
    }
}

impl Variable {
    /// The currency of the variable's values; `None` when they are not amounts.
    pub fn currency(&self) -> Option<Currency> {
        match self.meaning.holds {
            Holds::Money(currency) => Some(currency),
            _ => None,
        }
    }

    /// The period and the value of an entry, as in [`Remembered`].
    pub fn words(&self, entry: &StateEntry, zone: &Zone) -> (String, String) {
        (self.meaning.per.words(entry.period, zone), self.value(entry.value, zone))
    }

    fn value(&self, value: i128, zone: &Zone) -> String {
        match self.meaning.holds {
            Holds::Units => self.unit.shown(value),
            Holds::Left => format!("{} left", self.unit.shown(value)),
            Holds::UnitTime => format!("{} x {}", self.unit.one(), Unit::Microsecond.shown(value)),
            Holds::Done(word) if value == 1 => word.to_owned(),
            Holds::Done(word) if value == 0 => format!("not {word}"),
            Holds::Money(currency) => amount(value, currency),
            // A value of 0 means that the variable was never set, so 0 is not shown as a date or an
            // instant.
            Holds::Instant | Holds::Date(_) | Holds::Booking if value == 0 => "nothing".to_owned(),
            Holds::Instant => instant(value, zone),
            Holds::Date(word) => format!("{word} {}", date(value)),
            Holds::Booking => match BookedDates::unpacked(value) {
                Some(BookedDates { subscription, through, kept }) => {
                    let since = Per::Subscription.words(subscription, zone);
                    let [through, kept] = [through, kept].map(|days| first_date(Period(days)));
                    format!("charged until {through}, kept until {kept}, of the {since}")
                }
                None => value.to_string(),
            },
            Holds::Done(_) => value.to_string(),
        }
    }
}

impl Per {
    fn words(self, period: Period, zone: &Zone) -> String {
        if period == Period::EVER {
            return String::new();
        }
        let at = |units: i64| instant(i128::from(period.0) * i128::from(units), zone);
        match self {
            Self::Date => first_date(period),
            Self::Subscription => format!("subscription from {}", at(60_000_000)),
            Self::Interval => format!("five minutes from {}", at(300_000_000)),
            Self::Expiry => format!("expires on {}", first_date(period)),
        }
    }
}

impl Unit {
    /// A number of base units for people: time in seconds, bytes as `B`, else the bare count.
    pub fn shown(self, base: i128) -> String {
        match self {
            Self::Microsecond => {
                let sign = if base < 0 { "-" } else { "" };
                let (whole, part) =
                    (base.unsigned_abs() / 1_000_000, base.unsigned_abs() % 1_000_000);
                let part = format!(".{part:06}");
                format!("{sign}{whole}{} s", part.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::Byte => format!("{base} B"),
            Self::One => base.to_string(),
        }
    }

    const fn one(self) -> &'static str {
        match self {
            Self::Microsecond => "us",
            Self::Byte => "B",
            Self::One => "1",
        }
    }
}

/// Describes up to which date the cycles that begin on a cycle day are closed.
fn closed(name: String, entry: &StateEntry) -> Remembered {
    let period = format!("cycles from day {}", entry.period.0);
    Remembered { name, period, value: format!("closed before {}", date(entry.value)) }
}

fn money(entry: &StateEntry, currency: Currency) -> String {
    amount(entry.value, currency)
}

fn amount(nanos: i128, currency: Currency) -> String {
    match Money::from_nanos(nanos) {
        Some(amount) => format!("{amount} {currency}"),
        None => format!("{nanos} billionths of {currency}"),
    }
}

fn instant(micros: i128, zone: &Zone) -> String {
    match i64::try_from(micros) {
        Ok(micros) => zone.show(Timestamp(micros)),
        Err(_) => format!("{micros} us"),
    }
}

fn date(days: i128) -> String {
    match i32::try_from(days) {
        Ok(days) => first_date(Period(days)),
        Err(_) => days.to_string(),
    }
}

/// The first date of a period in ISO format; the number if the period is not a date; empty for
/// [`Period::EVER`].
fn first_date(period: Period) -> String {
    if period == Period::EVER {
        return String::new();
    }
    let days = jiff::Span::new().try_days(period.0);
    let date = days.and_then(|days| Date::constant(1970, 1, 1).checked_add(days));
    match date {
        Ok(date) => date.to_string(),
        Err(_) => period.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shown_in_seconds_and_octets_in_bytes() {
        assert_eq!(Unit::Microsecond.shown(3_600_000_001), "3600.000001 s");
        assert_eq!(Unit::Microsecond.shown(-7_200_000_000), "-7200 s");
        assert_eq!(Unit::Byte.shown(5), "5 B");
        assert_eq!(Unit::One.shown(-5), "-5");
    }

    #[test]
    fn a_total_of_an_account_is_named_by_its_currency() {
        let code = |letters: [u8; 3]| {
            let [first, second, third] = letters;
            u64::from(u32::from_be_bytes([0, first, second, third])) << 1
        };
        let id = |number| crate::VariableId(number);
        let euro: Currency = "EUR".parse().unwrap();
        assert_eq!(offset::total_of(id(code(*b"EUR"))), Some((euro, false)));
        assert_eq!(offset::total_of(id(code(*b"EUR") | 1)), Some((euro, true)));
        for other in [0, 1, 1 << 25, u64::MAX, code(*b"eur")] {
            assert_eq!(offset::total_of(id(other)), None, "{other:x}");
        }
    }
}
