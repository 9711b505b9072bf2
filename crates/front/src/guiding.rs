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
    (start < binding.until).then_some(binding.account)
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
                        || starts.iter().all(|at| bound_at(&history, *at).is_some()) =>
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
