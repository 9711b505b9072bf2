//! Which backends block a claim, and for how long (P3).

use std::collections::HashMap;

use tokio::time::Instant;

use super::database::CLAIM_LOCK_LIMIT;

/// A backend in a transaction: its process id, and the begin of the transaction in microseconds
/// since 1970.
pub(super) type BlockingBackend = (i32, i64);

/// The backends that block one claim, each with the time at which it was first found.
#[derive(Debug, Default)]
pub(super) struct Blockers {
    since: HashMap<BlockingBackend, Instant>,
}

impl Blockers {
    /// Stores the blockers that a search found, which ended at `now`. A blocker that the search did
    /// not find again is removed.
    pub(super) fn note(&mut self, now: Instant, found: impl Iterator<Item = BlockingBackend>) {
        let since = |holder| (holder, self.since.get(&holder).copied().unwrap_or(now));
        self.since = found.map(since).collect();
    }

    /// The blockers that every search has found for [`CLAIM_LOCK_LIMIT`] or longer, as of `now`.
    pub(super) fn overdue(&self, now: Instant) -> impl Iterator<Item = BlockingBackend> {
        let is_overdue = move |since: &Instant| now.duration_since(*since) >= CLAIM_LOCK_LIMIT;
        self.since.iter().filter(move |(_, since)| is_overdue(since)).map(|(&holder, _)| holder)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The backends that each search ends, given the time of each search in milliseconds and the
    /// backends that it finds.
    fn ended(looks: &[(u64, &[BlockingBackend])]) -> Vec<Vec<BlockingBackend>> {
        let start = Instant::now();
        let mut blockers = Blockers::default();
        let mut look = |&(ms, found): &(u64, &[BlockingBackend])| {
            let now = start + Duration::from_millis(ms);
            let overdue: Vec<BlockingBackend> = blockers.overdue(now).collect();
            blockers.note(now, found.iter().copied());
            found.iter().copied().filter(|holder| overdue.contains(holder)).collect()
        };
        looks.iter().map(&mut look).collect()
    }

    const STUCK: BlockingBackend = (1, 10);
    const OTHER: BlockingBackend = (2, 20);

    #[test]
    fn p3_a_blocker_of_a_claim_is_ended_after_the_whole_limit_and_not_before() {
        let looks = [(0, &[STUCK][..]), (50, &[STUCK]), (399, &[STUCK]), (400, &[STUCK])];
        assert_eq!(ended(&looks), [vec![], vec![], vec![], vec![STUCK]]);
    }

    /// A claim that waits for the row is not found as a blocker. Once it holds the row, it is
    /// found, and its time limit begins.
    #[test]
    fn p3_a_claimant_that_gets_the_row_later_is_not_ended_with_its_former_blocker() {
        let looks = [(0, &[STUCK][..]), (400, &[STUCK]), (450, &[OTHER]), (799, &[OTHER])];
        assert_eq!(ended(&looks), [vec![], vec![STUCK], vec![], vec![]]);
        // A backend that stays blocked after it got the row is ended after its own limit.
        let looks = [(0, &[STUCK][..]), (400, &[STUCK]), (450, &[OTHER]), (850, &[OTHER])];
        assert_eq!(ended(&looks)[3], [OTHER]);
    }

    /// The next transaction of the same backend counts as another blocker.
    #[test]
    fn p3_a_backend_that_began_another_transaction_is_given_its_time_again() {
        let next: BlockingBackend = (STUCK.0, 11);
        let looks = [(0, &[STUCK][..]), (350, &[next]), (700, &[next]), (750, &[next])];
        assert_eq!(ended(&looks), [vec![], vec![], vec![], vec![next]]);
        let gap = [(0, &[STUCK][..]), (200, &[]), (400, &[STUCK]), (799, &[STUCK])];
        assert_eq!(ended(&gap), [vec![], vec![], vec![], vec![]]);
    }
}
