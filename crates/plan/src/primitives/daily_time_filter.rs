//! DailyTimeFilter: passes units by the local time of day of the account
//! (docs/plan-semantics.md section 1).

use turnpike_types::{DAY_US, SuspenseReason};

use crate::calendar::periods::{Calendar, OffsetInterval};
use crate::compile::definition::Definition;
use crate::language::findings::Cause;
use crate::language::measure::time_of_day;
use crate::language::spec::{Role, Spec, Value, required, usage_in};
use crate::machine::code::{Evaluation, Op};

use super::parts::filter::{FilterPorts, OUTPUTS};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "DailyTimeFilter",
        help: "Passes units whose time of day is from <= t < to in the account's zone.",
        inputs: &[usage_in("in")],
        outputs: OUTPUTS,
        properties: &[
            required("from", Value::TimeOfDay, "the start of the window"),
            required(
                "to",
                Value::TimeOfDay,
                "the end, up to 24:00; an end before from is on the next day",
            ),
        ],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let (from, to) = (builder.property(primitive, "from")?, builder.property(primitive, "to")?);
        let window = Window {
            from: builder.read(primitive.line, "from", time_of_day(from))?,
            to: builder.read(primitive.line, "to", time_of_day(to))?,
        };
        if window.from == DAY_US {
            let message = "from: 24:00 is the end of a day: write from=\"00:00\"";
            return Err(builder.refuse(primitive.line, Cause::BadValue, message));
        }
        if window.from == window.to {
            let message =
                format!("from and to are both {from}, so no unit can pass: widen the window");
            return Err(builder.refuse(primitive.line, Cause::NothingPasses, message));
        }
        if window.from == 0 && window.to == DAY_US {
            builder.warn(
                primitive.line,
                "the window is the whole day, so no unit ever leaves by rest",
            );
        }
        let ports = FilterPorts::of(builder);
        builder.op(DailyTimeFilter { window, ports });
        Ok(())
    },
};

/// A window in microseconds since local midnight. With `from > to` it crosses midnight.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: i64,
    to: i64,
}

impl Window {
    /// Whether an instant is within the window, and the instant up to which the answer holds. The
    /// answer holds at most to the end of `interval`, an interval of constant offset from UTC.
    fn at(self, instant: i64, interval: OffsetInterval) -> (bool, i64) {
        let clock = instant.saturating_add(interval.offset_us).rem_euclid(DAY_US);
        let within = if self.from < self.to {
            self.from <= clock && clock < self.to
        } else {
            clock >= self.from || clock < self.to
        };
        let edge = if within { self.to } else { self.from };
        let wait = if edge > clock { edge - clock } else { edge + DAY_US - clock };
        (within, instant.saturating_add(wait).min(interval.to))
    }
}

struct DailyTimeFilter {
    window: Window,
    ports: FilterPorts,
}

impl Op for DailyTimeFilter {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let at = |calendar: &mut Calendar, at| self.window.at(at, calendar.offset_interval(at));
        self.ports.by_instant(run, |_| Ok(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const UTC: OffsetInterval = OffsetInterval { from: i64::MIN, to: i64::MAX, offset_us: 0 };

    fn at(window: Window, hours: i64) -> (bool, i64) {
        let (within, until) = window.at(hours * HOUR_US, UTC);
        (within, until / HOUR_US)
    }

    #[test]
    fn a_window_is_half_open() {
        let evening = Window { from: 19 * HOUR_US, to: DAY_US };
        assert_eq!(at(evening, 18), (false, 19));
        assert_eq!(at(evening, 19), (true, 24));
        assert_eq!(at(evening, 24), (false, 43));
        assert_eq!(at(evening, -1), (true, 0));
    }

    #[test]
    fn a_window_whose_from_is_later_than_its_to_wraps_round_midnight() {
        let night = Window { from: 22 * HOUR_US, to: 6 * HOUR_US };
        assert_eq!(at(night, 21), (false, 22));
        assert_eq!(at(night, 23), (true, 30));
        assert_eq!(at(night, 5), (true, 6));
        assert_eq!(at(night, 6), (false, 22));
    }

    #[test]
    fn no_answer_holds_past_a_change_of_the_clocks() {
        let evening = Window { from: 19 * HOUR_US, to: DAY_US };
        let short = OffsetInterval { to: 20 * HOUR_US, ..UTC };
        assert_eq!(evening.at(19 * HOUR_US, short), (true, 20 * HOUR_US));
    }
}
