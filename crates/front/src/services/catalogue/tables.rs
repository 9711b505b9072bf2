//! The publication of reference tables. The catalogue never holds a table that failed the checks
//! (docs/plan-semantics.md section 8).

use std::sync::Arc;

use turnpike_access::Actor;
use turnpike_plan::{Plan, Table, parse_published_table, parse_table};
use turnpike_proto::plan::v1::{
    GetTableResponse, ListTablesResponse, PublishTableResponse, TableVersion,
};
use turnpike_store::{CatalogueHead, CatalogueKind, Publish};
use turnpike_types::limits::TABLE_BYTES_MAX;

use crate::FrontError;
use crate::core::Core;
use crate::services::catalogue::checks::{CheckPermit, Checks};
use crate::services::catalogue::versions::{self, Published, hexadecimal, message};

/// Publishes a table.
pub(crate) async fn publish_text(
    core: &Core,
    checks: &Checks,
    actor: &Actor,
    text: String,
) -> Result<PublishTableResponse, FrontError> {
    core.enter()?;
    if text.len() > TABLE_BYTES_MAX {
        let bytes = text.len();
        return Err(FrontError::Invalid(format!(
            "the table has {bytes} bytes of text; at most {TABLE_BYTES_MAX} are taken"
        )));
    }
    let (publish, warnings) = read(text, checks.next().await?).await?;
    let Published { head, already } = versions::publish(core, actor, publish).await?;
    Ok(PublishTableResponse { table: Some(show(head)), already, warnings })
}

/// The versions of one table, or of all.
pub(crate) async fn tables(core: &Core, table_id: &str) -> Result<ListTablesResponse, FrontError> {
    let heads = versions::list(core.db.as_ref(), CatalogueKind::Table, table_id).await?;
    Ok(ListTablesResponse { tables: heads.into_iter().map(show).collect() })
}

/// One version of a table.
pub(crate) async fn table(
    core: &Core,
    table_id: &str,
    version: u32,
) -> Result<GetTableResponse, FrontError> {
    let db = core.db.as_ref();
    let entry = versions::find(db, CatalogueKind::Table, table_id, version).await?;
    Ok(GetTableResponse { table: Some(show(entry.head)), text: entry.body })
}

/// The newest versions of the tables that a plan reads, for its examples. A table that is not
/// in the catalogue is left out: the examples then report which record waits for it.
pub(crate) async fn tables_of(
    core: &Core,
    plan: &Plan,
    permit: &CheckPermit,
) -> Result<Vec<Arc<Table>>, FrontError> {
    let (mut tables, mut bytes) = (Vec::new(), 0);
    if plan.examples().is_empty() {
        return Ok(tables);
    }
    let db = core.db.as_ref();
    for name in plan.tables() {
        let heads = versions::list(db, CatalogueKind::Table, &name.id).await?;
        for head in heads.iter().rev().take(EXAMPLE_TABLE_VERSIONS_MAX) {
            let kind = CatalogueKind::Table;
            let entry = versions::find(db, kind, &head.id, head.version).await?;
            bytes += entry.body.len();
            if bytes > EXAMPLE_TABLES_BYTES_MAX {
                return Err(FrontError::Invalid(format!(
                    "the tables that the plan's examples read have more than \
                     {EXAMPLE_TABLES_BYTES_MAX} bytes of text: let the plan read smaller tables, or \
                     publish it without examples"
                )));
            }
            tables.push(Arc::new(parse_published(entry.body, permit.clone()).await?));
        }
    }
    Ok(tables)
}

/// Warnings about tables that a plan reads and the catalogue does not hold: usage waits for
/// them in suspense. A table may be published after the plan.
pub(crate) async fn missing_tables(core: &Core, plan: &Plan) -> Result<Vec<String>, FrontError> {
    let db = core.db.as_ref();
    let mut warnings = Vec::new();
    for name in plan.tables() {
        let kind = name.kind.to_string();
        let found = versions::list(db, CatalogueKind::Table, &name.id).await?;
        if found.iter().any(|head| head.form == kind) {
            continue;
        }
        // If there are more tables than can be listed, the warning has no hint.
        let all = versions::list(db, CatalogueKind::Table, "").await;
        let of_kind = all.iter().flatten().filter(|head| head.form == kind);
        let hint = turnpike_plan::hint(&name.id, of_kind.map(|head| head.id.as_str()));
        warnings.push(format!(
            "no {kind} table {} is published{hint}: usage waits as no-table until it is",
            name.id
        ));
    }
    Ok(warnings)
}
/// How many versions of one table a plan's examples may read, since a table may be large.
const EXAMPLE_TABLE_VERSIONS_MAX: usize = 3;

/// The size in bytes of the texts of the tables that the examples of one plan may read.
const EXAMPLE_TABLES_BYTES_MAX: usize = 2 * TABLE_BYTES_MAX;

/// Checks a table. Returns the publication and the table's warnings. Runs on a blocking thread, because
/// checking a large table takes about a second. The table is not kept: it can be large.
async fn read(text: String, permit: CheckPermit) -> Result<(Publish, Vec<String>), FrontError> {
    let checked = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let table = parse_table(&text).map_err(|errors| FrontError::Invalid(message(&errors.0)))?;
        let warnings = table.warnings().to_vec();
        Ok((to_publish(&table, text), warnings))
    });
    checked
        .await
        .map_err(|error| FrontError::Invalid(format!("the table can't be checked: {error}")))?
}

/// Parses a table from the catalogue; on a blocking thread, like [`read`].
async fn parse_published(text: String, permit: CheckPermit) -> Result<Table, FrontError> {
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        parse_published_table(&text)
    });
    let table = read
        .await
        .map_err(|error| FrontError::Invalid(format!("the table can't be read: {error}")))?;
    table.map_err(|errors| FrontError::Invalid(message(&errors.0)))
}

fn to_publish(table: &Table, text: String) -> Publish {
    Publish {
        kind: CatalogueKind::Table,
        id: table.id().to_owned(),
        version: table.version(),
        starts: table.starts().to_string(),
        supersedes: table.supersedes(),
        content_hash: table.content_hash(),
        form: table.kind().to_string(),
        rows: table.rows() as u64,
        body: text,
        tz_database: Some(turnpike_plan::tz_database_version().to_owned()),
    }
}

fn show(head: CatalogueHead) -> TableVersion {
    TableVersion {
        table_id: head.id,
        version: head.version,
        starts: head.starts,
        kind: head.form,
        rows: head.rows,
        bytes: head.bytes,
        content_hash: hexadecimal(&head.content_hash),
        catalogue_version: head.catalogue_version,
        published_at_us: head.published_at.0,
    }
}
