use super::*;

fn micros(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn calendar(zone: &str) -> Calendar {
    let mut calendar = Calendar::default();
    calendar.enter(&Zone::parse(zone).unwrap(), 1);
    calendar
}

#[test]
fn an_interval_ends_where_the_clocks_change() {
    let mut calendar = calendar("America/New_York");
    let change = micros("2026-03-08T07:00:00Z");
    let before = calendar.offset_interval(change - 1);
    assert_eq!((before.to, before.offset_us), (change, -5 * 3_600_000_000));
    let after = calendar.offset_interval(change);
    assert_eq!((after.from, after.offset_us), (change, -4 * 3_600_000_000));
}

#[test]
fn around_a_clock_change_both_intervals_are_found_in_any_order() {
    let mut calendar = calendar("America/New_York");
    let change = micros("2026-03-08T07:00:00Z");
    let year = 365 * 86_400_000_000;
    for at in [change, change - 1, change, change - 1, change - year, change, change - 1] {
        let interval = calendar.offset_interval(at);
        let fresh = look_up_interval(&Zone::parse("America/New_York").unwrap(), at);
        assert!(interval.from <= at && at < interval.to);
        assert_eq!((interval.to, interval.offset_us), (fresh.to, fresh.offset_us));
    }
}

#[test]
fn a_month_is_the_accounts_not_utcs() {
    let mut calendar = calendar("Asia/Kolkata");
    let start = micros("2026-01-31T18:30:00Z");
    assert_eq!(
        calendar.period(Calendared::Month, start).period,
        period_of(Date::constant(2026, 2, 1))
    );
    assert_eq!(
        calendar.period(Calendared::Month, start - 1).period,
        period_of(Date::constant(2026, 1, 1))
    );
    assert_eq!(calendar.period(Calendared::Month, start - 1).to, start);
}

/// docs/plan-semantics.md section 1: a day, and therefore a month, starts at its first instant.
#[test]
fn a_month_once_begun_stays_begun_when_clocks_go_back_over_its_first_midnight() {
    let mut calendar = calendar("America/St_Johns");
    let begun = micros("2009-11-01T02:30:00Z");
    let october_again = begun + 5 * 60_000_000;
    assert_eq!(
        calendar.period(Calendared::Month, begun - 1).period,
        period_of(Date::constant(2009, 10, 1))
    );
    assert_eq!(
        calendar.period(Calendared::Month, october_again).period,
        period_of(Date::constant(2009, 11, 1))
    );
}

#[test]
fn more_zones_than_are_remembered_still_answer_rightly() {
    let names = ["UTC", "Asia/Kolkata", "Asia/Tokyo", "Europe/Paris", "Europe/London"];
    let more = ["America/Chicago", "America/Denver", "Asia/Dubai", "Asia/Kathmandu"];
    let mut shared = Calendar::default();
    for _ in 0..3 {
        for name in names.iter().chain(&more) {
            shared.enter(&Zone::parse(name).unwrap(), 1);
            let at = micros("2026-07-01T03:00:00Z");
            assert_eq!(
                shared.period(Calendared::Month, at).from,
                calendar(name).period(Calendared::Month, at).from,
                "{name}"
            );
        }
    }
}

fn firsts(calendared: Calendared, cycle_day: u8, from: &str, count: usize) -> Vec<String> {
    let mut calendar = Calendar::default();
    calendar.enter(&Zone::parse("Europe/Zurich").unwrap(), cycle_day);
    let mut at = micros(from);
    let mut next = |calendar: &mut Calendar| {
        let span = calendar.period(calendared, at);
        at = span.to;
        date_of(span.period).to_string()
    };
    (0..count).map(|_| next(&mut calendar)).collect()
}

/// docs/plan-semantics.md section 4: a billing cycle starts on the account's cycle day, or on the
/// last day of a shorter month: 31 January, 29 February, 31 March.
#[test]
fn a_billing_cycle_of_day_31_is_clamped_from_its_anchor() {
    let leap = firsts(Calendared::Cycle, 31, "2024-01-31T12:00:00Z", 4);
    assert_eq!(leap, ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]);
    let common = firsts(Calendared::Cycle, 30, "2023-01-15T12:00:00Z", 4);
    assert_eq!(common, ["2022-12-30", "2023-01-30", "2023-02-28", "2023-03-30"]);
}

#[test]
fn weeks_are_isos_unless_they_start_on_another_day() {
    assert_eq!(
        firsts(Calendared::Week(1), 1, "2026-03-01T12:00:00Z", 2),
        ["2026-02-23", "2026-03-02"]
    );
    assert_eq!(
        firsts(Calendared::Week(7), 1, "2026-03-01T12:00:00Z", 2),
        ["2026-03-01", "2026-03-08"]
    );
}

#[test]
fn a_day_is_23_or_25_hours_long_where_the_clocks_change() {
    let mut calendar = calendar("Europe/Zurich");
    let hours = |calendar: &mut Calendar, at: &str| {
        let day = calendar.period(Calendared::Day, micros(at));
        (day.to - day.from) / 3_600_000_000
    };
    assert_eq!(hours(&mut calendar, "2026-03-29T12:00:00Z"), 23);
    assert_eq!(hours(&mut calendar, "2026-10-25T12:00:00Z"), 25);
}

#[test]
fn the_first_and_the_last_instant_do_not_panic() {
    let mut calendar = calendar("America/New_York");
    for at in [i64::MIN, INSTANTS.start, INSTANTS.end - 1, INSTANTS.end, i64::MAX] {
        calendar.offset_interval(at);
        for kind in [Calendared::Month, Calendared::Cycle, Calendared::Week(1), Calendared::Day] {
            calendar.period(kind, at);
        }
    }
}

/// The prices on receipts contain these words: `20.00 per month`.
#[test]
fn a_kind_of_period_is_named_as_people_call_it() {
    let kinds = [Calendared::Month, Calendared::Cycle, Calendared::Week(1), Calendared::Day];
    assert_eq!(kinds.map(Calendared::word), ["month", "billing cycle", "week", "day"]);
}
