//! WeeklyTimeFilter: passes units by the day of the week and the local time of day
//! (docs/plan-semantics.md section 1).

use turnpike_types::{DAY_US, SuspenseReason};

use crate::calendar::periods::{Calendar, OffsetInterval};
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::measure::time_of_day;
use crate::language::spec::{ChildSpec, Role, Spec, Value, required, usage_in, with_default};
use crate::machine::code::{Evaluation, Op};

use super::parts::filter::{FilterPorts, OUTPUTS};
use super::parts::weekdays::{DAYS, Weekdays};

const WEEK_US: i64 = 7 * DAY_US;
/// The time since Monday 00:00 of the start of 1970-01-01, a Thursday, in microseconds.
const EPOCH_US: i64 = 3 * DAY_US;

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "WeeklyTimeFilter",
        help: "Passes units whose day of the week and time of day are in one of its windows.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[],
        children: &[ChildSpec {
            name: "window",
            at_least: 1,
            properties: &[
                required("days", DAYS, "the days on which the window starts, such as Mon-Fri Sun"),
                with_default(
                    "from",
                    Value::TimeOfDay,
                    "00:00",
                    "the time of day at which the window starts",
                ),
                with_default(
                    "to",
                    Value::TimeOfDay,
                    "24:00",
                    "the end; an end before from is on the next day",
                ),
            ],
            help: "a window of time on days of the week",
        }],
        role: Role::Plain,
    },
    build,
};

fn build(primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let mut windows = Vec::new();
    for child in &primitive.children {
        add_windows(child, builder, &mut windows)?;
    }
    let week = Week::of(windows);
    if week.0[..] == [(0, WEEK_US)] {
        let message = "the windows are the whole week, so no unit ever leaves by rest";
        builder.warn(primitive.line, message);
    }
    let ports = FilterPorts::of(builder);
    builder.op(WeeklyTimeFilter { week, ports });
    Ok(())
}

/// Adds the windows of an element, one for each day on which it starts, in microseconds since
/// Monday 00:00.
fn add_windows(
    child: &Child,
    builder: &mut Builder<'_>,
    windows: &mut Vec<(i64, i64)>,
) -> Result<(), Refused> {
    let line = child.line;
    let (from, to) = (builder.child_property(child, "from")?, builder.child_property(child, "to")?);
    let start = builder.read(line, "from", time_of_day(from))?;
    let end = builder.read(line, "to", time_of_day(to))?;
    if start == DAY_US {
        let message = "from: 24:00 is the end of a day: write from=\"00:00\" and the next day";
        return Err(builder.refuse(line, Cause::BadValue, message));
    }
    if start == end {
        let message = format!("from and to are both {from}, so no unit can pass: widen the window");
        return Err(builder.refuse(line, Cause::NothingPasses, message));
    }
    let end = if end < start { end + DAY_US } else { end };
    let written = builder.child_property(child, "days")?;
    for day in builder.read(line, "days", Weekdays::parse(written))?.iter() {
        let midnight = day * DAY_US;
        windows.push((midnight + start, midnight + end));
    }
    Ok(())
}

/// The intervals in which units pass, in microseconds of a week that starts on Monday: half open,
/// sorted, with gaps between them.
#[derive(Debug)]
struct Week(Vec<(i64, i64)>);

impl Week {
    /// Splits windows at the end of the week, and joins those that overlap or touch.
    fn of(windows: Vec<(i64, i64)>) -> Self {
        let mut cut: Vec<(i64, i64)> = Vec::with_capacity(windows.len() + 1);
        for (from, to) in windows {
            cut.push((from, to.min(WEEK_US)));
            if to > WEEK_US {
                cut.push((0, to - WEEK_US));
            }
        }
        cut.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(cut.len());
        for (from, to) in cut {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    /// Whether an instant is within a window, and the instant before which the answer holds. The
    /// answer holds at most to the end of `interval`, an interval of constant offset from UTC.
    fn at(&self, instant: i64, interval: OffsetInterval) -> (bool, i64) {
        let local = instant.saturating_add(interval.offset_us).saturating_add(EPOCH_US);
        let clock = local.rem_euclid(WEEK_US);
        let next = self.0.partition_point(|(_, to)| *to <= clock);
        let (within, edge) = match (self.0.get(next), self.0.first()) {
            (Some(&(from, to)), _) if from <= clock => (true, to),
            (Some(&(from, _)), _) => (false, from),
            (None, first) => (false, WEEK_US + first.map_or(0, |(from, _)| *from)),
        };
        (within, instant.saturating_add(edge - clock).min(interval.to))
    }
}

struct WeeklyTimeFilter {
    week: Week,
    ports: FilterPorts,
}

impl Op for WeeklyTimeFilter {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let at = |calendar: &mut Calendar, at| self.week.at(at, calendar.offset_interval(at));
        self.ports.by_instant(run, |_| Ok(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const UTC: OffsetInterval = OffsetInterval { from: i64::MIN, to: i64::MAX, offset_us: 0 };

    #[test]
    fn windows_that_overlap_touch_or_cross_the_weeks_end_are_joined() {
        let week = Week::of(vec![(6 * DAY_US, 7 * DAY_US + 5), (5, 9), (8, 20), (40, 50)]);
        assert_eq!(week.0, [(0, 20), (40, 50), (6 * DAY_US, WEEK_US)]);
    }

    /// docs/plan-semantics.md section 1: a window contains its start and not its end.
    #[test]
    fn an_answer_holds_until_the_next_edge_of_a_window_or_of_the_clock() {
        // Monday 08:00 to 18:00; 5 January 1970 was a Monday.
        let week = Week::of(vec![(8 * HOUR_US, 18 * HOUR_US)]);
        let at = |hours: i64, interval| {
            let monday = 4 * DAY_US;
            let (within, until) = week.at(monday + hours * HOUR_US, interval);
            (within, (until - monday) / HOUR_US)
        };
        assert_eq!(at(7, UTC), (false, 8));
        assert_eq!(at(8, UTC), (true, 18));
        assert_eq!(at(18, UTC), (false, 7 * 24 + 8));
        assert_eq!(at(9, OffsetInterval { to: 4 * DAY_US + 10 * HOUR_US, ..UTC }), (true, 10));
        assert_eq!(at(7, OffsetInterval { offset_us: HOUR_US, ..UTC }), (true, 17));
    }
}
