//! Parsers of command-line values: durations, instants, ranges, pairs.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use turnpike_types::{AccountRange, Currency, Timestamp};

use crate::exit::usage;

/// A duration: `30s`, `1h 30m`, `250ms`, a number of seconds, or days as `35d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Some(days) = text.strip_suffix('d') {
        let seconds = days.trim().parse::<u64>().ok().and_then(|days| days.checked_mul(86_400));
        return seconds
            .filter(|&seconds| seconds <= 36_500 * 86_400)
            .map(Duration::from_secs)
            .ok_or_else(|| format!("{text:?} is not a number of days; write for example 35d"));
    }
    let micros = turnpike_collect::parse_duration_us(text).map_err(|error| error.to_string())?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// A duration, as [`duration`] reads it, that is not zero: the time to wait for something.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("{text:?} is not greater than zero; write for example 30s")),
        time => Ok(time),
    }
}

/// The shortest acceptance horizon: records of the present are up to some seconds old.
const HORIZON_MIN: Duration = Duration::from_secs(60);

/// An acceptance horizon: a duration, as [`duration`] reads it, with a unit. The horizon of a
/// partition can't be changed, and a number of days without unit would be read as seconds.
pub(crate) fn horizon(text: &str) -> Result<Duration, String> {
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit; write for example 35d or 12h"));
    }
    match duration(text)? {
        short if short < HORIZON_MIN => Err(format!(
            "{text:?} is too short: records of the present would be rejected as too-old; write at \
             least 60s, for example 35d"
        )),
        time => Ok(time),
    }
}

/// An instant, or the start of a date in UTC.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    instant_in(text, &TimeZone::UTC)
}

/// An instant, or the start of a date in `zone`.
pub(crate) fn instant_in(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    turnpike_collect::parse_date_or_instant(text, zone).map_err(|error| error.to_string())
}

/// A currency in use by ISO 4217.
pub(crate) fn currency(text: &str) -> Result<Currency, String> {
    Currency::listed(text).map_err(|error| error.to_string())
}

/// A date of the calendar that has an instant in every time zone.
pub(crate) fn date(text: &str) -> Result<Date, String> {
    const REMEDY: &str = "write YYYY-MM-DD, such as 2026-01-31, up to 9999-12-29";
    let date: Date = text.parse().map_err(|_| format!("{text:?} is not a date; {REMEDY}"))?;
    // The range is that of instants, which end on 9999-12-30 in UTC.
    if date <= Date::constant(9999, 12, 29) && date >= Date::constant(-9999, 1, 3) {
        return Ok(date);
    }
    Err(format!("{text:?} is outside the dates that can be used; {REMEDY}"))
}

/// A time zone by its IANA name.
pub(crate) fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| {
        format!(
            "{text:?} is not a time zone; write a name of the IANA database, such as Europe/Zurich"
        )
    })
}

/// A time zone in the type that plans use.
pub(crate) fn plan_zone(text: &str) -> Result<turnpike_plan::Zone, String> {
    turnpike_plan::Zone::parse(text).map_err(|error| error.to_string())
}

/// Parses a range of accounts, `FIRST-LAST`.
pub(crate) fn accounts(text: &str) -> Result<AccountRange, String> {
    let wrong =
        || format!("{text:?} is not a range of accounts; write FIRST-LAST, such as 1-1000000");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |part: &str| part.trim().replace('_', "").parse::<u64>().map_err(|_| wrong());
    AccountRange::new(number(first)?, number(last)?).map_err(|error| error.to_string())
}

/// Collects pairs by name.
///
/// # Errors
/// A name that is given twice with `option`, because neither value is preferred.
pub(crate) fn unique<M: FromIterator<(String, String)>>(
    option: &str,
    pairs: Vec<(String, String)>,
) -> anyhow::Result<M> {
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(before, _)| before == name) {
            return Err(usage(format!("{option} gives {name} twice: give it once")));
        }
    }
    Ok(pairs.into_iter().collect())
}

/// Parses `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not a pair; write NAME=VALUE")),
    }
}

/// Parses `NODE=PRIORITY`.
pub(crate) fn member(text: &str) -> Result<(String, u32), String> {
    let (name, priority) = pair(text)?;
    let priority = priority
        .parse()
        .map_err(|_| format!("{priority:?} is not a priority; write NODE=NUMBER, such as a=200"))?;
    Ok((name, priority))
}

/// The text of an instant: RFC 3339 in UTC, or `always` if it is outside the range of the calendar.
pub(crate) fn show_instant(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(instant) => instant.to_string(),
        Err(_) => "always".to_owned(),
    }
}

/// The candidate with the fewest edits from `word`; `None` if none is near.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let near = candidates.into_iter().filter(|candidate| *candidate != word);
    let near = near.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    // At most a third of the letters may differ.
    let near = near.filter(|(edits, candidate)| edits * 3 <= candidate.chars().count().max(3));
    near.min().map(|(_, candidate)| candidate)
}

/// The present time by this machine's clock, in microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_in_common_spellings_are_read() {
        assert_eq!(duration("35d").unwrap(), Duration::from_secs(35 * 86_400));
        assert_eq!(date("2026-02-28").unwrap(), Date::constant(2026, 2, 28));
        for (far, words) in [
            ("9999-12-31", "outside the dates"),
            ("10000-01-01", "is not a date"),
            ("2026-02-30", "is not a date"),
            ("2026-01-01T00:00:00Z", "is not a date"),
        ] {
            let told = date(far).unwrap_err();
            assert!(told.contains(words) && told.contains("up to 9999-12-29"), "{told}");
        }
        assert_eq!(patience("2s").unwrap(), Duration::from_secs(2));
        assert!(patience("0").unwrap_err().contains("is not greater than zero"));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("30").unwrap(), Duration::from_secs(30));
        for (text, days) in [("35d", 35), ("48h", 2), ("0.5d", 0)] {
            let read = horizon(text).ok().map(|time| time.as_secs() / 86_400);
            assert_eq!(read, (days > 0).then_some(days), "{text}");
        }
        for (text, why) in [
            ("35", "no unit"),
            (" 35 ", "no unit"),
            ("3e5", "no unit"),
            ("0d", "too short"),
            ("0s", "too short"),
            ("59s", "too short"),
        ] {
            assert!(horizon(text).unwrap_err().contains(why), "{text}");
        }
        assert_eq!(accounts("1-1_000").unwrap().last().0, 1_000);
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(member("node-1=200").unwrap(), ("node-1".to_owned(), 200));
        assert_eq!(instant("1970-01-02").unwrap().0, 86_400_000_000);
    }

    #[test]
    fn a_misspelt_word_gets_a_suggestion_and_others_get_none() {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        assert_eq!(nearest("wran", levels), Some("warn"));
        assert_eq!(nearest("inf", levels), Some("info"));
        assert_eq!(nearest("hyper", levels), None);
        assert_eq!(nearest("keys-mx", ["keys-max", "queue-bytes-max"]), Some("keys-max"));
    }

    #[test]
    fn a_name_given_twice_is_refused_and_neither_value_preferred() {
        let pairs = |texts: &[&str]| texts.iter().map(|text| pair(text).unwrap()).collect();
        let given = |texts| unique::<Vec<_>>("--parameter", pairs(texts));
        assert_eq!(given(&["a=1", "b=1"]).unwrap().len(), 2);
        let told = given(&["a=1", "b=1", "a=2"]).unwrap_err().to_string();
        assert!(told.contains("--parameter gives a twice"), "{told}");
    }

    #[test]
    fn an_unreadable_value_is_refused_with_an_example() {
        for wrong in [duration("soon").err(), duration("99999999999d").err(), duration("").err()] {
            assert!(wrong.unwrap().contains("write"));
        }
        for wrong in ["5-1", "0-9", "a-b", "17"] {
            assert!(accounts(wrong).unwrap_err().contains("FIRST-LAST"), "{wrong}");
        }
        assert!(pair("=x").is_err() && member("a=high").is_err() && zone("Atlantis").is_err());
    }
}
