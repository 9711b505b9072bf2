//! Reads published plans and tables from the shared database.

use std::sync::Arc;

use jiff::civil::Date;
use turnpike_plan::{Plan, Table};
use turnpike_store::{
    CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, StoreError, StoreResult,
};
use turnpike_tariff::{ACCOUNT_INTERVALS_MAX, Catalogue, Notice, Tell, VersionHead};

/// The maximum number of catalogue entries per read of the database.
const PAGE_ENTRIES_MAX: usize = 100;

/// Returns `known` with all versions that were published after it was read, read page by page.
pub(crate) async fn refreshed(
    known: &Catalogue,
    db: &dyn CatalogueStore,
) -> StoreResult<Catalogue> {
    let mut fresh = known.clone();
    loop {
        let page = db.catalogue_since(fresh.version(), PAGE_ENTRIES_MAX).await?;
        if page.is_empty() {
            if fresh.version() > known.version() {
                read_named_tables(&mut fresh, db).await?;
            }
            return Ok(fresh);
        }
        for CatalogueEntry { head, body } in page {
            compare_tz_database(&mut fresh, &head);
            let version = VersionHead {
                id: &head.id,
                version: head.version,
                starts: start_of(&head)?,
                published: head.catalogue_version,
            };
            match head.kind {
                CatalogueKind::Plan => {
                    let plan = readable(&head, read_plan(&head, &body));
                    fresh.add_plan(&version, plan);
                }
                // A table of a million rows takes some 300 MB, and costs nothing until a plan names it.
                CatalogueKind::Table if !fresh.is_table_named(version.id) => {
                    fresh.add_unread_table(&version);
                }
                CatalogueKind::Table => {
                    let table = readable(&head, read_table(body).await);
                    fresh.add_table(&version, table);
                }
            }
        }
    }
}

/// Reads the tables that are in the catalogue since before a plan named them.
async fn read_named_tables(fresh: &mut Catalogue, db: &dyn CatalogueStore) -> StoreResult<()> {
    let lacking: Vec<u64> = fresh.lacks().iter().map(|head| head.published).collect();
    for published in lacking {
        let entry = db.catalogue_since(published.saturating_sub(1), 1).await?.pop();
        let Some(CatalogueEntry { head, body }) =
            entry.filter(|entry| entry.head.catalogue_version == published)
        else {
            return Err(StoreError::Corrupt {
                doing: "read the catalogue",
                cause: format!("the table of catalogue version {published} is not in it any more"),
            });
        };
        let version = VersionHead {
            id: &head.id,
            version: head.version,
            starts: start_of(&head)?,
            published,
        };
        let table = readable(&head, read_table(body).await);
        fresh.add_table(&version, table);
    }
    Ok(())
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
