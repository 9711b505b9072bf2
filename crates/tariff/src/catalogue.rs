//! The versions of plans and tables, and which of them is in force at an instant.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use turnpike_plan::{Plan, PublishedVersion, Table, Zone};
use turnpike_types::Timestamp;

/// The maximum number of foreign versions of the time-zone database that are kept.
const TZ_DATABASES_MAX: usize = 64;

/// All versions of all plans and tables, as of one catalogue version.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    version: u64,
    plans: Versions<Plan>,
    tables: Versions<Table>,
    /// Versions of the time-zone database other than the one of this program, with which versions
    /// of plans and tables were published.
    foreign_tz_databases: BTreeSet<String>,
    /// Versions of tables that no plan reads on this local date or later are not kept.
    kept_from: Option<Date>,
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
    /// Whether the content was read, and not released since. Only that of tables that a plan in force
    /// reads is kept.
    is_read: bool,
}

/// A version of a table whose content is not in the catalogue. It must be read from the database and lent
/// ([`crate::Tariffs::lend`]) before records that need it are rated: otherwise they would wait as if
/// there were no such version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnreadTable {
    /// The catalogue version by which the version was published.
    pub published: u64,
}

/// A version of a plan or table, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionHead<'a> {
    /// The id of the plan or table.
    pub id: &'a str,
    /// The number of the version.
    pub version: u32,
    /// The first local date on which the version is in force.
    pub starts: Date,
    /// The catalogue version by which the version was published.
    pub published: u64,
}

/// The version in force at an instant, and the time interval in which it is in force.
#[derive(Debug)]
pub struct InForce<'a, T> {
    /// `None`: no version has started, or this program can't read the version that has started.
    pub content: Option<&'a Arc<T>>,
    /// The version of a table that has started, if its content is not in the catalogue.
    pub unread: Option<UnreadTable>,
    /// When the version in force started. `None`: no version has started.
    pub from: Option<Timestamp>,
    /// When the next version starts. `None`: there is no later one.
    pub until: Option<Timestamp>,
}

impl Catalogue {
    /// The version of the catalogue: the newest one by which a plan or table was published.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Adds a version of a plan; `None` if this program can't read it.
    pub fn add_plan(&mut self, head: &VersionHead<'_>, content: Option<Arc<Plan>>) {
        add(&mut self.plans, head, content, true);
        self.version = self.version.max(head.published);
    }

    /// Adds a version of a table; `None` if this program can't read it.
    pub fn add_table(&mut self, head: &VersionHead<'_>, content: Option<Arc<Table>>) {
        add(&mut self.tables, head, content, true);
        self.version = self.version.max(head.published);
    }

    /// Adds a version of a table without reading its content. [`Catalogue::lacks`] names it as soon
    /// as a plan in force reads it.
    pub fn add_unread_table(&mut self, head: &VersionHead<'_>) {
        add(&mut self.tables, head, None, false);
        self.version = self.version.max(head.published);
    }

    /// The versions of tables that were not read although a plan in force reads them. To be read now, so
    /// that records do not wait for them.
    pub fn lacks(&self) -> Vec<VersionHead<'_>> {
        let mut lacking = Vec::new();
        for (id, versions) in &self.tables {
            if versions.iter().all(|version| version.is_read) || !self.is_table_used(id) {
                continue;
            }
            let unread = lasting(versions, self.kept_from).filter(|version| !version.is_read);
            lacking.extend(unread.map(|version| VersionHead {
                id,
                version: version.version,
                starts: version.starts,
                published: version.published,
            }));
        }
        lacking.sort_by_key(|head| head.published);
        lacking
    }

    /// Whether a version of a plan that is in force on [`Self::kept_from`] or later, and that this program
    /// can read, reads the table.
    pub fn is_table_used(&self, id: &str) -> bool {
        let plans = self.plans.values().flat_map(|versions| lasting(versions, self.kept_from));
        plans.filter_map(|version| version.content.as_ref()).any(|plan| plan.may_read_table(id))
    }

    /// The first local date whose tables are kept; `None`: those of all dates.
    pub const fn kept_from(&self) -> Option<Date> {
        self.kept_from
    }

    /// Releases the content of the versions of tables that no plan reads on `date` or later. Returns
    /// whether there were such versions.
    pub fn keep_from(&mut self, date: Date) -> bool {
        self.kept_from = self.kept_from.max(Some(date));
        let used: Vec<String> =
            self.tables.keys().filter(|id| self.is_table_used(id)).cloned().collect();
        let mut any = false;
        for (id, versions) in &mut self.tables {
            let ended = versions.len() - lasting(versions, self.kept_from).count();
            let released = if used.contains(id) { ended } else { versions.len() };
            for version in versions.iter_mut().take(released).filter(|version| version.is_read) {
                let Version { version: number, published, starts, .. } = **version;
                let unread =
                    Version { version: number, published, starts, content: None, is_read: false };
                *version = Arc::new(unread);
                any = true;
            }
        }
        any
    }

    /// Notes the version of the time-zone database with which a version of a plan or table was
    /// published. Returns whether it is another one than that of this program, for the first time.
    pub fn note_tz_database(&mut self, published_with: &str) -> bool {
        published_with != turnpike_plan::tz_database_version()
            && self.foreign_tz_databases.len() < TZ_DATABASES_MAX
            && self.foreign_tz_databases.insert(published_with.to_owned())
    }

    /// The noted versions of the time-zone database other than the one of this program.
    pub fn foreign_tz_databases(&self) -> impl Iterator<Item = &str> {
        self.foreign_tz_databases.iter().map(String::as_str)
    }

    /// The version of plan `id` in force at `at` for an account in `zone`. Of two versions with the
    /// same start, the one that was published later is in force.
    pub fn plan(&self, id: &str, zone: &Zone, at: Timestamp) -> InForce<'_, Plan> {
        in_force(&self.plans, id, zone, at)
    }

    /// When the first version of `plan_id` starts for an account in `zone`.
    pub fn first_start(&self, plan_id: &str, zone: &Zone) -> Option<Timestamp> {
        self.plans.get(plan_id)?.first().map(|version| version.starts_at(zone))
    }

    /// The ids of all published plans.
    pub fn plan_ids(&self) -> impl Iterator<Item = &str> {
        self.plans.keys().map(String::as_str)
    }

    /// The versions of a plan, in the form that the check of a subscription takes.
    pub fn published(&self, plan_id: &str) -> Vec<PublishedVersion<'_>> {
        let versions = self.plans.get(plan_id).into_iter().flatten();
        let published = versions.map(|version| PublishedVersion {
            version: version.version,
            starts: version.starts,
            plan: version.content.as_deref(),
        });
        published.collect()
    }

    /// All versions of a plan that this program can read.
    pub fn versions(&self, plan_id: &str) -> impl Iterator<Item = &Arc<Plan>> {
        let versions = self.plans.get(plan_id).into_iter().flatten();
        versions.filter_map(|version| version.content.as_ref())
    }

    /// All versions of all plans that this program can read.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values().flatten().filter_map(|version| version.content.as_ref())
    }

    /// The version of table `id` in force at `at` for an account in `zone`, chosen like a plan's.
    pub fn table(&self, id: &str, zone: &Zone, at: Timestamp) -> InForce<'_, Table> {
        in_force(&self.tables, id, zone, at)
    }
}

/// The version of `id` in force at `at`, found by binary search: tables of daily rates have
/// thousands of versions.
fn in_force<'a, T>(of: &'a Versions<T>, id: &str, zone: &Zone, at: Timestamp) -> InForce<'a, T> {
    let versions = of.get(id).map(Vec::as_slice).unwrap_or_default();
    let begun = versions.partition_point(|version| version.starts_at(zone) <= at);
    let newest = begun.checked_sub(1).and_then(|last| versions.get(last));
    let unread = newest.filter(|version| !version.is_read);
    InForce {
        content: newest.and_then(|version| version.content.as_ref()),
        unread: unread.map(|version| UnreadTable { published: version.published }),
        from: newest.map(|version| version.starts_at(zone)),
        until: versions.get(begun).map(|version| version.starts_at(zone)),
    }
}

/// The versions that are in force on `date` or later, in any time zone; all without a date. They are the
/// last ones.
fn lasting<T>(
    versions: &[Arc<Version<T>>],
    date: Option<Date>,
) -> impl Iterator<Item = &Arc<Version<T>>> {
    let ended = date.map_or(0, |date| {
        versions.partition_point(|version| version.starts <= date).saturating_sub(1)
    });
    versions.iter().skip(ended)
}

impl<T> Version<T> {
    /// The first instant of the version for an account in `zone`.
    fn starts_at(&self, zone: &Zone) -> Timestamp {
        #[cfg(test)]
        tests::STARTS_ASKED.with(|asked| asked.set(asked.get() + 1));
        turnpike_plan::first_instant_of(zone, self.starts)
    }
}

/// Adds a version, or replaces the known one of this number.
fn add<T>(to: &mut Versions<T>, head: &VersionHead<'_>, content: Option<Arc<T>>, is_read: bool) {
    let VersionHead { id, version, starts, published } = *head;
    let versions = to.entry(id.to_owned()).or_default();
    versions.retain(|known| known.version != version);
    let place =
        versions.partition_point(|known| (known.starts, known.published) < (starts, published));
    versions.insert(place, Arc::new(Version { version, published, starts, content, is_read }));
}

#[cfg(test)]
pub(crate) mod tests;
