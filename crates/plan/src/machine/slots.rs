//! Sets of streams.

/// A set of streams as a bit mask. Streams from 63 on share one bit, so in a large plan some
/// operations run although they have no input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(u64);

impl Slots {
    /// The set of all streams.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// The set of the streams with numbers below `count`.
    pub(crate) const fn first(count: usize) -> Self {
        if count > 63 { Self::ALL } else { Self((1 << count) - 1) }
    }

    #[inline]
    pub(crate) fn add(&mut self, slot: usize) {
        self.0 |= 1 << slot.min(63);
    }

    /// Calls `with` for each stream of the set that is below `count`.
    pub(crate) fn for_each(self, count: usize, mut with: impl FnMut(usize)) {
        let mut left = self.0 << 1 >> 1;
        while left != 0 {
            let slot = left.trailing_zeros() as usize;
            if slot >= count {
                return;
            }
            with(slot);
            left &= left - 1;
        }
        if self.0 >> 63 == 1 {
            (63..count).for_each(with);
        }
    }

    #[inline]
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds the streams of `other` for which `hold` returns true; the shared bit is always added.
    #[inline]
    pub(crate) fn add_those(&mut self, other: Self, hold: impl Fn(usize) -> bool) {
        let mut left = other.0 & !self.0;
        while left != 0 {
            let slot = left.trailing_zeros();
            left &= left - 1;
            if slot == 63 || hold(slot as usize) {
                self.0 |= 1 << slot;
            }
        }
    }
}
