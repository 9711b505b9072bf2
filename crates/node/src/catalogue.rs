//! Published plans as this node knows them, and their object code.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use moka::sync::Cache;
use turnpike_plan::{ObjectCode, Plan, Zone};
use turnpike_store::{CatalogueEntry, SharedDatabase, StoreResult};
use turnpike_types::Timestamp;

/// All versions of all plans, as of a catalogue version. Immutable: a newer one takes its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) version: u64,
    plans: HashMap<String, Vec<Version>>,
}

#[derive(Clone, Debug)]
struct Version {
    version: u32,
    published: u64,
    starts: Date,
    /// `None`: this program can't read it. It is in force all the same: to rate by the version
    /// before it would be a wrong price.
    plan: Option<Arc<Plan>>,
}

impl Catalogue {
    /// This catalogue with what was published since.
    pub(crate) async fn refreshed(&self, db: &dyn SharedDatabase) -> StoreResult<Self> {
        let mut fresh = self.clone();
        for entry in db.catalogue_since(self.version).await? {
            fresh.add(&entry);
        }
        Ok(fresh)
    }

    fn add(&mut self, entry: &CatalogueEntry) {
        self.version = self.version.max(entry.catalogue_version);
        let plan = match turnpike_plan::parse(&entry.xml) {
            Ok(plan) => Some(Arc::new(plan)),
            // It was checked before it was published: a newer program must have published what
            // this one does not know. Its records wait in suspense until this node is upgraded.
            Err(errors) => {
                tracing::error!(
                    plan = entry.plan_id,
                    version = entry.version,
                    %errors,
                    "a published plan can't be read by this program"
                );
                None
            }
        };
        let starts = entry.starts.parse().unwrap_or(Date::MIN);
        let versions = self.plans.entry(entry.plan_id.clone()).or_default();
        versions.retain(|known| known.version != entry.version);
        versions.push(Version {
            version: entry.version,
            published: entry.catalogue_version,
            starts,
            plan,
        });
    }

    /// The version of `plan_id` in force at `at` for an account in `zone`; of two with the same
    /// start, the one published later (it says that it supersedes the other).
    pub(crate) fn in_force(&self, plan_id: &str, zone: &Zone, at: Timestamp) -> Option<&Arc<Plan>> {
        let versions = self.plans.get(plan_id)?;
        let started = versions.iter().filter(|version| version.starts_at(zone) <= at);
        let newest = started.max_by_key(|version| (version.starts, version.published));
        newest.and_then(|version| version.plan.as_ref())
    }

    /// When versions of `plan_id` start for an account in `zone`.
    pub(crate) fn starts(&self, plan_id: &str, zone: &Zone) -> impl Iterator<Item = Timestamp> {
        self.plans.get(plan_id).into_iter().flatten().map(|version| version.starts_at(zone))
    }

    /// Every plan, for naming variables.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values().flatten().filter_map(|version| version.plan.as_ref())
    }
}

impl Version {
    /// Its first instant for an account in `zone`.
    fn starts_at(&self, zone: &Zone) -> Timestamp {
        turnpike_plan::first_instant_of(zone, self.starts)
    }
}

/// Which object code: a plan's version with a subscription's overrides.
type CodeKey = (String, u32, BTreeMap<String, String>);

/// Object code shared by all owners of the process, compiled on a miss (figure 8 of the seed).
#[derive(Clone, Debug)]
pub(crate) struct CodeCache {
    codes: Cache<CodeKey, Option<Arc<ObjectCode>>>,
}

impl CodeCache {
    pub(crate) fn new(codes_max: u64) -> Self {
        Self { codes: Cache::new(codes_max) }
    }

    /// The code of `plan` with `overrides`; `None` when the overrides do not fit the plan.
    pub(crate) fn code(
        &self,
        plan: &Plan,
        overrides: &BTreeMap<String, String>,
    ) -> Option<Arc<ObjectCode>> {
        let key = (plan.id().to_owned(), plan.version(), overrides.clone());
        self.codes.get_with(key, || match turnpike_plan::compile(plan, overrides) {
            Ok(code) => Some(Arc::new(code)),
            Err(errors) => {
                tracing::error!(
                    plan = plan.id(),
                    version = plan.version(),
                    %errors,
                    "a subscription's parameters do not fit its plan"
                );
                None
            }
        })
    }
}
