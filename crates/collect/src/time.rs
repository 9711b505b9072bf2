//! Parsers of instants and durations, with a resolution of a microsecond.

use jiff::Zoned;
use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use turnpike_types::Timestamp;

use crate::fault::Problem;
use crate::numeric::numeric;

/// The error of a text that is not a time, or is finer than a microsecond.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct BadTime {
    /// The problem, as text for the user.
    pub problem: String,
    /// The remedy, as text for the user.
    pub remedy: String,
}

impl From<Problem> for BadTime {
    fn from(wrong: Problem) -> Self {
        let (problem, remedy) = wrong.into_words();
        Self { problem, remedy }
    }
}

const INSTANT: &str =
    "write RFC 3339 with an offset, such as 2026-01-05T10:00:00-05:00 or 2026-01-05T15:00:00.25Z";

fn bad(problem: String, remedy: &str) -> BadTime {
    BadTime { problem, remedy: remedy.to_owned() }
}

/// Parses an instant: RFC 3339 with `Z` or an offset, with at most six decimals of a second.
///
/// A bare number is refused, because its unit is unknown: seconds, milliseconds or microseconds. A
/// file with microseconds states the unit in the column's name (`start_us`).
///
/// # Errors
/// [`BadTime`] with the problem and the remedy.
pub fn parse_instant(text: &str) -> Result<Timestamp, BadTime> {
    let instant: jiff::Timestamp = text.parse().map_err(|_| no_instant(text))?;
    // The offset alone determines the instant. A zone behind it must have this offset then.
    if text.contains('[') && text.parse::<Zoned>().is_err() {
        let problem = format!(
            "{} names a time zone that is not known, or that does not have this offset then",
            crate::fault::shown(text)
        );
        return Err(bad(problem, "leave the zone in brackets out, or correct the offset"));
    }
    // RFC 3339 has offsets up to 23:59. No place on earth is further from UTC than 14 hours.
    let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
    if offset.is_some_and(|offset| offset.seconds().abs() >= 24 * 3_600) {
        let shown = crate::fault::shown(text);
        let problem = format!("{shown} is not an instant: its offset is 24 hours or more");
        return Err(bad(problem, "write an offset from -23:59 to +23:59"));
    }
    let nanos = instant.as_nanosecond();
    if nanos % 1_000 != 0 {
        let problem = format!("{text:?} is finer than a microsecond");
        return Err(bad(problem, "write at most six decimals of a second"));
    }
    Ok(Timestamp(instant.as_microsecond()))
}

/// The error of a text that is not an instant.
fn no_instant(text: &str) -> BadTime {
    let shown = crate::fault::shown(text);
    if has_long_year(text) {
        return out_of_range(&shown);
    }
    let pieces = Pieces::parse(text).ok();
    let has_offset = pieces.as_ref().is_some_and(|p| p.offset().is_some());
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let problem = format!("{shown} is a bare number: seconds, milliseconds or microseconds?");
        let remedy = "write RFC 3339, or microseconds since 1970 under a name that ends in _us";
        return bad(problem, remedy);
    }
    match pieces {
        Some(_) if has_offset => out_of_range(&shown),
        Some(pieces) if pieces.time().is_some() => {
            bad(format!("{shown} is not an instant: it has no offset from UTC"), INSTANT)
        }
        Some(_) => bad(format!("{shown} is not an instant: it has no time of day"), INSTANT),
        None => bad(format!("{shown} is not an instant"), INSTANT),
    }
}

fn out_of_range(shown: &str) -> BadTime {
    let problem = format!("{shown} is outside the years that can be represented");
    let remedy = "write RFC 3339 from -009999-01-02T01:59:59Z to 9999-12-30T22:00:00Z; if the usage \
                  has not ended, send the record after its end";
    bad(problem, remedy)
}

/// Whether the text begins with a year of more than four digits. (A year in RFC 3339 has four
/// digits; this parser also reads a sign and six digits.)
fn has_long_year(text: &str) -> bool {
    let text = text.trim_start_matches(['+', '-']);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits > 4 && text.as_bytes().get(digits) == Some(&b'-')
}

/// Parses an instant as [`parse_instant`] does, or a date, which means its first instant in `zone`.
///
/// # Errors
/// [`BadTime`] with the problem and the remedy.
pub fn parse_date_or_instant(text: &str, zone: &TimeZone) -> Result<Timestamp, BadTime> {
    // A date has ten characters, so a longer text can only be an instant.
    if text.len() > 10 {
        return parse_instant(text);
    }
    let wrong = || {
        let problem = format!("{} is neither a date nor an instant", crate::fault::shown(text));
        bad(problem, "write a date such as 2026-01-05, or an instant such as 2026-01-05T10:00:00Z")
    };
    let far = || {
        let problem =
            format!("{} is outside the dates that can be used", crate::fault::shown(text));
        bad(
            problem,
            "write a date or an instant from -009999-01-02T01:59:59Z to 9999-12-30T22:00:00Z",
        )
    };
    let date: Date = text.parse().map_err(|_| if has_long_year(text) { far() } else { wrong() })?;
    let midnight = date.to_zoned(zone.clone()).map_err(|_| far())?;
    Ok(Timestamp(midnight.timestamp().as_microsecond()))
}

/// Parses a duration, in microseconds: a number of seconds (`90`, `0.25`), or with units (`1h 30m`,
/// `PT90S`, `250ms`). Never negative. Days and longer units are refused, because their length
/// depends on the calendar.
///
/// # Errors
/// [`BadTime`] with the problem and the remedy.
pub fn parse_duration_us(text: &str) -> Result<i64, BadTime> {
    const REMEDY: &str = "write seconds such as 90 or 0.25, or with units such as 1h 30m";
    let wrong = || match numeric(text) {
        Some(wrong) => BadTime::from(wrong),
        None => bad(format!("{} is not a duration", crate::fault::shown(text)), REMEDY),
    };
    if text.contains(',') && numeric(text).is_some() {
        return Err(wrong());
    }
    let bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let micros = if bare {
        decimal_seconds_us(text).ok_or_else(wrong)?
    } else {
        let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        if span.subsec_nanos() % 1_000 != 0 {
            let problem = format!("{text:?} is finer than a microsecond");
            return Err(bad(problem, "write whole microseconds"));
        }
        i64::try_from(span.as_micros()).map_err(|_| wrong())?
    };
    if micros < 0 {
        return Err(bad(format!("{text:?} is negative"), "write a duration of 0 or more"));
    }
    Ok(micros)
}

/// Decimal seconds in microseconds: `12.5` is 12,500,000. `None` for other text, a number that is
/// finer than a microsecond, or one that is too large.
fn decimal_seconds_us(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let fits = !whole.is_empty() && part.len() <= 6 && !part.contains('.');
    if !fits || (part.is_empty() && text.contains('.')) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let part: i64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_an_offset_and_at_most_six_decimals() {
        let new_york = parse_instant("2026-01-20T18:59:59.999999-05:00").unwrap();
        let utc = parse_instant("2026-01-20T23:59:59.999999Z").unwrap();
        assert_eq!(new_york, utc);
        assert_eq!(parse_instant("1970-01-01T00:00:01Z").unwrap(), Timestamp(1_000_000));
        assert_eq!(parse_instant("1969-12-31T23:59:59Z").unwrap(), Timestamp(-1_000_000));
        for wrong in ["", "yesterday", "2026-01-05", "2026-01-05T10:00:00", "1767607200"] {
            assert!(parse_instant(wrong).unwrap_err().remedy.contains("RFC 3339"), "{wrong}");
        }
        // In July the offset of Zurich is two hours.
        let summer = parse_instant("2026-07-01T10:00:00+02:00").unwrap();
        for same in ["2026-07-01T10:00:00+02:00[Europe/Zurich]", "2026-07-01T08:00Z[Europe/Zurich]"]
        {
            assert_eq!(parse_instant(same).unwrap(), summer, "{same}");
        }
        for contradictory in
            ["2026-07-01T10:00:00+05:00[Europe/Zurich]", "2026-07-01T10:00:00+01:00[Europe/Zurich]"]
        {
            let told = parse_instant(contradictory).unwrap_err().to_string();
            assert!(told.contains("does not have this offset"), "{told}");
        }
        assert!(parse_instant("2026-07-01T10:00:00+02:00[Europe/Nowhere]").is_err());
        let fine = parse_instant("2026-01-20T18:59:59.1234567Z").unwrap_err();
        assert!(fine.problem.contains("finer than a microsecond"), "{fine}");
    }

    #[test]
    fn an_offset_is_less_than_a_day() {
        for offset in ["+24:00", "-24:00", "+25:59"] {
            let told = parse_instant(&format!("2026-01-20T10:00:00{offset}")).unwrap_err();
            assert!(told.to_string().contains("from -23:59 to +23:59"), "{told}");
        }
        let last = parse_instant("2026-01-20T10:00:00+23:59").unwrap();
        assert_eq!(last, parse_instant("2026-01-19T10:01:00Z").unwrap());
        // docs/formats.md: a leap second is read as the second before it.
        let leap = parse_instant("2016-12-31T23:59:60Z").unwrap();
        assert_eq!(leap, parse_instant("2016-12-31T23:59:59Z").unwrap());
    }

    #[test]
    fn a_date_is_its_first_instant_in_the_zone() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let date = parse_date_or_instant("2026-01-01", &zone).unwrap();
        assert_eq!(date, parse_instant("2026-01-01T05:00:00Z").unwrap());
        assert!(parse_date_or_instant("2026-02-30", &zone).is_err());
        assert!(parse_date_or_instant("2026-01-01T00:00:00Z", &zone).is_ok());
        for far in ["9999-12-31", "10000-01-1", "10000-01-01", "123456-01-01"] {
            let told = parse_date_or_instant(far, &zone).unwrap_err().to_string();
            assert!(told.contains("outside") && told.contains("9999-12-30T22:00:00Z"), "{told}");
        }
    }

    #[test]
    fn a_duration_is_seconds_or_carries_units() {
        for (text, micros) in [
            ("90", 90_000_000),
            ("0", 0),
            ("0.25", 250_000),
            ("0.000001", 1),
            ("1h 30m", 5_400_000_000),
            ("PT90S", 90_000_000),
            ("250ms", 250_000),
        ] {
            assert_eq!(parse_duration_us(text).unwrap(), micros, "{text}");
        }
        for wrong in ["", "-5", "5.", ".5", "1.2.3", "0.0000001", "long", "99999999999999999999"] {
            assert!(parse_duration_us(wrong).is_err(), "{wrong}");
        }
    }
}
