//! The published plans and tables that this node has read, and the compiled plans.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use moka::sync::Cache;
use turnpike_plan::{ObjectCode, Plan, PublishedVersion, Table, Zone};
use turnpike_store::{CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, StoreResult};
use turnpike_types::Timestamp;

/// The maximum number of versions of the time-zone database, other than the one of this program,
/// that are reported in the log.
const TZ_DATABASES_TOLD_MAX: usize = 64;
/// The maximum number of catalogue entries per read of the database.
const PAGE_ENTRIES_MAX: usize = 100;

/// All versions of all plans and tables, as of one catalogue version. Immutable: a newer catalogue
/// replaces it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) version: u64,
    plans: Versions<Plan>,
    tables: Versions<Table>,
    /// Versions of the time-zone database that differ from the one of this program and were
    /// reported in the log. Each is reported once.
    tz_databases_told: BTreeSet<String>,
}

/// Versions by id, in the order in which they take effect. Clones of a catalogue share them.
type Versions<T> = HashMap<String, Vec<Arc<Version<T>>>>;

#[derive(Debug)]
struct Version<T> {
    version: u32,
    published: u64,
    starts: Date,
    /// `None`: this program can't read the version. The version is in force nevertheless, since
    /// rating by the version before it would give a wrong price.
    content: Option<Arc<T>>,
}

/// The version in force at an instant, and the time interval in which it is in force.
#[derive(Debug)]
pub(crate) struct InForce<'a, T> {
    /// `None`: no version has started, or this program can't read the version that has started.
    pub(crate) content: Option<&'a Arc<T>>,
    /// When the version in force started. `None`: no version has started.
    pub(crate) from: Option<Timestamp>,
    /// When the next version starts. `None`: there is no later one.
    pub(crate) until: Option<Timestamp>,
}

impl Catalogue {
    /// Returns this catalogue with all versions that were published after it was read, read page by
    /// page.
    pub(crate) async fn refreshed(&self, db: &dyn CatalogueStore) -> StoreResult<Self> {
        let mut fresh = self.clone();
        loop {
            let page = db.catalogue_since(fresh.version, PAGE_ENTRIES_MAX).await?;
            if page.is_empty() {
                return Ok(fresh);
            }
            for CatalogueEntry { head, body } in page {
                fresh.compare_tz_database(&head);
                match head.kind {
                    CatalogueKind::Plan => add(&mut fresh.plans, &head, read_plan(&head, &body)),
                    CatalogueKind::Table => add(&mut fresh.tables, &head, read_table(body).await),
                }
                fresh.version = fresh.version.max(head.catalogue_version);
            }
        }
    }

    /// Reports each version of the time-zone database other than the one of this program in the
    /// log, once. Plans are checked with the version of the program that published them: if its
    /// rules differ, their start dates begin at other instants on this node.
    fn compare_tz_database(&mut self, head: &CatalogueHead) {
        let own = turnpike_plan::tz_database_version();
        let Some(published) = head.tz_database.as_deref().filter(|version| *version != own) else {
            return;
        };
        if self.tz_databases_told.len() < TZ_DATABASES_TOLD_MAX
            && self.tz_databases_told.insert(published.to_owned())
        {
            tracing::warn!(
                kind = %head.kind,
                id = head.id,
                version = head.version,
                published_with = published,
                rated_with = own,
                "this version was published with another time-zone database than this node rates \
                 with: where a zone's rules differ, days and months begin at other instants"
            );
        }
    }

    /// The version of plan `id` in force at `at` for an account in `zone`. Of two versions with the
    /// same start, the one that was published later is in force.
    pub(crate) fn plan(&self, id: &str, zone: &Zone, at: Timestamp) -> InForce<'_, Plan> {
        in_force(&self.plans, id, zone, at)
    }

    /// When the first version of `plan_id` starts for an account in `zone`.
    pub(crate) fn first_start(&self, plan_id: &str, zone: &Zone) -> Option<Timestamp> {
        self.plans.get(plan_id)?.first().map(|version| version.starts_at(zone))
    }

    /// The ids of all published plans.
    pub(crate) fn plan_ids(&self) -> impl Iterator<Item = &str> {
        self.plans.keys().map(String::as_str)
    }

    /// The versions of a plan, in the form that the check of a subscription takes.
    pub(crate) fn published(&self, plan_id: &str) -> Vec<PublishedVersion<'_>> {
        let versions = self.plans.get(plan_id).into_iter().flatten();
        let published = versions.map(|version| PublishedVersion {
            version: version.version,
            starts: version.starts,
            plan: version.content.as_deref(),
        });
        published.collect()
    }

    /// All versions of a plan that this program can read.
    pub(crate) fn versions(&self, plan_id: &str) -> impl Iterator<Item = &Arc<Plan>> {
        let versions = self.plans.get(plan_id).into_iter().flatten();
        versions.filter_map(|version| version.content.as_ref())
    }

    /// All versions of all plans that this program can read, for the names of variables.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values().flatten().filter_map(|version| version.content.as_ref())
    }

    /// The version of table `id` in force at `at` for an account in `zone`, chosen like a plan's.
    pub(crate) fn table(&self, id: &str, zone: &Zone, at: Timestamp) -> InForce<'_, Table> {
        in_force(&self.tables, id, zone, at)
    }
}

/// The version of `id` in force at `at`, found by binary search: tables of daily rates have
/// thousands of versions.
fn in_force<'a, T>(of: &'a Versions<T>, id: &str, zone: &Zone, at: Timestamp) -> InForce<'a, T> {
    let versions = of.get(id).map(Vec::as_slice).unwrap_or_default();
    let begun = versions.partition_point(|version| version.starts_at(zone) <= at);
    let newest = begun.checked_sub(1).and_then(|last| versions.get(last));
    InForce {
        content: newest.and_then(|version| version.content.as_ref()),
        from: newest.map(|version| version.starts_at(zone)),
        until: versions.get(begun).map(|version| version.starts_at(zone)),
    }
}

impl<T> Version<T> {
    /// The first instant of the version for an account in `zone`.
    fn starts_at(&self, zone: &Zone) -> Timestamp {
        #[cfg(test)]
        tests::STARTS_ASKED.with(|asked| asked.set(asked.get() + 1));
        turnpike_plan::first_instant_of(zone, self.starts)
    }
}

/// Adds a version. It was checked before it was published, so if it can't be read, a newer program
/// published it. Records that need it wait in suspense until this node is upgraded.
fn add<T>(to: &mut Versions<T>, head: &CatalogueHead, content: Result<T, String>) {
    let content = match content {
        Ok(content) => Some(Arc::new(content)),
        Err(errors) => {
            tracing::error!(
                kind = %head.kind,
                id = head.id,
                version = head.version,
                errors,
                "this program can't read a published version: upgrade this node"
            );
            None
        }
    };
    let versions = to.entry(head.id.clone()).or_default();
    versions.retain(|known| known.version != head.version);
    let starts = head.starts.parse().unwrap_or(Date::MIN);
    let published = head.catalogue_version;
    let place =
        versions.partition_point(|known| (known.starts, known.published) < (starts, published));
    let version = Version { version: head.version, published, starts, content };
    versions.insert(place, Arc::new(version));
}

/// Parses a published plan. An entry without a version of the time-zone database was written by a
/// release that did not check telephone numbers; its plan must still give the same prices.
fn read_plan(head: &CatalogueHead, xml: &str) -> Result<Plan, String> {
    let plan = match head.tz_database {
        Some(_) => turnpike_plan::parse_published(xml),
        None => turnpike_plan::parse_published_earlier(xml),
    };
    plan.map_err(|errors| errors.to_string())
}

/// Parses on a blocking thread: a large table takes a second, and must not delay rating.
async fn read_table(text: String) -> Result<Table, String> {
    let read = tokio::task::spawn_blocking(move || {
        turnpike_plan::parse_published_table(&text).map_err(|errors| errors.to_string())
    });
    read.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Key of a compiled plan: plan id, version, and the subscription's overrides of parameters.
type CodeKey = (String, u32, BTreeMap<String, String>);

/// A compiled plan, or why the parameters do not fit it.
type Compilation = Result<Arc<ObjectCode>, Arc<str>>;

/// Compiled plans, shared by all owners of the process. A plan is compiled on a miss.
#[derive(Clone, Debug)]
pub(crate) struct CodeCache {
    codes: Cache<CodeKey, Compilation>,
}

impl CodeCache {
    pub(crate) fn new(codes_max: u64) -> Self {
        Self { codes: Cache::new(codes_max) }
    }

    /// The compiled `plan` with `overrides`. `None` when the overrides of an existing subscription
    /// do not fit the plan; this is logged once.
    pub(crate) fn code(
        &self,
        plan: &Plan,
        overrides: &BTreeMap<String, String>,
    ) -> Option<Arc<ObjectCode>> {
        let tell = |errors: &str| {
            tracing::error!(
                plan = plan.id(),
                version = plan.version(),
                errors,
                "a subscription's parameters do not fit its plan"
            );
        };
        self.compiled_with(plan, overrides, &tell).ok()
    }

    /// Like [`CodeCache::code`], but returns why the overrides do not fit the plan, one fault per
    /// line.
    pub(crate) fn compiled(
        &self,
        plan: &Plan,
        overrides: &BTreeMap<String, String>,
    ) -> Compilation {
        self.compiled_with(plan, overrides, &|_| ())
    }

    fn compiled_with(
        &self,
        plan: &Plan,
        overrides: &BTreeMap<String, String>,
        tell: &dyn Fn(&str),
    ) -> Compilation {
        let key = (plan.id().to_owned(), plan.version(), overrides.clone());
        self.codes.get_with(key, || match turnpike_plan::compile(plan, overrides) {
            Ok(code) => Ok(Arc::new(code)),
            Err(errors) => {
                let errors = errors.to_string();
                tell(&errors);
                Err(errors.into())
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
