//! The operations on the catalogue that plans and tables share (P36): publish a version, list
//! versions, find a version.

use std::sync::Arc;

use turnpike_access::Actor;
use turnpike_access::audit::{Action, Intent};
use turnpike_store::{
    CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, Publish, PublishOutcome,
    SharedDatabase,
};
use turnpike_types::text;

use crate::FrontError;
use crate::core::Core;
use crate::services::audited::audited;

/// The largest size in bytes of the faults in one refusal. The text is sent in an HTTP header,
/// which is limited to 16 KiB, and a table of a million rows may have a million faults.
const FAULTS_BYTES_MAX: usize = 4_000;
/// The largest length in characters of one fault.
const FAULT_LETTERS_MAX: usize = 500;
/// The largest number of versions in one listing.
const LISTED_MAX: usize = 100_000;

/// The published version, and whether the catalogue held it already.
pub(crate) struct Published {
    pub(crate) head: CatalogueHead,
    pub(crate) already: bool,
}

/// Publishes a version. The error explains a refusal. A repeated publication changes nothing, and has
/// no entry in the audit log.
pub(crate) async fn publish(
    core: &Core,
    actor: &Actor,
    asked: Publish,
) -> Result<Published, FrontError> {
    let known = list(core.db.as_ref(), asked.kind, &asked.id).await?;
    if let Some(head) = known.into_iter().find(|head| head.version == asked.version) {
        let is_same = head.content_hash == asked.content_hash;
        return if is_same {
            Ok(Published { head, already: true })
        } else {
            Err(immutable(&asked))
        };
    }
    let action = match asked.kind {
        CatalogueKind::Plan => Action::PlanPublish,
        CatalogueKind::Table => Action::TablePublish,
    };
    let Publish { kind, id, version, starts, .. } = &asked;
    let hash = hexadecimal(&asked.content_hash);
    let bytes = asked.body.len();
    let mut intent = Intent::of(format!("{kind} {id} version {version}"))
        .with(format!("starts {starts}, content {hash}, {bytes} bytes"));
    intent.bytes = bytes;
    let db = Arc::clone(&core.db);
    audited(core, actor, action, intent, async move { publish_version(&*db, &asked).await }).await
}

async fn publish_version(
    db: &dyn SharedDatabase,
    asked: &Publish,
) -> Result<Published, FrontError> {
    let outcome = db.publish(asked).await?;
    let (catalogue_version, already) = place(asked, outcome)?;
    let after = catalogue_version.saturating_sub(1);
    let known = db.catalogue_heads(asked.kind, Some(&asked.id), after).await?;
    let head = known.into_iter().find(|head| head.catalogue_version == catalogue_version);
    let head = head.ok_or_else(|| {
        let Publish { kind, id, version, .. } = asked;
        FrontError::NotFound(format!(
            "{kind} {id} version {version} was published, but the catalogue does not show it: send \
             the request again"
        ))
    })?;
    tracing::info!(kind = %head.kind, id = head.id, version = head.version, already, "published");
    Ok(Published { head, already })
}

/// The catalogue version of a publication, and whether the catalogue held it already.
fn place(asked: &Publish, outcome: PublishOutcome) -> Result<(u64, bool), FrontError> {
    let Publish { kind, id, version, starts, .. } = asked;
    match outcome {
        PublishOutcome::Published(catalogue_version) => Ok((catalogue_version, false)),
        PublishOutcome::Already(catalogue_version) => Ok((catalogue_version, true)),
        PublishOutcome::Immutable => Err(immutable(asked)),
        PublishOutcome::SameStart(other) => Err(FrontError::Occupied(format!(
            "{kind} {id} version {other} starts on {starts} too: give version {version} another \
             start, or write {} if it replaces that version",
            superseding(*kind, other)
        ))),
        PublishOutcome::Backdated { earliest, in_force } => {
            Err(FrontError::Conflict(backdated(asked, &earliest, in_force)))
        }
        PublishOutcome::OtherForm(form) => Err(FrontError::Conflict(format!(
            "{kind} {id} version {version} is of kind {}, and the versions in the catalogue are of \
             kind {form}, which plans were written for: publish it under another id",
            asked.form
        ))),
    }
}

fn immutable(asked: &Publish) -> FrontError {
    let Publish { kind, id, version, .. } = asked;
    FrontError::Conflict(format!(
        "{kind} {id} version {version} is in the catalogue with other content, and versions are \
         immutable: publish this under the next version number"
    ))
}

/// The attribute by which a version declares that it replaces version `other`.
fn superseding(kind: CatalogueKind, other: u32) -> String {
    match kind {
        CatalogueKind::Plan => format!("supersedes=\"{other}\""),
        CatalogueKind::Table => format!("supersedes={other}"),
    }
}

/// Why a further version can't start on its date, and the earliest date on which it can.
fn backdated(asked: &Publish, earliest: &str, in_force: Option<u32>) -> String {
    let Publish { kind, id, version, starts, .. } = asked;
    let why = match in_force {
        Some(other) => format!("version {other} has already rated records from that date on"),
        None => format!("the {kind} already has versions, and they may have rated records"),
    };
    format!(
        "{kind} {id} version {version}: its start {starts} has begun somewhere on earth \
         (UTC+14); {why}. Choose a start of {earliest} or later, or wait for re-rating"
    )
}

/// The catalogue heads of one kind, sorted by id and version; only those of `id` unless it is
/// empty.
pub(crate) async fn list(
    db: &dyn CatalogueStore,
    kind: CatalogueKind,
    id: &str,
) -> Result<Vec<CatalogueHead>, FrontError> {
    let legal = match kind {
        CatalogueKind::Plan => text::PLAN_ID,
        CatalogueKind::Table => text::TABLE_ID,
    };
    legal.check(id).map_err(|why| FrontError::Invalid(why.to_string()))?;
    let wanted = (!id.is_empty()).then_some(id);
    let mut heads: Vec<CatalogueHead> = Vec::new();
    loop {
        let after = heads.last().map_or(0, |head| head.catalogue_version);
        let page = db.catalogue_heads(kind, wanted, after).await?;
        if page.is_empty() {
            break;
        }
        heads.extend(page);
        if heads.len() > LISTED_MAX {
            return Err(FrontError::Invalid(format!(
                "more than {LISTED_MAX} versions: list one {kind} by its id"
            )));
        }
    }
    heads.sort_by(|a, b| (&a.id, a.version).cmp(&(&b.id, b.version)));
    Ok(heads)
}

/// The entry of one version; version 0 means the newest.
pub(crate) async fn find(
    db: &dyn CatalogueStore,
    kind: CatalogueKind,
    id: &str,
    version: u32,
) -> Result<CatalogueEntry, FrontError> {
    if id.is_empty() {
        return Err(FrontError::Invalid(format!("the request names no {kind}: set {kind}_id")));
    }
    let heads = list(db, kind, id).await?;
    let found = match version {
        0 => heads.last(),
        _ => heads.iter().find(|head| head.version == version),
    };
    let missing = || {
        FrontError::NotFound(if heads.is_empty() {
            format!("no {kind} {id} in the catalogue: list shows the published ones")
        } else {
            format!("{kind} {id} has no version {version}")
        })
    };
    let head = found.ok_or_else(missing)?;
    let after = head.catalogue_version.saturating_sub(1);
    let entry = db.catalogue_since(after, 1).await?.pop();
    entry.filter(|entry| entry.head == *head).ok_or_else(missing)
}

/// The faults, one on each line, as many as fit, followed by the number of those left out.
pub(crate) fn message<T: std::fmt::Display>(faults: &[T]) -> String {
    let mut text = String::new();
    for (at, fault) in faults.iter().enumerate() {
        let fault: String = fault.to_string().chars().take(FAULT_LETTERS_MAX).collect();
        if at > 0 && text.len() + fault.len() > FAULTS_BYTES_MAX {
            return text + &format!("\n… and at least {} more", faults.len() - at);
        }
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&fault);
    }
    text
}

/// A content hash in hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
