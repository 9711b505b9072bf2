//! Published plans and tables as this node knows them, and the plans' object code.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use moka::sync::Cache;
use turnpike_plan::{ObjectCode, Plan, Table, Zone};
use turnpike_store::{CatalogueEntry, CatalogueHead, CatalogueKind, SharedDatabase, StoreResult};
use turnpike_types::Timestamp;

/// Entries read from the database at once.
const PAGE_ENTRIES_MAX: usize = 100;

/// All versions of all plans and tables, as of a catalogue version. Immutable: a newer one takes
/// its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) version: u64,
    plans: Versions<Plan>,
    tables: Versions<Table>,
}

/// By id; copies share what was read.
type Versions<T> = HashMap<String, Vec<Arc<Version<T>>>>;

#[derive(Debug)]
struct Version<T> {
    version: u32,
    published: u64,
    starts: Date,
    /// `None`: this program can't read it. It is in force all the same: to rate by the version
    /// before it would be a wrong price.
    content: Option<Arc<T>>,
}

impl Catalogue {
    /// This catalogue with what was published since, read page by page.
    pub(crate) async fn refreshed(&self, db: &dyn SharedDatabase) -> StoreResult<Self> {
        let mut fresh = self.clone();
        loop {
            let page = db.catalogue_since(fresh.version, PAGE_ENTRIES_MAX).await?;
            if page.is_empty() {
                return Ok(fresh);
            }
            for CatalogueEntry { head, body } in page {
                match head.kind {
                    CatalogueKind::Plan => add(&mut fresh.plans, &head, read_plan(&body)),
                    CatalogueKind::Table => add(&mut fresh.tables, &head, read_table(body).await),
                }
                fresh.version = fresh.version.max(head.catalogue_version);
            }
        }
    }

    /// The version of `plan_id` in force at `at` for an account in `zone`; of two with the same
    /// start, the one published later (it says that it supersedes the other).
    pub(crate) fn in_force(&self, plan_id: &str, zone: &Zone, at: Timestamp) -> Option<&Arc<Plan>> {
        in_force(&self.plans, plan_id, zone, at)
    }

    /// When versions of `plan_id` start for an account in `zone`.
    pub(crate) fn starts(&self, plan_id: &str, zone: &Zone) -> impl Iterator<Item = Timestamp> {
        starts(&self.plans, plan_id, zone)
    }

    /// Is a version of `plan_id` in force at `at`, whether this program can read it or not?
    pub(crate) fn has_begun(&self, plan_id: &str, zone: &Zone, at: Timestamp) -> bool {
        self.starts(plan_id, zone).any(|start| start <= at)
    }

    /// All versions of a plan.
    pub(crate) fn versions(&self, plan_id: &str) -> impl Iterator<Item = &Arc<Plan>> {
        let versions = self.plans.get(plan_id).into_iter().flatten();
        versions.filter_map(|version| version.content.as_ref())
    }

    /// Every plan, for naming variables.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values().flatten().filter_map(|version| version.content.as_ref())
    }

    /// The version of table `id` in force at `at` for an account in `zone`, chosen as a plan's is.
    pub(crate) fn table_in_force(
        &self,
        id: &str,
        zone: &Zone,
        at: Timestamp,
    ) -> Option<Arc<Table>> {
        in_force(&self.tables, id, zone, at).cloned()
    }

    /// When versions of table `id` start for an account in `zone`.
    pub(crate) fn table_starts(&self, id: &str, zone: &Zone) -> impl Iterator<Item = Timestamp> {
        starts(&self.tables, id, zone)
    }
}

fn in_force<'a, T>(
    of: &'a Versions<T>,
    id: &str,
    zone: &Zone,
    at: Timestamp,
) -> Option<&'a Arc<T>> {
    let started = of.get(id)?.iter().filter(|version| version.starts_at(zone) <= at);
    let newest = started.max_by_key(|version| (version.starts, version.published));
    newest.and_then(|version| version.content.as_ref())
}

fn starts<T>(of: &Versions<T>, id: &str, zone: &Zone) -> impl Iterator<Item = Timestamp> {
    of.get(id).into_iter().flatten().map(|version| version.starts_at(zone))
}

impl<T> Version<T> {
    /// Its first instant for an account in `zone`.
    fn starts_at(&self, zone: &Zone) -> Timestamp {
        turnpike_plan::first_instant_of(zone, self.starts)
    }
}

/// Adds a version. It was checked before it was published: if it can't be read, a newer program
/// must have published what this one does not know. What needs it waits in suspense until this node
/// is upgraded.
fn add<T>(to: &mut Versions<T>, head: &CatalogueHead, content: Result<T, String>) {
    let content = match content {
        Ok(content) => Some(Arc::new(content)),
        Err(errors) => {
            tracing::error!(
                kind = %head.kind,
                id = head.id,
                version = head.version,
                errors,
                "a published version can't be read by this program"
            );
            None
        }
    };
    let versions = to.entry(head.id.clone()).or_default();
    versions.retain(|known| known.version != head.version);
    versions.push(Arc::new(Version {
        version: head.version,
        published: head.catalogue_version,
        starts: head.starts.parse().unwrap_or(Date::MIN),
        content,
    }));
}

fn read_plan(xml: &str) -> Result<Plan, String> {
    turnpike_plan::parse(xml).map_err(|errors| errors.to_string())
}

/// A large table takes a second: not on the threads that rate.
async fn read_table(text: String) -> Result<Table, String> {
    let read = tokio::task::spawn_blocking(move || {
        turnpike_plan::parse_table(&text).map_err(|errors| errors.to_string())
    });
    read.await.unwrap_or_else(|error| Err(error.to_string()))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_store::Publish;
    use turnpike_store::memory::MemoryDatabase;

    use super::*;

    const ROWS: &str = "prefix,destination,price,per,setup\n1,US,0.02,1 min,\n";

    async fn publish(db: &MemoryDatabase, id: &str, version: u32, starts: &str, rows: &str) {
        let head = format!("id={id} kind=dial-plan version={version} starts={starts}");
        let publish = Publish {
            kind: CatalogueKind::Table,
            id: id.to_owned(),
            version,
            starts: starts.to_owned(),
            supersedes: None,
            content_hash: [0; 32],
            form: "dial-plan".to_owned(),
            rows: 1,
            body: format!("# turnpike-table {head}\n{rows}"),
        };
        let outcome = db.publish(&publish).await.unwrap();
        assert!(matches!(outcome, turnpike_store::PublishOutcome::Published(_)), "{outcome:?}");
    }

    fn at(instant: &str) -> Timestamp {
        Timestamp(instant.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[tokio::test]
    async fn a_version_of_a_table_is_in_force_from_its_date_in_the_accounts_zone() {
        let db = MemoryDatabase::new();
        publish(&db, "world", 1, "2020-01-01", ROWS).await;
        publish(&db, "world", 2, "2999-02-01", ROWS).await;
        let catalogue = Catalogue::default().refreshed(&db).await.unwrap();
        let zone = Zone::parse("America/New_York").unwrap();
        let in_force = |instant: &str| {
            catalogue.table_in_force("world", &zone, at(instant)).map(|table| table.version())
        };
        assert_eq!(in_force("2020-01-01T04:59:59Z"), None);
        assert_eq!(in_force("2020-01-01T05:00:00Z"), Some(1));
        assert_eq!(in_force("2999-02-01T04:59:59Z"), Some(1));
        assert_eq!(in_force("2999-02-01T05:00:00Z"), Some(2));
        let starts: Vec<Timestamp> = catalogue.table_starts("world", &zone).collect();
        assert_eq!(starts, [at("2020-01-01T05:00:00Z"), at("2999-02-01T05:00:00Z")]);
        assert!(catalogue.table_in_force("moon", &zone, at("2020-01-01T05:00:00Z")).is_none());
    }

    /// P36: a catalogue version stands for all that was published up to it.
    #[tokio::test]
    async fn a_refresh_reads_all_pages_and_shares_what_was_read_before() {
        let db = MemoryDatabase::new();
        publish(&db, "t0", 1, "2020-01-01", ROWS).await;
        let old = Catalogue::default().refreshed(&db).await.unwrap();
        let count = 2 * PAGE_ENTRIES_MAX + 1;
        for n in 1..count {
            publish(&db, &format!("t{n}"), 1, "2020-01-01", ROWS).await;
        }
        let new = old.refreshed(&db).await.unwrap();
        assert_eq!((new.version, new.tables.len()), (count as u64, count));
        assert!(Arc::ptr_eq(&old.tables["t0"][0], &new.tables["t0"][0]), "it is not read again");
    }

    #[tokio::test]
    async fn a_table_that_cannot_be_read_is_in_force_and_gives_nothing() {
        let db = MemoryDatabase::new();
        publish(&db, "world", 1, "2020-01-01", ROWS).await;
        publish(&db, "world", 2, "2999-01-01", "columns,of,the,future\n").await;
        let catalogue = Catalogue::default().refreshed(&db).await.unwrap();
        let zone = Zone::parse("UTC").unwrap();
        let in_force = |instant| catalogue.table_in_force("world", &zone, at(instant));
        assert!(in_force("2998-12-31T23:59:59Z").is_some());
        assert!(in_force("2999-01-01T00:00:00Z").is_none(), "not the one before it");
    }
}
