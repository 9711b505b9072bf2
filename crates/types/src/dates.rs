//! The one rule for instants that enter by commands: from which year to which, and how far ahead.

use crate::{DAY_US, Timestamp};

/// The first instant that a command may name: 1900-01-01T00:00:00Z. Accounts that were moved from
/// an earlier system may have subscriptions that began long ago.
pub const DATE_MIN: Timestamp = Timestamp(-2_208_988_800_000_000);
/// The first instant after those that a command may name: 2200-01-01T00:00:00Z. Every calendar of
/// this program goes far beyond it.
pub const DATE_END: Timestamp = Timestamp(7_258_118_400_000_000);
/// How far ahead of the present a change may begin, in microseconds: ten years of 365.25 days.
/// Contracts are rarely longer, and settings only change forward: a change that begins later by
/// mistake, as by a factor of ten, would exclude every change before it.
pub const CHANGE_AHEAD_MAX_US: i64 = 3_652 * DAY_US + DAY_US / 2;

/// Whether `at` is within the years that a command may name.
pub fn is_in_range(at: Timestamp) -> bool {
    DATE_MIN <= at && at < DATE_END
}

/// Why a change can't begin or end at `at`; `None` if it can. `what` names the instant, such as
/// `from_us`.
pub fn date_fault(what: &str, at: Timestamp, now: Timestamp) -> Option<String> {
    if !is_in_range(at) {
        return Some(format!(
            "{what} is {}, and dates are from 1900-01-01 until before 2200-01-01: state the \
             microseconds since 1970-01-01T00:00:00Z",
            shown_date(at)
        ));
    }
    let last = now.saturating_add(CHANGE_AHEAD_MAX_US);
    (at > last).then(|| {
        format!(
            "{what} is {}, more than ten years ahead: a change begins or ends at {} at the latest",
            shown_date(at),
            shown_date(last)
        )
    })
}

/// The instant as a date and time in UTC; its number of microseconds if no calendar holds it.
pub fn shown_date(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| format!("{} us", at.0), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_ends_at_the_dates_that_its_messages_name() {
        assert_eq!(shown_date(DATE_MIN), "1900-01-01T00:00:00Z");
        assert_eq!(shown_date(DATE_END), "2200-01-01T00:00:00Z");
        assert_eq!(shown_date(Timestamp(1_772_323_199_999_999)), "2026-02-28T23:59:59.999999Z");
        assert_eq!(shown_date(Timestamp(951_782_400_000_000)), "2000-02-29T00:00:00Z");
        assert_eq!(shown_date(Timestamp::MAX), "9223372036854775807 us");
        assert!(is_in_range(DATE_MIN) && !is_in_range(DATE_END));
        assert!(!is_in_range(Timestamp::MIN) && !is_in_range(Timestamp::MAX));
    }

    #[test]
    fn a_change_begins_at_most_ten_years_ahead() {
        let now = Timestamp(1_772_323_200_000_000);
        let last = now.saturating_add(CHANGE_AHEAD_MAX_US);
        assert_eq!(date_fault("from_us", last, now), None);
        assert_eq!(date_fault("from_us", DATE_MIN, now), None);
        let told = date_fault("from_us", last.saturating_add(1), now).unwrap_or_default();
        assert!(told.contains("ten years") && told.contains("2036-02-29"), "{told}");
        let told = date_fault("at_us", Timestamp::MAX, now).unwrap_or_default();
        assert!(
            told.contains("at_us is 9223372036854775807 us") && told.contains("2200"),
            "{told}"
        );
    }
}
