//! Units on their way through the graph, represented as spans (docs/plan-semantics.md sections 1,
//! 2).
//!
//! A [`Stream`] holds the units of one usage port for one record: spans in unit order that do not
//! overlap. A [`Span`] is an interval of the record's units, each of which arrives `copies` times:
//! a Weigher makes copies, and so do two paths that meet. When a rater divides the copies of one
//! unit between two tiers, `skip` is the number of copies before these that belong to another tier.

use turnpike_types::Must;

/// Units `first <= k < end` of a record, each `copies` times (at least once).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) end: i64,
    pub(crate) copies: i128,
    /// The number of copies of the unit that come before these copies and belong to another tier.
    /// Non-zero only in a span of a single unit.
    pub(crate) skip: i128,
}

impl Span {
    /// The number of copies of all units in the span; `None` on overflow of 128 bits.
    pub(crate) fn count(&self) -> Option<i128> {
        let units = i128::from(self.end - self.first);
        if self.copies == 1 { Some(units) } else { units.checked_mul(self.copies) }
    }

    /// Whether the span contains the first copy of the record's first unit.
    pub(crate) const fn begins_record(&self) -> bool {
        self.first == 0 && self.skip == 0
    }
}

/// The units of one usage port for one record.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) spans: Vec<Span>,
    /// Whether a zero-quantity record passed this port. It counts as usage for charges due at first
    /// use (docs/plan-semantics.md section 5).
    pub(crate) zero_quantity: bool,
}

/// The maximum number of spans of a port for one record. A daily filter makes two spans per day, so
/// a record reaches the limit after 89 years. A record above the limit is refused, to bound memory.
pub(crate) const SPANS_MAX: usize = 1 << 16;

/// The maximum number of lines, and of changes of variables, for one record; more gives
/// [`Overflow`](turnpike_types::SuspenseReason::Overflow). A session of a month at hourly prices
/// makes some hundreds. A session of centuries is the result of a wrong clock, and must not delay
/// other records.
pub const PORTIONS_MAX: usize = 1024;

impl Stream {
    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.zero_quantity = false;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty() && !self.zero_quantity
    }

    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.spans.clear();
        self.spans.extend_from_slice(&other.spans);
        self.zero_quantity = other.zero_quantity;
    }

    /// Appends a span after all others. Extends the last span instead if both form one span.
    pub(crate) fn push(&mut self, span: Span) {
        if let Some(last) = self.spans.last_mut()
            && last.end == span.first
            && last.copies == span.copies
            && last.skip == 0
            && span.skip == 0
        {
            last.end = span.end;
            return;
        }
        self.spans.push(span);
    }
}

/// Merges two streams in unit order into `out`; the copies of a unit in both are added. `None` on
/// overflow of 128 bits.
pub(crate) fn merge(left: &Stream, right: &Stream, out: &mut Stream) -> Option<()> {
    out.clear();
    out.zero_quantity = left.zero_quantity || right.zero_quantity;
    let (mut lefts, mut rights) = (left.spans.iter().copied(), right.spans.iter().copied());
    let (mut a, mut b) = (lefts.next(), rights.next());
    while let (Some(x), Some(y)) = (a, b) {
        // The part before the other span begins is copied, then the common part. The remaining part
        // is left for the next iteration.
        if x.first < y.first {
            let end = x.end.min(y.first);
            out.push(Span { end, ..x });
            a = rest_of(x, end).or_else(|| lefts.next());
        } else if y.first < x.first {
            let end = y.end.min(x.first);
            out.push(Span { end, ..y });
            b = rest_of(y, end).or_else(|| rights.next());
        } else {
            let end = x.end.min(y.end);
            let copies = x.copies.checked_add(y.copies)?;
            let skip = x.skip.min(y.skip);
            out.push(Span { first: x.first, end, copies, skip });
            a = rest_of(x, end).or_else(|| lefts.next());
            b = rest_of(y, end).or_else(|| rights.next());
        }
    }
    for span in a.into_iter().chain(lefts).chain(b).chain(rights) {
        out.push(span);
    }
    Some(())
}

fn rest_of(span: Span, from: i64) -> Option<Span> {
    (from < span.end).then_some(Span { first: from, ..span })
}

/// One measure of one record, and its distribution over time (docs/plan-semantics.md section 1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnitFlow {
    /// The number of units in the record.
    pub(crate) quantity: i64,
    /// The record's start and duration, in microseconds.
    pub(crate) start: i64,
    pub(crate) duration: i64,
}

impl UnitFlow {
    /// The instant of unit k, `start + floor(k*D/Q)`, where D is the duration and Q the quantity.
    #[inline]
    pub(crate) fn instant(&self, unit: i64) -> i64 {
        if self.quantity == self.duration {
            return self.start.saturating_add(unit);
        }
        self.instant_by_ratio(unit)
    }

    #[inline(never)]
    fn instant_by_ratio(&self, unit: i64) -> i64 {
        if unit == 0 || self.quantity == 0 || self.duration == 0 {
            return self.start;
        }
        let offset = i128::from(unit) * i128::from(self.duration) / i128::from(self.quantity);
        match i64::try_from(offset) {
            Ok(offset) => self.start.saturating_add(offset),
            // The unit lies behind the last instant.
            Err(_) => i64::MAX,
        }
    }

    /// The number of units before an instant T, `ceil((T-start)*Q/D)`, where D is the duration and
    /// Q the quantity; all units if T is at or after the end.
    #[inline]
    pub(crate) fn units_before(&self, instant: i64) -> i64 {
        let since = instant.saturating_sub(self.start);
        if since <= 0 {
            return 0;
        }
        if since >= self.duration {
            return self.quantity;
        }
        if self.quantity == self.duration {
            return since;
        }
        self.units_by_ratio(since)
    }

    /// `units_before` for `since` microseconds from the start, within the record.
    #[inline(never)]
    fn units_by_ratio(&self, since: i64) -> i64 {
        let product = i128::from(since) * i128::from(self.quantity);
        let (whole, part) =
            (product / i128::from(self.duration), product % i128::from(self.duration));
        let units = whole + i128::from(part != 0);
        i64::try_from(units).must("the instant lies within the record").min(self.quantity)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(first: i64, end: i64, copies: i128) -> Span {
        Span { first, end, copies, skip: 0 }
    }

    fn stream(spans: &[Span]) -> Stream {
        Stream { spans: spans.to_vec(), zero_quantity: false }
    }

    fn merged(left: &[Span], right: &[Span]) -> Vec<Span> {
        let mut out = Stream::default();
        merge(&stream(left), &stream(right), &mut out).unwrap();
        out.spans
    }

    #[test]
    fn links_into_one_input_merge_in_unit_order() {
        let (early, late) = ([span(0, 3, 1), span(6, 9, 1)], [span(3, 6, 1)]);
        assert_eq!(merged(&early, &late), [span(0, 9, 1)]);
        assert_eq!(merged(&late, &early), [span(0, 9, 1)]);
    }

    #[test]
    fn a_unit_that_takes_two_paths_arrives_twice() {
        let all = [span(0, 10, 1)];
        let some = [span(3, 5, 2)];
        let both = [span(0, 3, 1), span(3, 5, 3), span(5, 10, 1)];
        assert_eq!(merged(&all, &some), both);
        assert_eq!(merged(&some, &all), both);
        assert_eq!(merged(&all, &[]), all);
    }

    #[test]
    fn copies_past_128_bits_are_an_error() {
        let (left, right) = (stream(&[span(0, 1, i128::MAX)]), stream(&[span(0, 1, 1)]));
        assert!(merge(&left, &right, &mut Stream::default()).is_none());
    }

    #[test]
    fn without_duration_all_units_are_at_the_start() {
        let flow = UnitFlow { quantity: 7, start: 100, duration: 0 };
        assert_eq!((0..7).map(|k| flow.instant(k)).collect::<Vec<_>>(), [100; 7]);
        assert_eq!((flow.units_before(100), flow.units_before(101)), (0, 7));
    }

    proptest! {
        /// docs/plan-semantics.md section 1: the number of units before an instant T is
        /// ceil((T-start)*Q/D), for a quantity Q and a duration D.
        #[test]
        fn the_units_before_an_instant_are_those_that_happen_before_it(
            quantity in 1i64..200, duration in 0i64..500, at in -10i64..600,
        ) {
            let flow = UnitFlow { quantity, start: 50, duration };
            let counted = (0..quantity).filter(|&k| flow.instant(k) < at).count();
            prop_assert_eq!(flow.units_before(at), counted as i64);
        }

        #[test]
        fn no_number_of_units_panics(quantity: i64, duration: i64, start: i64, at: i64, unit: i64) {
            let [quantity, duration, unit] = [quantity, duration, unit].map(|n| n.max(0));
            let flow = UnitFlow { quantity, start, duration };
            flow.units_before(at);
            flow.instant(unit);
        }
    }
}
