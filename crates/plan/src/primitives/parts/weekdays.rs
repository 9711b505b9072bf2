//! Days of the week, in the syntax that all time windows share.

use turnpike_types::Must;

use crate::calendar::periods::Calendared;
use crate::language::graph::Primitive;
use crate::language::spec::{Value, ValueType};

/// Days of the week in the order of ISO 8601, Monday first.
pub(crate) const WEEKDAYS: &[&str] = &["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A day of the week.
pub(crate) const WEEKDAY: Value = Value::Choice(WEEKDAYS);

/// Weeks that begin on the day of the property `starts`; without it, weeks of ISO 8601.
pub(crate) fn week_of(primitive: &Primitive) -> Calendared {
    week_from(primitive.property("starts"))
}

/// Weeks that begin on `day`; for `None`, weeks of ISO 8601.
pub(crate) fn week_from(day: Option<&str>) -> Calendared {
    // A week of ISO 8601 begins on Monday, which is the first.
    let place = WEEKDAYS.iter().position(|known| day == Some(known)).unwrap_or(0);
    Calendared::Week(i8::try_from(place + 1).must("a week has seven days"))
}

/// The value type of a property that lists days.
pub(crate) const DAYS: Value =
    Value::Of(&ValueType { name: "days", check: |text| Weekdays::parse(text).map(drop) });

/// A set of days of the week, one bit for each day; the lowest bit is Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weekdays(u8);

impl Weekdays {
    pub(crate) const ALL: Self = Self(0x7f);

    /// Reads days and ranges that are separated by spaces or commas: `Mon-Fri`, `Sat Sun`,
    /// `Mon,Wed`. A range can cross the end of the week: `Fri-Mon`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let day = |name: &str| {
            let known = WEEKDAYS.iter().position(|known| *known == name);
            known.ok_or_else(|| {
                let names = WEEKDAYS.join(" ");
                format!("\"{name}\" is not a day: write {names}, or a range such as Mon-Fri")
            })
        };
        let mut days = 0;
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (day(first)?, day(last)?);
            let count = (last + WEEKDAYS.len() - first) % WEEKDAYS.len();
            (first..=first + count).for_each(|day| days |= 1 << (day % WEEKDAYS.len()));
        }
        if days == 0 {
            return Err("it has no day: write days such as Mon-Fri".to_owned());
        }
        Ok(Self(days))
    }

    /// Whether the set holds a day; Monday is 0.
    pub(crate) fn holds(self, day: i64) -> bool {
        self.0 >> day.rem_euclid(7) & 1 == 1
    }

    /// The days from Monday (0) to Sunday (6).
    pub(crate) fn iter(self) -> impl Iterator<Item = i64> {
        (0..7).filter(move |day| self.holds(*day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(text: &str) -> Vec<i64> {
        Weekdays::parse(text).unwrap().iter().collect()
    }

    #[test]
    fn days_are_names_and_ranges_that_may_wrap_round_the_end_of_the_week() {
        assert_eq!(days("Mon-Fri"), [0, 1, 2, 3, 4]);
        assert_eq!(days("Fri-Mon"), [0, 4, 5, 6]);
        assert_eq!(days("Sun  Wed-Wed"), [2, 6]);
        assert_eq!(Weekdays::parse("Mon-Sun"), Ok(Weekdays::ALL));
    }

    #[test]
    fn spaces_and_commas_part_days_alike() {
        for written in
            ["Mon Tue Fri-Sun", "Mon,Tue,Fri-Sun", "Mon, Tue,\tFri-Sun", " Mon Tue,Fri-Sun,"]
        {
            assert_eq!(days(written), [0, 1, 4, 5, 6], "{written}");
        }
    }

    #[test]
    fn a_word_that_names_no_day_is_refused() {
        for wrong in
            ["", "  ", ",", "Monday", "Mon;Tue", "Mon-", "-Fri", "Mon-Tue-Wed", "mon", "1-5"]
        {
            assert!(Weekdays::parse(wrong).is_err(), "{wrong}");
        }
    }
}
