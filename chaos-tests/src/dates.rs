//! The times at which charges from May 2024 on fall due, calculated independently of the product.

/// 2024-05-01 in UTC, a Wednesday.
pub const MAY: i64 = 1_714_521_600_000_000;
const DAY: i64 = 86_400_000_000;

/// The times in UTC, up to an instant, at which charges fall due.
#[derive(Debug)]
pub struct Dues {
    /// The last instant that is included.
    pub until: i64,
    /// The start of each month.
    pub months: Vec<i64>,
    /// The start of each week; the first is the start of the subscription.
    pub weeks: Vec<i64>,
    /// The time at which each month is closed: two days after its end.
    pub closes: Vec<i64>,
}

impl Dues {
    /// All due times up to and including `until`.
    pub fn until(until: i64) -> Self {
        let is_past = |at: &i64| *at <= until;
        let months: Vec<i64> = months_from_may().take_while(is_past).collect();
        let mondays = (0..).map(|week| MAY + (5 + 7 * week) * DAY);
        let weeks = std::iter::once(MAY).chain(mondays).take_while(is_past).collect();
        let ends = months_from_may().skip(1);
        let closes = ends.map(|end| end + 2 * DAY).take_while(is_past).collect();
        Self { until, months, weeks, closes }
    }
}

/// The first instant of each month from May 2024 on.
fn months_from_may() -> impl Iterator<Item = i64> {
    let mut at = MAY;
    (4..).map(move |month: i64| {
        let first = at;
        at += days_in(2024 + month / 12, month % 12) * DAY;
        first
    })
}

/// The number of days of a month; January is 0.
const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        1 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}
