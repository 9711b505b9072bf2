//! Groups of primitives that are joined by links.

/// Disjoint sets (union-find) of primitives.
pub(super) struct Groups(Vec<usize>);

impl Groups {
    /// A set of its own for each of `count` primitives.
    pub(super) fn singles(count: usize) -> Self {
        Self((0..count).collect())
    }

    pub(super) fn of(&mut self, mut place: usize) -> usize {
        while let Some(&above) = self.0.get(place)
            && above != place
        {
            // Path halving shortens the path to the representative.
            let next = self.0.get(above).copied().unwrap_or(above);
            if let Some(slot) = self.0.get_mut(place) {
                *slot = next;
            }
            place = above;
        }
        place
    }

    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        if let Some(slot) = self.0.get_mut(one) {
            *slot = other;
        }
    }
}
