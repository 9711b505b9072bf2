//! Reads published plans and tables from the shared database.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use turnpike_plan::{Plan, Table};
use turnpike_store::{
    CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, Observation, StoreError,
    StoreResult,
};
use turnpike_tariff::{ACCOUNT_INTERVALS_MAX, Catalogue, Notice, Tell, UnreadTable, VersionHead};
use turnpike_types::capped;

/// The maximum number of catalogue entries per read of the database.
const PAGE_ENTRIES_MAX: usize = 100;

/// Returns `known` with all versions that were published after it was read, read page by page. Of tables
/// only the heads are read, and then those that a plan in force reads: a table can have a million rows, and
/// costs nothing until then.
pub(crate) async fn refreshed(
    known: &Catalogue,
    db: &dyn CatalogueStore,
) -> StoreResult<Catalogue> {
    let mut fresh = known.clone();
    let tables = table_heads(known.version(), db).await?;
    loop {
        if let Some(head) = tables.get(&(fresh.version() + 1)) {
            add_table(&mut fresh, head)?;
            continue;
        }
        let next_table = tables.range(fresh.version() + 1..).next();
        let most = next_table.map_or(u64::MAX, |(next, _)| next - fresh.version() - 1);
        let most = PAGE_ENTRIES_MAX.min(capped(most));
        let page = db.catalogue_since(fresh.version(), most).await?;
        if page.is_empty() {
            if fresh.version() > known.version() {
                read_used_tables(&mut fresh, db).await?;
            }
            return Ok(fresh);
        }
        for CatalogueEntry { head, body } in page {
            match head.kind {
                CatalogueKind::Plan => add_plan(&mut fresh, &head, &body)?,
                // Published since the heads were read.
                CatalogueKind::Table => add_table(&mut fresh, &head)?,
            }
        }
    }
}

/// The heads of the versions of tables that were published after catalogue version `after`.
async fn table_heads(
    after: u64,
    db: &dyn CatalogueStore,
) -> StoreResult<BTreeMap<u64, CatalogueHead>> {
    let mut heads = BTreeMap::new();
    loop {
        let after = heads.last_key_value().map_or(after, |(published, _)| *published);
        let page = db.catalogue_heads(CatalogueKind::Table, None, after).await?;
        if page.is_empty() {
            return Ok(heads);
        }
        heads.extend(page.into_iter().map(|head| (head.catalogue_version, head)));
    }
}

fn add_plan(fresh: &mut Catalogue, head: &CatalogueHead, body: &str) -> StoreResult<()> {
    compare_tz_database(fresh, head);
    let plan = readable(head, read_plan(head, body));
    fresh.add_plan(&version_of(head)?, plan);
    Ok(())
}

fn add_table(fresh: &mut Catalogue, head: &CatalogueHead) -> StoreResult<()> {
    compare_tz_database(fresh, head);
    fresh.add_unread_table(&version_of(head)?);
    Ok(())
}

fn version_of(head: &CatalogueHead) -> StoreResult<VersionHead<'_>> {
    Ok(VersionHead {
        id: &head.id,
        version: head.version,
        starts: start_of(head)?,
        published: head.catalogue_version,
    })
}

/// Reads the tables that plans in force read.
async fn read_used_tables(fresh: &mut Catalogue, db: &dyn CatalogueStore) -> StoreResult<()> {
    let lacking: Vec<u64> = fresh.lacks().iter().map(|head| head.published).collect();
    for published in lacking {
        let (head, table) = read_version(UnreadTable { published }, db).await?;
        fresh.add_table(&version_of(&head)?, table);
    }
    Ok(())
}

/// Reads a table that no plan in force reads, for a record or charge of an earlier time. `None` if this
/// program can't read it.
pub(crate) async fn earlier_table(
    unread: UnreadTable,
    db: &dyn CatalogueStore,
) -> StoreResult<Option<Arc<Table>>> {
    Ok(read_version(unread, db).await?.1)
}

async fn read_version(
    UnreadTable { published }: UnreadTable,
    db: &dyn CatalogueStore,
) -> StoreResult<(CatalogueHead, Option<Arc<Table>>)> {
    let entry = db.catalogue_since(published.saturating_sub(1), 1).await?.pop();
    let Some(CatalogueEntry { head, body }) =
        entry.filter(|entry| entry.head.catalogue_version == published)
    else {
        return Err(StoreError::Corrupt {
            doing: "read the catalogue",
            cause: format!("the table of catalogue version {published} is not in it any more"),
        });
    };
    let table = readable(&head, read_table(body).await);
    Ok((head, table))
}

/// How many days before the acceptance horizon a table is still kept: a day for time zones, and one for a
/// clock that is corrected.
const KEPT_DAYS: i64 = 2;

/// The first local date whose tables are kept in memory: no record before it is accepted by any partition.
/// `None` while that is unknown.
pub(crate) fn kept_from(seen: &Observation) -> Option<Date> {
    let horizons = seen.partitions.iter().map(|row| row.spec.horizon_us).max()?;
    let floor = jiff::Timestamp::from_microsecond(seen.now.0.checked_sub(horizons)?).ok()?;
    let date = floor.to_zoned(jiff::tz::TimeZone::UTC).date();
    date.checked_sub(jiff::Span::new().days(KEPT_DAYS)).ok()
}

/// The first day of a version. A start was checked before it was published. One that can't be read
/// must not be guessed, because it decides which version rates a record.
fn start_of(head: &CatalogueHead) -> StoreResult<Date> {
    head.starts.parse().map_err(|error| StoreError::Corrupt {
        doing: "read the catalogue",
        cause: format!(
            "{} {} version {} starts on {:?}, which this program can't read: upgrade this node \
             ({error})",
            head.kind, head.id, head.version, head.starts
        ),
    })
}

/// Reports each version of the time-zone database other than the one of this program in the log,
/// once. Plans are checked with the version of the program that published them: if its rules
/// differ, their start dates begin at other instants on this node.
fn compare_tz_database(catalogue: &mut Catalogue, head: &CatalogueHead) {
    let Some(published) = head.tz_database.as_deref() else { return };
    if catalogue.note_tz_database(published) {
        tracing::warn!(
            kind = %head.kind,
            id = head.id,
            version = head.version,
            published_with = published,
            rated_with = turnpike_plan::tz_database_version(),
            "this version was published with another time-zone database than this node rates \
             with: where a zone's rules differ, days and months begin at other instants"
        );
    }
}

/// The content of a version. It was checked before it was published, so if it can't be read, a
/// newer program published it. Records that need it wait in suspense until this node is upgraded.
fn readable<T>(head: &CatalogueHead, content: Result<T, String>) -> Option<Arc<T>> {
    match content {
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
    }
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

/// Logs what goes wrong in resolving tariffs.
pub(crate) fn log_notices() -> Tell {
    Tell::new(|notice| match notice {
        Notice::Unfit { plan, version, errors } => tracing::error!(
            plan,
            version,
            errors,
            "a subscription's parameters do not fit its plan"
        ),
        Notice::ManyIntervals { plans, at } => tracing::error!(
            ?plans,
            at_us = at.micros(),
            "the settings and plans of an account change {ACCOUNT_INTERVALS_MAX} times or more: \
             charges that fall due at or after at_us are not booked"
        ),
        Notice::ManyCredits { plan } => tracing::error!(
            plan,
            "an account cancelled {ACCOUNT_INTERVALS_MAX} subscriptions at their start: the charges \
             of further ones are not given back"
        ),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
