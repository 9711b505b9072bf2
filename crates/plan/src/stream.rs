//! Units on their way through the graph, as spans instead of one by one
//! (docs/plan-semantics.md sections 1, 2).
//!
//! A [`Stream`] is what one usage port carries for one record: spans in unit order that do not
//! overlap. A [`Span`] is a run of the record's units, each arriving `copies` times: a Weigher
//! makes copies, and so do two paths that meet. Where a rater splits the copies of a single unit
//! between two tiers, `skip` says how many copies of it went elsewhere before these.

/// Units `first <= k < end` of a record, each `copies` times over (at least once).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) end: i64,
    pub(crate) copies: i128,
    /// Not zero only where the span is a single unit.
    pub(crate) skip: i128,
}

impl Span {
    /// How many arrivals the span stands for; `None` past 128 bits.
    pub(crate) fn count(&self) -> Option<i128> {
        let units = i128::from(self.end - self.first);
        if self.copies == 1 { Some(units) } else { units.checked_mul(self.copies) }
    }

    /// Does it hold the record's first unit; of one that was weighed, the first copy?
    pub(crate) const fn begins_record(&self) -> bool {
        self.first == 0 && self.skip == 0
    }
}

/// What one usage port carries for one record.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) spans: Vec<Span>,
    /// A record without units passed here: usage for what falls due at first use
    /// (docs/plan-semantics.md section 5).
    pub(crate) ghost: bool,
}

/// Spans a port may carry for one record. A daily filter needs two a day, so this is 89 years of
/// one record; past it the record is refused instead of filling memory.
pub(crate) const SPANS_MAX: usize = 1 << 16;

/// Lines, and changes of variables, that one record may make; more is
/// [`Overflow`](turnpike_types::SuspenseReason::Overflow). A month's session at hourly prices makes
/// some hundreds; a session of centuries is a clock gone wrong, and must not hold the others up.
pub const PORTIONS_MAX: usize = 1024;

impl Stream {
    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.ghost = false;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty() && !self.ghost
    }

    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.spans.clear();
        self.spans.extend_from_slice(&other.spans);
        self.ghost = other.ghost;
    }

    /// Adds a span after all others, joined to the last where the two are one run.
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

/// Merges two streams in unit order into `out`; a unit of both arrives the copies of both.
/// `None` past 128 bits.
pub(crate) fn merge(left: &Stream, right: &Stream, out: &mut Stream) -> Option<()> {
    out.clear();
    out.ghost = left.ghost || right.ghost;
    let (mut lefts, mut rights) = (left.spans.iter().copied(), right.spans.iter().copied());
    let (mut a, mut b) = (lefts.next(), rights.next());
    while let (Some(x), Some(y)) = (a, b) {
        // The part before the other begins is alone; then the common part; the rest goes round.
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

/// One measure of one record: how its units lie in time (docs/plan-semantics.md section 1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    /// Units.
    pub(crate) quantity: i64,
    /// The record's start and duration, in microseconds.
    pub(crate) start: i64,
    pub(crate) duration: i64,
}

impl Flow {
    /// When unit k happens: `start + floor(k*D/Q)`.
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
        self.start.saturating_add(i64::try_from(offset).unwrap_or(i64::MAX))
    }

    /// How many units happen before an instant: `ceil((T-start)*Q/D)`, all of them from the end.
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

    /// Of a stretch of time within the record.
    #[inline(never)]
    fn units_by_ratio(&self, since: i64) -> i64 {
        let product = i128::from(since) * i128::from(self.quantity);
        let (whole, part) =
            (product / i128::from(self.duration), product % i128::from(self.duration));
        let units = whole + i128::from(part != 0);
        i64::try_from(units).unwrap_or(self.quantity).min(self.quantity)
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
        Stream { spans: spans.to_vec(), ghost: false }
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
    fn a_unit_that_comes_by_two_paths_arrives_twice() {
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
        let flow = Flow { quantity: 7, start: 100, duration: 0 };
        assert_eq!((0..7).map(|k| flow.instant(k)).collect::<Vec<_>>(), [100; 7]);
        assert_eq!((flow.units_before(100), flow.units_before(101)), (0, 7));
    }

    proptest! {
        /// docs/plan-semantics.md section 1: units before T number ceil((T-start)*Q/D).
        #[test]
        fn the_units_before_an_instant_are_those_that_happen_before_it(
            quantity in 1i64..200, duration in 0i64..500, at in -10i64..600,
        ) {
            let flow = Flow { quantity, start: 50, duration };
            let counted = (0..quantity).filter(|&k| flow.instant(k) < at).count();
            prop_assert_eq!(flow.units_before(at), counted as i64);
        }

        #[test]
        fn no_number_of_units_panics(quantity: i64, duration: i64, start: i64, at: i64, unit: i64) {
            let [quantity, duration, unit] = [quantity, duration, unit].map(|n| n.max(0));
            let flow = Flow { quantity, start, duration };
            flow.units_before(at);
            flow.instant(unit);
        }
    }
}
