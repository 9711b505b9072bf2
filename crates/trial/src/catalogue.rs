//! Plan versions, their object code for each set of parameters, and reference tables.

use std::sync::{Arc, Mutex, PoisonError};

use turnpike_plan::{Plan, Table};
use turnpike_tariff::{Catalogue, CodeCache, Tell, VersionHead};

/// The maximum number of compiled plans that are kept.
const CODES_MAX: u64 = 100_000;
/// The maximum number of notices that are kept.
const NOTICES_MAX: usize = 100;

/// The plan versions and reference tables of a trial.
#[derive(Debug)]
pub struct TrialCatalogue {
    /// All versions, in the given order.
    plans: Vec<Arc<Plan>>,
    published: Arc<Catalogue>,
    codes: CodeCache,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Default for TrialCatalogue {
    fn default() -> Self {
        Self::new([])
    }
}

impl TrialCatalogue {
    /// A catalogue of these versions of one or more plans. Of two versions with one start, the one
    /// with the larger number counts as published later.
    pub fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let plans: Vec<Arc<Plan>> = plans.into_iter().map(Arc::new).collect();
        let mut published = Catalogue::default();
        for plan in &plans {
            let (id, version, starts) = (plan.id(), plan.version(), plan.starts());
            let head = VersionHead { id, version, starts, published: version.into() };
            published.add_plan(&head, Some(Arc::clone(plan)));
        }
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&notices);
        let tell = Tell::new(move |notice| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < NOTICES_MAX {
                told.push(notice.to_string());
            }
        });
        let codes = CodeCache::new(CODES_MAX, tell);
        Self { plans, published: Arc::new(published), codes, notices }
    }

    /// Adds the reference tables that the plans read, in any number of versions.
    #[must_use]
    pub fn with_tables(mut self, tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        let published = Arc::make_mut(&mut self.published);
        for table in tables {
            let (id, version, starts) = (table.id(), table.version(), table.starts());
            let head = VersionHead { id, version, starts, published: version.into() };
            published.add_table(&head, Some(Arc::clone(&table)));
        }
        self
    }

    /// The plans' ids without repetition, in the given order.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for plan in &self.plans {
            if !ids.iter().any(|id| id == plan.id()) {
                ids.push(plan.id().to_owned());
            }
        }
        ids
    }

    /// All versions, in the given order.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter().map(AsRef::as_ref)
    }

    /// The versions, as an owner holds them.
    pub(crate) const fn published(&self) -> &Arc<Catalogue> {
        &self.published
    }

    pub(crate) const fn codes(&self) -> &CodeCache {
        &self.codes
    }

    /// What went wrong in resolving tariffs since the last call, one sentence each.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
