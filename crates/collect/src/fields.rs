//! Checks of a record's fields, shared by all readers of usage.

use std::collections::BTreeMap;

use turnpike_types::{
    AccountNumber, Identity, IdentityError, Timestamp, UsageRecord, ZERO_DURATION, limits,
};

use crate::fault::{Problem, shown};
use crate::numeric::numeric;
use crate::time::{BadTime, parse_duration_us, parse_instant};

/// The fields of a file that state the start and the end of usage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsageTimes<'a> {
    pub(crate) start_time: Option<&'a str>,
    pub(crate) start_us: Option<&'a str>,
    pub(crate) end_time: Option<&'a str>,
    pub(crate) end_us: Option<&'a str>,
    pub(crate) duration: Option<&'a str>,
    pub(crate) duration_us: Option<&'a str>,
}

/// Returns the account of a record, or account 0 and the identity by which the cluster finds the
/// account.
pub(crate) fn owner(
    account_number: Option<&str>,
    identity: Option<&str>,
) -> Result<(AccountNumber, String), Problem> {
    match (account_number, identity) {
        (Some(number), None) => Ok((account(number)?, String::new())),
        (None, Some(identity)) => {
            let identity = Identity::parse_single(identity);
            Ok((AccountNumber(0), spelled("identity", identity)?))
        }
        (Some(_), Some(_)) => Err(Problem::row(
            "it has both an account and an identity",
            "fill in account_number or identity, not both",
        )),
        (None, None) => Err(Problem::row(
            "it has no account",
            "fill in account_number, or an identity such as ip:192.0.2.1",
        )),
    }
}

pub(crate) fn account(text: &str) -> Result<AccountNumber, Problem> {
    match text.parse::<u64>() {
        Ok(number) if number != 0 => Ok(AccountNumber(number)),
        _ => Err(numeric(text)
            .unwrap_or_else(|| {
                Problem::row(
                    format!("{} is not an account number", shown(text)),
                    format!("write a whole number from 1 to {}", u64::MAX),
                )
            })
            .in_column("account_number")),
    }
}

/// An identity to bind, in canonical form; it can be a prefix of addresses.
pub(crate) fn checked_identity(column: &str, text: &str) -> Result<String, Problem> {
    spelled(column, Identity::parse_bound(text))
}

fn spelled(column: &str, identity: Result<Identity, IdentityError>) -> Result<String, Problem> {
    identity
        .map(String::from)
        .map_err(|IdentityError { problem, remedy }| Problem::field(column, problem, remedy))
}

pub(crate) fn record_id(text: Option<&str>) -> Result<String, Problem> {
    let text = text.ok_or_else(|| {
        let remedy = "give each record a unique id, so that a retry does not rate it twice";
        Problem::field("record_id", "it is empty", remedy)
    })?;
    within("record_id", text, limits::RECORD_ID_BYTES_MAX)
}

pub(crate) fn usage_type(text: Option<&str>) -> Result<String, Problem> {
    let text = text.ok_or_else(|| {
        Problem::field("usage_type", "it is empty", "write what was used, such as connect-time")
    })?;
    within("usage_type", text, limits::USAGE_TYPE_BYTES_MAX)
}

fn within(column: &str, text: &str, bytes_max: usize) -> Result<String, Problem> {
    if text.len() <= bytes_max {
        return Ok(text.to_owned());
    }
    let problem = format!("it has {} bytes", text.len());
    Err(Problem::field(column, problem, format!("write at most {bytes_max}")))
}

/// A quantity or measure: a whole number of base units. A fraction of zeros is accepted: `512.0`.
pub(crate) fn quantity(column: &str, text: &str) -> Result<i64, Problem> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        _ => text,
    };
    match whole.parse::<i64>() {
        Ok(quantity) => not_negative(column, quantity),
        Err(_) => Err(numeric(text)
            .unwrap_or_else(|| {
                Problem::row(
                    format!("{} is not a quantity", shown(text)),
                    "write a whole number of base units (octets, pieces), at most \
                     9223372036854775807",
                )
            })
            .in_column(column)),
    }
}

pub(crate) fn not_negative(column: &str, quantity: i64) -> Result<i64, Problem> {
    if quantity >= 0 {
        return Ok(quantity);
    }
    Err(Problem::field(column, format!("{quantity} is negative"), "write 0 or more"))
}

/// Returns the start and the duration in microseconds. The duration is `None` if the record has
/// neither an end nor a duration.
pub(crate) fn when(when: &UsageTimes<'_>) -> Result<(Timestamp, Option<i64>), Problem> {
    let start = one_of(("start_time", when.start_time), ("start_us", when.start_us))?
        .ok_or_else(|| Problem::field("start_time", "it is empty", "write when the usage began"))?;
    let start = instant(start)?;
    let end = one_of(("end_time", when.end_time), ("end_us", when.end_us))?;
    let length = one_of(("duration", when.duration), ("duration_us", when.duration_us))?;
    let duration_us = match (end, length) {
        (Some(_), Some((column, _))) => {
            return Err(Problem::field(
                column,
                "the record has an end too",
                "fill in an end or a duration, not both",
            ));
        }
        (Some(end), None) => Some(instant(end)?.0.checked_sub(start.0).unwrap_or(i64::MIN)),
        (None, Some(("duration", text))) => {
            Some(parse_duration_us(text).map_err(|error| at_column("duration", error))?)
        }
        (None, Some((column, text))) => Some(quantity(column, text)?),
        (None, None) => None,
    };
    if duration_us.is_some_and(i64::is_negative) {
        let remedy = "write an end at or after the start";
        return Err(Problem::field("end_time", "the end is before the start", remedy));
    }
    if start.0.checked_add(duration_us.unwrap_or(0)).is_none() {
        return Err(Problem::row("its end is out of range", "correct its start or its duration"));
    }
    Ok((start, duration_us))
}

type Named<'a> = (&'static str, &'a str);

fn one_of<'a>(
    first: (&'static str, Option<&'a str>),
    second: (&'static str, Option<&'a str>),
) -> Result<Option<Named<'a>>, Problem> {
    match (first, second) {
        ((name, Some(_)), (other, Some(_))) => {
            let remedy = format!("fill in {name} or {other}, not both");
            Err(Problem::field(other, format!("the record has {name} too"), remedy))
        }
        ((name, Some(text)), _) | (_, (name, Some(text))) => Ok(Some((name, text))),
        _ => Ok(None),
    }
}

fn instant((column, text): Named<'_>) -> Result<Timestamp, Problem> {
    if !column.ends_with("_us") {
        return parse_instant(text).map_err(|error| at_column(column, error));
    }
    text.parse().map(Timestamp).map_err(|_| {
        Problem::field(
            column,
            format!("{} is not a number of microseconds", shown(text)),
            "write microseconds since 1970-01-01T00:00:00Z",
        )
    })
}

pub(crate) fn at_column(column: &str, error: BadTime) -> Problem {
    Problem::field(column, error.problem, error.remedy)
}

/// Checks the limits that apply to a record as a whole.
pub(crate) fn checked(record: UsageRecord) -> Result<UsageRecord, Problem> {
    // A stated duration of zero is stored as the measure `ZERO_DURATION`. This measure does not
    // count towards the maximum, because the file may have stated the duration in a duration
    // column.
    let stated = record.measures.get(ZERO_DURATION) == Some(&0);
    let measures = record.measures.len() - usize::from(stated);
    let most = record.attributes.len().max(measures);
    if most > limits::ATTRIBUTES_MAX {
        let remedy = format!("keep at most {}", limits::ATTRIBUTES_MAX);
        return Err(Problem::row(format!("it has {most} attributes or measures"), remedy));
    }
    let bytes = texts(&record.attributes) + record.measures.keys().map(String::len).sum::<usize>();
    // An upper bound of the encoded size: 24 bytes for the tag, the lengths and the number of each
    // entry, and 512 bytes for the fixed fields, which have separate limits.
    let encoded = bytes + (record.attributes.len() + record.measures.len()) * 24 + 512;
    if encoded > limits::RECORD_BYTES_MAX {
        let remedy = format!("keep a record under {} bytes", limits::RECORD_BYTES_MAX);
        return Err(Problem::row(format!("it has {bytes} bytes of attributes"), remedy));
    }
    Ok(record)
}

fn texts(attributes: &BTreeMap<String, String>) -> usize {
    attributes.iter().map(|(name, text)| name.len() + text.len()).sum()
}
