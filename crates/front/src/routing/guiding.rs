//! Guiding: finds the account that an identity was bound to at the start of a record (P28).
//!
//! An identity belongs to the account that it is bound to at the start of the record. An address
//! without such a binding belongs to the account that holds the longest prefix of it at the start.
//!
//! Histories are cached until the version of the bindings changes. A front reads this version in
//! each heartbeat interval, and does not use its cache when it could not read the version for the
//! suspicion time. So a change is in force on every front once the suspicion time has passed since
//! its commit. The cache never answers that an identity is unbound.
//!
//! The first holder of an identity is the account that look-ups returned first. If the identity has
//! moved to another account since records with this start were first accepted, the partition of the
//! first holder decides the record ([`crate::ingest::reassign`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use turnpike_mutants::{Check, off};
use turnpike_store::{IdentityHistory, IdentityStore, StoreResult};
use turnpike_types::{AccountNumber, Identity, Timestamp, capped};

use crate::routing::routes::Routes;

/// The histories of identities, by canonical spelling.
pub(crate) type HistoryBySpelling = HashMap<String, Arc<IdentityHistory>>;

/// The key of an identity for the lookup.
#[derive(Debug)]
pub(crate) struct IdentityKey<'a> {
    /// The canonical spelling. Text that is not a valid identity by the present rules is looked up
    /// unchanged, since an older release may have bound it.
    pub(crate) text: Cow<'a, str>,
    /// Whether a record of this identity may wait in suspense for a binding. Otherwise the identity
    /// must be bound.
    pub(crate) may_wait: bool,
}

impl<'a> IdentityKey<'a> {
    pub(crate) fn of(identity: &'a str) -> Self {
        match Identity::parse_single(identity) {
            Ok(known) if known.as_str() == identity => {
                Self { text: Cow::Borrowed(identity), may_wait: true }
            }
            Ok(known) => Self { text: Cow::Owned(known.into()), may_wait: true },
            Err(_) => Self { text: Cow::Borrowed(identity), may_wait: false },
        }
    }
}

/// The account that the identity of `history` was bound to at `start`.
pub(crate) fn bound_at(history: &IdentityHistory, start: Timestamp) -> Option<AccountNumber> {
    history.bound_at(start)
}

/// The first holder (the account that look-ups returned first) at `start`, if the identity has
/// moved to another account since records with this start were first accepted. The first holder's
/// partition then decides the record. `None` if the identity has not moved.
pub(crate) fn first_holder_at(
    history: &IdentityHistory,
    start: Timestamp,
) -> Option<AccountNumber> {
    history.first_holder_at(start)
}

/// A cache of identity histories, bounded by bytes.
#[derive(Clone)]
pub(crate) struct Guide {
    db: Arc<dyn IdentityStore>,
    cache: Cache<String, Found>,
    /// Shows when bindings change. Without routes, cache entries never become outdated.
    routes: Option<Routes>,
}

/// A cached history, and the number of the last change of bindings when it was read.
#[derive(Clone)]
struct Found {
    history: Arc<IdentityHistory>,
    change: u64,
}

impl Guide {
    pub(crate) fn new(db: Arc<dyn IdentityStore>, bytes_max: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|identity: &String, found: &Found| {
                let IdentityHistory { bindings, prefixes, first_holders } = &*found.history;
                let in_prefixes = prefixes.iter().map(Vec::len).sum::<usize>();
                let rows = bindings.len() + in_prefixes + first_holders.len();
                let bytes = 128 + (identity.len() + 64) * (1 + rows);
                capped(bytes)
            })
            .build();
        Self { db, cache, routes: None }
    }

    /// Returns this cache with entries that are valid only while `routes` show no change of
    /// bindings.
    pub(crate) fn following(self, routes: Routes) -> Self {
        Self { routes: Some(routes), ..self }
    }

    /// The number of the last known change of bindings; `None` when it was not read recently.
    fn last_change(&self) -> Option<u64> {
        self.routes.as_ref().map_or(Some(0), Routes::last_change_of_bindings)
    }

    /// The histories of the `asked` identities, each complete enough for every given start. Makes
    /// one call to the database for all identities that the cache can't answer.
    ///
    /// # Errors
    /// An error of the database.
    pub(crate) async fn histories(
        &self,
        asked: HashMap<String, Vec<Timestamp>>,
    ) -> StoreResult<HistoryBySpelling> {
        // Read before the call to the database: a change during the call makes the answer outdated.
        let change = self.last_change();
        let mut found = HistoryBySpelling::with_capacity(asked.len());
        let mut missing = Vec::new();
        for (identity, starts) in asked {
            let known = self.cache.get(&identity).filter(|known| Some(known.change) == change);
            match known.map(|known| known.history) {
                Some(history)
                    if off(Check::UnboundAskedAgain)
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
            let is_bound = !history.bindings.is_empty() || !history.prefixes.is_empty();
            if let Some(change) = change
                && (is_bound || off(Check::UnboundAskedAgain))
            {
                let history = Arc::clone(&history);
                self.cache.insert(identity.clone(), Found { history, change });
            }
            found.insert(identity, history);
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod prefixes;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
