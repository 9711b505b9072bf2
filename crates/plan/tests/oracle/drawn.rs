//! Random primitives, in the syntax of plans.

use super::dice::Dice;

const CLOCK: &[&str] = &["00:00", "00:30", "01:00", "01:30", "02:00", "07:00", "19:00", "23:30"];
const DATES: &[&str] = &[
    "2026-03-08",
    "2026-03-09",
    "2026-11-01",
    "2026-10-31",
    "--03-29",
    "--02-28",
    "--03-01",
    "2026-12-31",
    "--01-01",
    "2026-04-05",
    "2026-10-04",
    "2009-10-31",
    "2009-11-01",
    "2018-11-04",
    "2018-11-03",
    "2011-12-29",
    "2011-12-30",
    "2011-12-31",
    "--02-29",
    "--02-01",
];
const DAYS: &[&str] = &["Mon-Fri", "Sat Sun", "Sun", "Fri-Mon", "Tue Thu-Sat", "Sat"];

/// The properties `from` and `to` of a window that is not empty.
fn window(dice: &mut Dice<'_>) -> String {
    let from = dice.throw(CLOCK.len());
    let to = (from + 1 + dice.throw(CLOCK.len() - 1)) % CLOCK.len();
    let to = if to == 0 { "24:00" } else { CLOCK[to] };
    format!("from=\"{}\" to=\"{to}\"", CLOCK[from])
}

pub(crate) fn daily(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    format!("<DailyTimeFilter id=\"{id}\" in=\"{links}\" {}/>\n", window(dice))
}

pub(crate) fn weekly(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    let mut windows = String::new();
    for _ in 0..1 + dice.throw(3) {
        let days = dice.one_of(DAYS);
        let clock = if dice.throw(3) == 0 { String::new() } else { window(dice) };
        windows += &format!("<window days=\"{days}\" {clock}/>");
    }
    format!("<WeeklyTimeFilter id=\"{id}\" in=\"{links}\">{windows}</WeeklyTimeFilter>\n")
}

pub(crate) fn special(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    let table = dice.one_of(&["", " table=\"h\"", " table=\"h\" place=\"f\""]);
    let mut days = String::new();
    for _ in 0..usize::from(table.is_empty()) + dice.throw(4) {
        days += &format!("<day date=\"{}\"/>", dice.one_of(DATES));
    }
    format!(
        "<SpecialDaysTimeFilter id=\"{id}\" in=\"{links}\"{table}>{days}</SpecialDaysTimeFilter>\n"
    )
}

pub(crate) fn threshold(
    id: &str,
    links: &str,
    level: &str,
    unit: &str,
    dice: &mut Dice<'_>,
) -> String {
    let above = dice.throw(60);
    let on = match level {
        "" => dice.one_of(&["", " on=\"unit\"", " on=\"record\""]),
        _ => "",
    };
    format!("<ThresholdFilter id=\"{id}\" in=\"{links}\"{level} above=\"{above}{unit}\"{on}/>\n")
}

/// A classifier of which no rule is hidden by an earlier one. The last rule may match everything.
pub(crate) fn classifier(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    let conditions = [
        "type=\"t\" attribute=\"f\" is=\"a x\"",
        "attribute=\"f\" like=\"?\" measure=\"quantity\" above=\"1\" upto=\"17\"",
        "measure=\"octets\" above=\"17\"",
        "type=\"u v\" attribute=\"f\" like=\"*b*\"",
        "measure=\"duration\" upto=\"40 us\" attribute=\"f\" is=\"b c\"",
        "attribute=\"f\" is=\"c\"",
        "",
    ];
    let mut rules = String::new();
    for (place, conditions) in conditions.iter().enumerate() {
        let last = place + 1 == conditions.len();
        if dice.throw(if last { 6 } else { 2 }) == 1 || (last && rules.is_empty()) {
            rules += &format!("<rule as=\"{}\" {conditions}/>", dice.one_of(&["t", "u", "v"]));
        }
    }
    if rules.is_empty() {
        rules = "<rule as=\"v\" attribute=\"f\" is=\"a\"/>".to_owned();
    }
    let default = dice.one_of(&["t", "u", "v", "w"]);
    format!(
        "<UsageTypeClassifier id=\"{id}\" in=\"{links}\" default=\"{default}\">{rules}</UsageTypeClassifier>\n"
    )
}

pub(crate) fn increment(id: &str, links: &str, unit: &str, dice: &mut Dice<'_>) -> String {
    let (first, then) = (dice.throw(70), 1 + dice.throw(30));
    format!(
        "<UsageIncrement id=\"{id}\" in=\"{links}\" first=\"{first}{unit}\" then=\"{then}{unit}\"/>\n"
    )
}

pub(crate) fn accumulator(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    let calendar = dice.one_of(&[
        "MonthlyAccumulator",
        "BillingCycleAccumulator",
        "WeeklyAccumulator",
        "WeeklyAccumulator starts=\"Sun\"",
        "WeeklyAccumulator starts=\"Thu\"",
        "DailyAccumulator",
    ]);
    format!("<{calendar} id=\"{id}\" in=\"{links}\"/>\n")
}

pub(crate) fn weigher_by_value(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    let (a, b) = (dice.throw(4), dice.throw(12));
    let default = dice.one_of(&["", " default=\"0\"", " default=\"3\""]);
    format!(
        "<Weigher id=\"{id}\" in=\"{links}\" attribute=\"f\"{default}><weight value=\"a\" weight=\"{a}\"/><weight value=\"b\" weight=\"{b}\"/></Weigher>\n"
    )
}

/// A weigher by random windows. It always has a default weight, so that it suspends no record.
pub(crate) fn weigher_by_time(id: &str, links: &str, dice: &mut Dice<'_>) -> String {
    let mut windows = String::new();
    for _ in 0..1 + dice.throw(3) {
        let days = match dice.throw(2) {
            0 => String::new(),
            _ => format!(" days=\"{}\"", dice.one_of(DAYS)),
        };
        windows += &format!("<weight {}{days} weight=\"{}\"/>", window(dice), dice.throw(4));
    }
    let default = dice.one_of(&["0", "1", "3"]);
    format!("<Weigher id=\"{id}\" in=\"{links}\" default=\"{default}\">{windows}</Weigher>\n")
}

/// An allowance with buckets of all calendars and single grants, and a bucket of bought units if
/// `topup` has a link.
pub(crate) fn allowance(
    id: &str,
    links: &str,
    topup: Option<&str>,
    unit: &str,
    dice: &mut Dice<'_>,
) -> String {
    let mut buckets = String::new();
    let bought = topup.map(|_| {
        let (days, priority) = (dice.one_of(&[1, 2, 7, 40]), dice.throw(3));
        format!("<bought id=\"bought\" valid=\"{days} d\" priority=\"{priority}\"/>")
    });
    // Of buckets with equal expiry and priority, the first in the plan is drawn first. So the
    // bucket of bought units is placed before or after the others.
    let (least, before) = (usize::from(bought.is_none()), dice.throw(2) == 0);
    if before {
        buckets += bought.as_deref().unwrap_or_default();
    }
    for bucket in 0..least + dice.throw(3) {
        let grant = 1 + dice.throw(30);
        let every = ["month", "billing-cycle", "week", "week\" starts=\"Sun", "day", "day", ""];
        let period = match dice.one_of(&every) {
            "" => dice.one_of(&["", " valid=\"7 d\"", " valid=\"40 d\""]).to_owned(),
            every => format!(" every=\"{every}\" rollover=\"{}\"", dice.throw(4)),
        };
        let priority = dice.throw(3);
        buckets += &format!(
            "<bucket id=\"b{bucket}\" grant=\"{grant}{unit}\"{period} priority=\"{priority}\"/>"
        );
    }
    if !before {
        buckets += bought.as_deref().unwrap_or_default();
    }
    let topup = topup.map_or(String::new(), |links| format!(" topup=\"{links}\""));
    format!("<Allowance id=\"{id}\" in=\"{links}\"{topup}>{buckets}</Allowance>\n")
}

/// Up to three steps. The last one may have no end.
pub(crate) fn steps(endless: bool, unit: &str, dice: &mut Dice<'_>) -> String {
    let count = 1 + dice.throw(3);
    let (mut steps, mut upto) = (String::new(), 0);
    for step in 0..count {
        upto += 1 + dice.throw(25);
        let bound = if endless && step + 1 == count {
            String::new()
        } else {
            format!(" upto=\"{upto}{unit}\"")
        };
        let price = dice.one_of(&["0", "1", "0.05", "0.333333333", "2.5"]);
        let per = dice.one_of(&[1, 1, 3, 7, 1000]);
        let constant = dice.one_of(&["", "", " constant=\"0.15\""]);
        steps += &format!(
            "<step id=\"s{step}\"{bound} price=\"{price}\" per=\"{per}{unit}\"{constant}/>"
        );
    }
    steps
}
