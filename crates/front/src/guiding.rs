//! Guiding: from an identity to the account that it was bound to when a record began (P28).
//!
//! Bindings are never changed once they stand, so a binding that was found covers its interval
//! for ever and may be cached. That there is none may change with the next binding: that is asked
//! again with each batch.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use turnpike_mutants::{Line, off};
use turnpike_store::{Guided, SharedDatabase, StoreResult};
use turnpike_types::{AccountNumber, Timestamp};

use crate::split::Histories;

/// The account that the identity of `history` was bound to at `start`.
pub(crate) fn bound_at(history: &Guided, start: Timestamp) -> Option<AccountNumber> {
    if off(Line::GuidedByStart) {
        return history.bindings.last().map(|binding| binding.account);
    }
    let after = history.bindings.partition_point(|binding| binding.from <= start);
    let binding = history.bindings.get(after.checked_sub(1)?)?;
    let holds = start < binding.until || (start == binding.until && off(Line::BindingEnds));
    holds.then_some(binding.account)
}

/// Identity histories, cached by bytes. No time to live: what is cached stays true.
#[derive(Clone)]
pub(crate) struct Guide {
    db: Arc<dyn SharedDatabase>,
    cache: Cache<String, Arc<Guided>>,
}

impl Guide {
    pub(crate) fn new(db: Arc<dyn SharedDatabase>, bytes_max: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|identity: &String, history: &Arc<Guided>| {
                let bytes = 128 + (identity.len() + 64) * (1 + history.bindings.len());
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .build();
        Self { db, cache }
    }

    /// The histories of `asked`, each complete enough for every start asked for: one call to the
    /// database for all that the cache can't answer.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn histories(
        &self,
        asked: HashMap<String, Vec<Timestamp>>,
    ) -> StoreResult<Histories> {
        let mut found = Histories::with_capacity(asked.len());
        let mut missing = Vec::new();
        for (identity, starts) in asked {
            match self.cache.get(&identity) {
                Some(history)
                    if off(Line::UnboundAskedAgain)
                        || starts.iter().all(|at| bound_at(&history, *at).is_some())
                        || (off(Line::EveryStart)
                            && starts.iter().any(|at| bound_at(&history, *at).is_some())) =>
                {
                    found.insert(identity, history);
                }
                _ => missing.push(identity),
            }
        }
        metrics::counter!("turnpike_front_guide_cache_hits_total").increment(found.len() as u64);
        metrics::counter!("turnpike_front_guide_cache_misses_total")
            .increment(missing.len() as u64);
        if missing.is_empty() {
            return Ok(found);
        }
        missing.sort_unstable();
        let histories = self.db.guide(&missing).await?;
        for (identity, history) in missing.into_iter().zip(histories) {
            let history = Arc::new(history);
            if !history.bindings.is_empty() || off(Line::UnboundAskedAgain) {
                self.cache.insert(identity.clone(), Arc::clone(&history));
            }
            found.insert(identity, history);
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_store::memory::MemoryDatabase;
    use turnpike_store::{BindOutcome, Binding};

    use super::*;

    fn binding(account: u64, from: i64, until: i64) -> Binding {
        Binding {
            identity: "ip:192.0.2.1".to_owned(),
            account: AccountNumber(account),
            from: Timestamp(from),
            until: Timestamp(until),
        }
    }

    /// P28: an interval holds its beginning and not its end; between two intervals nobody is bound.
    #[test]
    fn p28_a_binding_holds_from_its_beginning_to_just_before_its_end() {
        let bindings = vec![binding(1, 100, 200), binding(2, 200, 300), binding(3, 400, 500)];
        let history = Guided { bindings };
        let expected = [
            (i64::MIN, None),
            (99, None),
            (100, Some(1)),
            (199, Some(1)),
            (200, Some(2)),
            (299, Some(2)),
            (300, None),
            (399, None),
            (400, Some(3)),
            (499, Some(3)),
            (500, None),
            (i64::MAX, None),
        ];
        for (start, account) in expected {
            let found = bound_at(&history, Timestamp(start));
            assert_eq!(found, account.map(AccountNumber), "a record that starts at {start}");
        }
        assert_eq!(bound_at(&Guided { bindings: Vec::new() }, Timestamp(100)), None);
    }

    async fn bind(db: &MemoryDatabase, new: Binding) {
        assert_eq!(db.bind_identities(&[new]).await.unwrap(), [BindOutcome::Bound]);
    }

    /// P28: a history that was cached before a binding was made answers for no start of it, in
    /// whatever company that start is asked for.
    #[tokio::test]
    async fn p28_every_start_that_a_cached_history_does_not_cover_is_looked_up() {
        for known in [vec![150], vec![]] {
            let db = Arc::new(MemoryDatabase::new());
            let guide = Guide::new(Arc::clone(&db) as Arc<dyn SharedDatabase>, 1 << 20);
            let ask = async |starts: &[i64]| {
                let starts: Vec<Timestamp> = starts.iter().copied().map(Timestamp).collect();
                let asked = [("ip:192.0.2.1".to_owned(), starts.clone())].into();
                let found = guide.histories(asked).await.unwrap();
                let history = &found["ip:192.0.2.1"];
                starts.iter().map(|at| bound_at(history, *at).map(|a| a.0)).collect::<Vec<_>>()
            };
            bind(&db, binding(1, 100, 200)).await;
            assert_eq!(ask(&[150]).await, [Some(1)]);
            assert_eq!(ask(&[250]).await, [None]);
            bind(&db, binding(2, 200, 300)).await;
            let mut starts = known.clone();
            starts.push(250);
            let mut expected: Vec<_> = known.iter().map(|_| Some(1)).collect();
            expected.push(Some(2));
            assert_eq!(ask(&starts).await, expected, "together with {known:?}");
        }
    }

    #[test]
    fn mutants_are_caught() {
        let here = |test| format!("guiding::tests::{test}");
        turnpike_mutants::all_caught(&[
            (
                Line::BindingEnds,
                &here("p28_a_binding_holds_from_its_beginning_to_just_before_its_end"),
                "a record that starts at 300",
            ),
            (
                Line::EveryStart,
                &here("p28_every_start_that_a_cached_history_does_not_cover_is_looked_up"),
                "together with [150]",
            ),
        ]);
    }

    /// P28: of many identities asked for at once each has its own history, cached or not.
    #[tokio::test]
    async fn p28_each_identity_is_guided_by_its_own_history() {
        let db = Arc::new(MemoryDatabase::new());
        let guide = Guide::new(Arc::clone(&db) as Arc<dyn SharedDatabase>, 1 << 20);
        let identity = |n: u64| format!("tel:{}", n * 7919 % 1000);
        for account in 1..=20 {
            bind(&db, Binding { identity: identity(account), ..binding(account, 0, 10) }).await;
        }
        for known in [3, 20, 20] {
            let asked = (1..=known).map(|n| (identity(n), vec![Timestamp(5)])).collect();
            let found = guide.histories(asked).await.unwrap();
            assert_eq!(found.len() as u64, known);
            for account in 1..=known {
                let bound = bound_at(&found[&identity(account)], Timestamp(5));
                assert_eq!(bound, Some(AccountNumber(account)));
            }
        }
    }
}
