//! Assigns units to the steps of a price by their level, the total before the unit
//! (docs/plan-semantics.md section 4).
//!
//! A `Weigher` counts a unit several times; each time is a copy of the unit, and the level rises
//! with each copy. So a step may end between two units or between two copies of one unit. Units
//! past the last step are the rest.

use crate::calendar::period::Period;
use crate::machine::evaluation::places::StepPortion;
use crate::machine::stream::{Span, Stream};

/// The level along a span of units: the i-th copy of unit `first + j` reads `level + j*copies + i`.
/// A `Weigher` makes several copies of a unit. Copies that the accumulator did not count read the
/// level of its last counted copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder {
    pub(crate) first: i64,
    pub(crate) level: i128,
    /// The number of copies of each unit that the accumulator counts. If it is zero, all units read
    /// the same level.
    pub(crate) copies: i128,
    pub(crate) skip: i128,
}

impl Ladder {
    /// The level that a copy of a unit reads; `None` on overflow of 128 bits.
    fn at(&self, unit: i64, copy: i128) -> Option<i128> {
        let units = i128::from(unit - self.first);
        match self.copies {
            0 => return Some(self.level),
            // Fast path without a weigher: 128-bit multiplication is slow.
            1 => return self.level.checked_add(units),
            _ => {}
        }
        let before = units.checked_mul(self.copies)?;
        let within = copy.saturating_sub(self.skip).clamp(0, self.copies - 1);
        self.level.checked_add(before)?.checked_add(within)
    }
}

/// Assigns spans of units to steps; units past the last step go to the rest.
pub(crate) struct Sorter<'a> {
    /// The upper bound of each step, exclusive; `None` if the step has no end.
    pub(crate) bounds: &'a [Option<i128>],
    pub(crate) parts: &'a mut Vec<StepPortion>,
    pub(crate) rest: &'a mut Stream,
}

impl Sorter<'_> {
    fn step_at(&self, level: i128) -> Option<usize> {
        self.bounds.iter().position(|upto| upto.is_none_or(|upto| level < upto))
    }

    /// Assigns a zero-quantity record to the step at `level`, or to the rest if the level is past
    /// the last step.
    pub(crate) fn zero_quantity(&mut self, stream: &Stream, level: i128) {
        if stream.zero_quantity && self.step_at(level).is_none() {
            self.rest.zero_quantity = true;
        }
    }

    /// Assigns one span of units to steps; `None` on overflow of 128 bits.
    pub(crate) fn sort(&mut self, span: Span, ladder: Ladder, period: Period) -> Option<()> {
        let (mut now, mut later) = (span, None);
        loop {
            let Some(step) = self.step_at(ladder.at(now.first, now.skip)?) else {
                self.rest.push(now);
                if let Some(span) = later {
                    self.rest.push(span);
                }
                return Some(());
            };
            let (below, above) = cut(now, ladder, self.bounds[step]);
            self.add(step, below, ladder, period)?;
            now = match above {
                // The copies of one unit belong to two steps: the units after it are assigned
                // later.
                Cut::Within(unit, after) => {
                    later = after.or(later);
                    unit
                }
                Cut::Between(after) => after,
                Cut::Nothing => match later.take() {
                    Some(span) => span,
                    None => return Some(()),
                },
            };
        }
    }

    fn add(&mut self, step: usize, span: Span, ladder: Ladder, period: Period) -> Option<()> {
        let quantity = span.count()?;
        let before = ladder.at(span.first, span.skip)?;
        let last = span.skip.checked_add(span.copies - 1)?;
        let after = ladder.at(span.end - 1, last)?.checked_add(i128::from(ladder.copies > 0))?;
        let same = |part: &&mut StepPortion| part.step == step && part.period == period;
        if let Some(part) = self.parts.iter_mut().rev().find(same) {
            part.quantity = part.quantity.checked_add(quantity)?;
            part.after = after;
            return Some(());
        }
        self.parts.push(StepPortion {
            step,
            period,
            quantity,
            first_unit: span.first,
            before,
            after,
        });
        Some(())
    }
}

/// Splits a span where the level reaches a bound, into units below the bound and units at or above
/// it; `None` on overflow of 128 bits.
pub(crate) fn split(
    span: Span,
    ladder: Ladder,
    bound: i128,
    below: &mut Stream,
    above: &mut Stream,
) -> Option<()> {
    let mut now = span;
    while ladder.at(now.first, now.skip)? < bound {
        let (under, over) = cut(now, ladder, Some(bound));
        below.push(under);
        match over {
            Cut::Nothing => return Some(()),
            Cut::Between(after) => now = after,
            Cut::Within(unit, after) => {
                above.push(unit);
                if let Some(after) = after {
                    above.push(after);
                }
                return Some(());
            }
        }
    }
    above.push(now);
    Some(())
}

/// The part of a span at or above a bound.
enum Cut {
    Nothing,
    /// The cut is between two units, so the part consists of whole units.
    Between(Span),
    /// The cut is within a unit: the copies of the unit at or above the bound, and the units after
    /// it.
    Within(Span, Option<Span>),
}

/// Cuts a span whose first copy is below `upto`, into the part below and the part at or above it.
fn cut(span: Span, ladder: Ladder, upto: Option<i128>) -> (Span, Cut) {
    let Some(upto) = upto.filter(|_| ladder.copies > 0) else {
        return (span, Cut::Nothing);
    };
    let room = upto.saturating_sub(ladder.level);
    // Fast path without a weigher: 128-bit division is slow.
    let (units, copies) = match ladder.copies {
        1 => (room, 0),
        each => (room / each, room % each),
    };
    let until = i64::try_from(units).ok().and_then(|units| ladder.first.checked_add(units));
    let Some(unit) = until.filter(|unit| *unit < span.end) else {
        return (span, Cut::Nothing);
    };
    if unit > span.first {
        // The whole units are cut off first. The next call cuts the unit that contains the bound.
        return (Span { end: unit, ..span }, Cut::Between(Span { first: unit, ..span }));
    }
    let below = copies.saturating_add(ladder.skip).saturating_sub(span.skip);
    let after = (unit + 1 < span.end).then_some(Span { first: unit + 1, ..span });
    let single = Span { end: unit + 1, ..span };
    if below >= span.copies {
        return (single, after.map_or(Cut::Nothing, Cut::Between));
    }
    let skip = span.skip.saturating_add(below);
    let above = Span { copies: span.copies - below, skip, ..single };
    (Span { copies: below, ..single }, Cut::Within(above, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(
        spans: &[(Span, Ladder)],
        bounds: &[Option<i128>],
    ) -> (Vec<(usize, i128)>, Vec<Span>) {
        let (mut parts, mut rest) = (Vec::new(), Stream::default());
        let mut sorter = Sorter { bounds, parts: &mut parts, rest: &mut rest };
        for (span, ladder) in spans {
            sorter.sort(*span, *ladder, Period::EVER).unwrap();
        }
        (parts.iter().map(|part| (part.step, part.quantity)).collect(), rest.spans)
    }

    fn span(first: i64, end: i64, copies: i128, skip: i128) -> Span {
        Span { first, end, copies, skip }
    }

    fn ladder(level: i128, copies: i128) -> Ladder {
        Ladder { first: 0, level, copies, skip: 0 }
    }

    #[test]
    fn a_run_is_cut_between_units_where_a_step_ends() {
        let run = [(span(0, 10, 1, 0), ladder(3, 1))];
        assert_eq!(
            sorted(&run, &[Some(5), Some(9)]),
            (vec![(0, 2), (1, 4)], vec![span(6, 10, 1, 0)])
        );
        assert_eq!(sorted(&run, &[Some(5), None]), (vec![(0, 2), (1, 8)], vec![]));
    }

    #[test]
    fn a_run_is_cut_between_the_copies_of_a_unit_where_a_step_ends_within() {
        let run = [(span(0, 4, 3, 0), ladder(0, 3))];
        // Unit 1 counts three times, at levels 3, 4 and 5. The step ends at level 5, so the third
        // copy is left over.
        let rest = vec![span(1, 2, 1, 2), span(2, 4, 3, 0)];
        assert_eq!(sorted(&run, &[Some(5)]), (vec![(0, 5)], rest));
        // Several steps end within one unit.
        let run = [(span(0, 2, 10, 0), ladder(0, 10))];
        let steps = [Some(2), Some(5), Some(9), None];
        assert_eq!(sorted(&run, &steps).0, [(0, 2), (1, 3), (2, 4), (3, 11)]);
    }

    #[test]
    fn units_that_the_accumulator_does_not_count_all_read_one_level() {
        let run = [(span(0, 10, 7, 0), ladder(4, 0))];
        assert_eq!(sorted(&run, &[Some(5), None]), (vec![(0, 70)], vec![]));
    }

    #[test]
    fn a_run_is_split_between_units_or_copies_where_the_level_reaches_a_bound() {
        let halves = |run: Span, ladder: Ladder, bound: i128| {
            let (mut below, mut above) = (Stream::default(), Stream::default());
            split(run, ladder, bound, &mut below, &mut above).unwrap();
            (below.spans, above.spans)
        };
        let run = span(0, 10, 1, 0);
        let cut = (vec![span(0, 4, 1, 0)], vec![span(4, 10, 1, 0)]);
        assert_eq!(halves(run, ladder(3, 1), 7), cut);
        assert_eq!(halves(run, ladder(7, 1), 7), (vec![], vec![run]));
        assert_eq!(halves(run, ladder(0, 1), 99), (vec![run], vec![]));
        assert_eq!(halves(run, ladder(6, 0), 7), (vec![run], vec![]));
        // Unit 1 has copies at levels 3, 4 and, past the bound, 5.
        let (below, above) = halves(span(0, 4, 3, 0), ladder(0, 3), 5);
        assert_eq!(below, [span(0, 1, 3, 0), span(1, 2, 2, 0)]);
        assert_eq!(above, [span(1, 2, 1, 2), span(2, 4, 3, 0)]);
    }

    #[test]
    fn levels_near_the_end_of_128_bits_do_not_wrap() {
        let run = span(0, 10, 1, 0);
        let (mut parts, mut rest) = (Vec::new(), Stream::default());
        let mut sorter = Sorter { bounds: &[None], parts: &mut parts, rest: &mut rest };
        assert!(sorter.sort(run, ladder(i128::MAX - 3, 1), Period::EVER).is_none());
        assert!(sorter.sort(run, ladder(i128::MIN, 1), Period::EVER).is_some());
    }
}
