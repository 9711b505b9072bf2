//! The catalogue of plans and tables (P36): what it holds, and what it takes.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::{self, Offset};
use turnpike_types::Timestamp;
use turnpike_types::limits::{PLAN_XML_BYTES_MAX, TABLE_BYTES_MAX};

use crate::{StoreError, StoreResult};

/// How many bytes of bodies one answer to
/// [`catalogue_since`](crate::SharedDatabase::catalogue_since) holds, if more than one entry.
pub const CATALOGUE_BYTES_MAX: usize = TABLE_BYTES_MAX;
/// How many heads one answer to [`catalogue_heads`](crate::SharedDatabase::catalogue_heads) holds.
pub const CATALOGUE_HEADS_MAX: usize = 1_000;
/// How many versions of one plan or table there may be.
const VERSIONS_MAX: usize = 10_000;

/// What kind of thing is published. Each kind has ids and versions of its own; the catalogue's
/// version is one over both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogueKind {
    /// A price plan.
    Plan,
    /// A reference table, which plans look things up in.
    Table,
}

impl CatalogueKind {
    /// Its name: how it is stored, and what people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Table => "table",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Plan, Self::Table].into_iter().find(|kind| kind.name() == name)
    }

    /// How large a body may be.
    const fn bytes_max(self) -> usize {
        match self {
            Self::Plan => PLAN_XML_BYTES_MAX,
            Self::Table => TABLE_BYTES_MAX,
        }
    }
}

impl fmt::Display for CatalogueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the catalogue knows of a published version without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueHead {
    /// The catalogue version that its publication made (P36).
    pub catalogue_version: u64,
    /// A plan or a table.
    pub kind: CatalogueKind,
    /// Its id, unique within its kind.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Its start: an ISO date in the account's zone.
    pub starts: String,
    /// The hash of its canonical content.
    pub content_hash: [u8; 32],
    /// A plan's currency, a table's kind of key.
    pub form: String,
    /// How many rows a table has; zero for a plan.
    pub rows: u64,
    /// How many bytes its body has.
    pub bytes: u64,
    /// When it was published, by the database's clock.
    pub published_at: Timestamp,
    /// The version of the time-zone database of the process that published it; `None` where an
    /// older process did.
    pub tz_database: Option<String>,
}

/// One published version, as the catalogue keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// What it is.
    pub head: CatalogueHead,
    /// A plan's XML or a table's text, as it was published.
    pub body: String,
}

/// A version to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// A plan or a table.
    pub kind: CatalogueKind,
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// Its start: an ISO date.
    pub starts: String,
    /// The version of the same start that it replaces.
    pub supersedes: Option<u32>,
    /// The hash of its canonical content.
    pub content_hash: [u8; 32],
    /// A plan's currency; a table's kind of key, which all its versions share.
    pub form: String,
    /// How many rows a table has; zero for a plan.
    pub rows: u64,
    /// Its XML or text.
    pub body: String,
    /// The version of the publishing process's time-zone database, such as `2026e`.
    pub tz_database: Option<String>,
}

impl Publish {
    /// Its head, once it is in the catalogue.
    pub(crate) fn head(&self, catalogue_version: u64, published_at: Timestamp) -> CatalogueHead {
        CatalogueHead {
            catalogue_version,
            kind: self.kind,
            id: self.id.clone(),
            version: self.version,
            starts: self.starts.clone(),
            content_hash: self.content_hash,
            form: self.form.clone(),
            rows: self.rows,
            bytes: self.body.len() as u64,
            published_at,
            tz_database: self.tz_database.clone(),
        }
    }

    fn refused(&self, why: &str) -> StoreError {
        let Self { kind, id, version, .. } = self;
        StoreError::Refused(format!("{kind} {id} version {version}: {why}"))
    }
}

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// In the catalogue, under this catalogue version.
    Published(u64),
    /// The same content was there under this id and version already.
    Already(u64),
    /// This id and version stand for other content: versions are immutable.
    Immutable,
    /// Another version has the same start, and this one does not say that it supersedes it.
    SameStart(u32),
    /// It is a further version, and its start has begun somewhere on earth: records since then were
    /// rated by another one, and only re-rating could take that back (P36).
    Backdated {
        /// The first date that had begun nowhere on earth.
        earliest: String,
        /// The version that is in force at the start that was asked for.
        in_force: Option<u32>,
    },
    /// The other versions of this table have another kind of key, and plans were written for it.
    OtherForm(String),
}

/// What is to be done with a publication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing: this is what it comes to.
    Settled(PublishOutcome),
    /// It goes in, as long as the database's clock stands before this instant.
    GoesIn { before: Timestamp },
}

/// What a publication comes to at `now`, given the heads of all versions of its id.
///
/// # Errors
/// `Refused` when it supersedes what is not there, has no date to start on, or is too large.
pub(crate) fn judge(
    heads: &[CatalogueHead],
    publish: &Publish,
    now: Timestamp,
) -> StoreResult<Judgement> {
    let starts = check(heads, publish)?;
    let settled = |outcome| Ok(Judgement::Settled(outcome));
    if let Some(same) = heads.iter().find(|head| head.version == publish.version) {
        return settled(if same.content_hash == publish.content_hash {
            PublishOutcome::Already(same.catalogue_version)
        } else {
            PublishOutcome::Immutable
        });
    }
    if publish.kind == CatalogueKind::Table
        && let Some(other) = heads.iter().find(|head| head.form != publish.form)
    {
        return settled(PublishOutcome::OtherForm(other.form.clone()));
    }
    if let Some(backdated) = backdated(heads, starts, now) {
        return settled(backdated);
    }
    // The last published of those with the same start is the one in force.
    let in_force = heads
        .iter()
        .filter(|head| head.starts == publish.starts)
        .max_by_key(|head| head.catalogue_version);
    match (in_force, publish.supersedes) {
        (None, None) => {}
        (Some(head), Some(version)) if head.version == version => {}
        (Some(head), _) => return settled(PublishOutcome::SameStart(head.version)),
        (None, Some(version)) => {
            return Err(publish.refused(&format!(
                "it says that it supersedes version {version}, but no version starts on {starts}"
            )));
        }
    }
    // A first version may start on any date, so no clock is in its way.
    let before = if heads.is_empty() { None } else { begins(starts) };
    Ok(Judgement::GoesIn { before: before.unwrap_or(Timestamp::MAX) })
}

/// Its start, if it is well formed.
fn check(heads: &[CatalogueHead], publish: &Publish) -> StoreResult<Date> {
    let (bytes, bytes_max) = (publish.body.len(), publish.kind.bytes_max());
    if bytes > bytes_max {
        let why = format!("{bytes} bytes of text; at most {bytes_max} are taken");
        return Err(publish.refused(&why));
    }
    if publish.body.contains('\0') {
        return Err(publish.refused("its text holds a zero byte"));
    }
    if heads.len() >= VERSIONS_MAX {
        let why = format!("there are {VERSIONS_MAX} versions of it already; take another id");
        return Err(publish.refused(&why));
    }
    let starts = publish.starts.parse();
    starts.map_err(|_| publish.refused(&format!("its start {:?} is no date", publish.starts)))
}

/// The refusal of a further version whose start has begun. The first version rates what waited for
/// it in suspense.
fn backdated(heads: &[CatalogueHead], starts: Date, now: Timestamp) -> Option<PublishOutcome> {
    let earliest = earliest_start(now).filter(|earliest| starts < *earliest)?;
    if heads.is_empty() {
        return None;
    }
    let start_of = |head: &CatalogueHead| head.starts.parse::<Date>().ok();
    let in_force = heads
        .iter()
        .filter(|head| start_of(head).is_some_and(|start| start <= starts))
        .max_by_key(|head| (start_of(head), head.catalogue_version));
    Some(PublishOutcome::Backdated {
        earliest: earliest.to_string(),
        in_force: in_force.map(|head| head.version),
    })
}

/// Where a date begins first: UTC+14.
const EASTERNMOST: Offset = tz::offset(14);

/// The first date that has begun nowhere on earth at `now`; `None` at the ends of the calendar.
fn earliest_start(now: Timestamp) -> Option<Date> {
    let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
    EASTERNMOST.to_datetime(now).date().tomorrow().ok()
}

/// When a date begins first; `None` at the ends of the calendar.
fn begins(date: Date) -> Option<Timestamp> {
    let midnight = EASTERNMOST.to_timestamp(date.to_datetime(Time::midnight())).ok()?;
    Some(Timestamp(midnight.as_microsecond()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn instant(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn publish(version: u32, starts: &str) -> Publish {
        Publish {
            kind: CatalogueKind::Plan,
            id: "gold".to_owned(),
            version,
            starts: starts.to_owned(),
            supersedes: None,
            content_hash: [0; 32],
            form: "USD".to_owned(),
            rows: 0,
            body: String::new(),
            tz_database: None,
        }
    }

    #[test]
    fn p36_a_date_may_be_chosen_until_it_begins_in_the_easternmost_zone() {
        let earliest = |now: &str| earliest_start(instant(now));
        assert_eq!(earliest("2026-01-31T09:59:59.999999Z"), Some(date(2026, 2, 1)));
        assert_eq!(earliest("2026-01-31T10:00:00Z"), Some(date(2026, 2, 2)));
        assert_eq!(earliest_start(Timestamp::MAX), None);
        assert_eq!(begins(date(2026, 2, 1)), Some(instant("2026-01-31T10:00:00Z")));
        assert_eq!(begins(Date::MIN), None);
    }

    #[test]
    fn p36_what_was_judged_in_time_goes_in_only_while_it_is() {
        let now = instant("2026-01-31T09:59:59Z");
        let first = [publish(1, "2000-01-01").head(1, now)];
        let judged = |starts| judge(&first, &publish(2, starts), now).unwrap();
        let before = instant("2026-01-31T10:00:00Z");
        assert_eq!(judged("2026-02-01"), Judgement::GoesIn { before });
        let late =
            PublishOutcome::Backdated { earliest: "2026-02-01".to_owned(), in_force: Some(1) };
        assert_eq!(judged("2026-01-31"), Judgement::Settled(late));
        let any_date = judge(&[], &publish(1, "2000-01-01"), now).unwrap();
        assert_eq!(any_date, Judgement::GoesIn { before: Timestamp::MAX });
    }

    #[test]
    fn what_can_be_no_version_is_refused() {
        let now = instant("2026-01-31T09:59:59Z");
        let zero = Publish { body: "a\0b".to_owned(), ..publish(1, "2026-01-01") };
        let long = Publish { body: " ".repeat(PLAN_XML_BYTES_MAX + 1), ..publish(1, "2026-01-01") };
        for (wrong, word) in [(zero, "zero byte"), (long, "1048577"), (publish(1, "soon"), "soon")]
        {
            let error = judge(&[], &wrong, now).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("gold version 1"), "{error}");
        }
        let table = CatalogueKind::Table;
        let large = Publish {
            kind: table,
            body: " ".repeat(PLAN_XML_BYTES_MAX + 1),
            ..publish(1, "2026-01-01")
        };
        assert!(judge(&[], &large, now).is_ok(), "a table may be larger than a plan");
    }
}
