//! The catalogue, that is the published plans and tables (P36): its entries, and the rules by which
//! a version is accepted.

use std::fmt;

use async_trait::async_trait;
use jiff::civil::{Date, Time};
use jiff::tz::{self, Offset};
use turnpike_types::Timestamp;
use turnpike_types::limits::{
    CATALOGUE_IDS_MAX, CATALOGUE_PLAN_BYTES_MAX, CATALOGUE_TABLE_BYTES_MAX, PLAN_XML_BYTES_MAX,
    TABLE_BYTES_MAX,
};
use turnpike_types::text;

use crate::{StoreError, StoreResult};

/// The most bytes of bodies in one answer to
/// [`catalogue_since`](CatalogueStore::catalogue_since); an answer holds at least one entry.
pub const CATALOGUE_BYTES_MAX: usize = TABLE_BYTES_MAX;
/// The maximum number of heads, versions without bodies, in one answer to
/// [`catalogue_heads`](CatalogueStore::catalogue_heads).
pub const CATALOGUE_HEADS_MAX: usize = 1_000;
/// The first date on which a version may start, and the first after those.
const FIRST_START: Date = Date::constant(1900, 1, 1);
const LAST_START: Date = Date::constant(2200, 1, 1);
/// The most versions of one plan or table.
const VERSIONS_MAX: usize = 10_000;

/// Publications of plans and tables, and reads of them.
#[async_trait]
pub trait CatalogueStore: Send + Sync + 'static {
    /// Publishes a version of a plan or a table. The outcome depends on the database's clock and on
    /// the catalogue at the commit.
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome>;

    /// The entries published after catalogue version `after`, in order and without gaps: at most
    /// `most` entries and [`CATALOGUE_BYTES_MAX`](crate::CATALOGUE_BYTES_MAX) bytes of bodies, but
    /// at least one entry if there is one and `most` is not zero. To read on, a caller passes the
    /// catalogue version of the last entry, until the answer is empty.
    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>>;

    /// The heads (versions without bodies) of one kind, or of one `id` of that kind, published
    /// after catalogue version `after`, in order, at most
    /// [`CATALOGUE_HEADS_MAX`](crate::CATALOGUE_HEADS_MAX). The call reads no body.
    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>>;

    /// What the catalogue holds of one kind.
    async fn catalogue_totals(&self, kind: CatalogueKind) -> StoreResult<CatalogueTotals>;
}

/// The kind of a publication. Ids and versions are separate for each kind; the catalogue's version
/// counts the publications of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogueKind {
    /// A price plan.
    Plan,
    /// A reference table, in which plans look values up.
    Table,
}

impl CatalogueKind {
    /// The kind's name, as it is stored and displayed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Table => "table",
        }
    }

    /// The kind with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Plan, Self::Table].into_iter().find(|kind| kind.name() == name)
    }

    /// The most bytes of a body.
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

/// A published version without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueHead {
    /// The catalogue's version after this publication (P36).
    pub catalogue_version: u64,
    /// A plan or a table.
    pub kind: CatalogueKind,
    /// The id of the plan or table, unique within its kind.
    pub id: String,
    /// The version of the plan or table.
    pub version: u32,
    /// The date on which the version starts, ISO 8601, in the account's time zone.
    pub starts: String,
    /// The hash of the canonical content.
    pub content_hash: [u8; 32],
    /// A plan's currency, or a table's kind of key.
    pub form: String,
    /// The number of a table's rows; zero for a plan.
    pub rows: u64,
    /// The size of the body in bytes.
    pub bytes: u64,
    /// The time of publication, by the database's clock.
    pub published_at: Timestamp,
    /// The version of the publishing process's time-zone database, such as `2026e`; `None` if the
    /// process did not report it.
    pub tz_database: Option<String>,
}

/// A published version with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Everything but the body.
    pub head: CatalogueHead,
    /// A plan's XML or a table's text, as it was published.
    pub body: String,
}

/// A version to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// A plan or a table.
    pub kind: CatalogueKind,
    /// The id of the plan or table.
    pub id: String,
    /// The version of the plan or table.
    pub version: u32,
    /// The date on which the version starts, ISO 8601.
    pub starts: String,
    /// The version with the same start that this one replaces.
    pub supersedes: Option<u32>,
    /// The hash of the canonical content.
    pub content_hash: [u8; 32],
    /// A plan's currency, or a table's kind of key, which is the same in all versions of a table.
    pub form: String,
    /// The number of a table's rows; zero for a plan.
    pub rows: u64,
    /// The plan's XML or the table's text.
    pub body: String,
    /// The version of the publishing process's time-zone database, such as `2026e`.
    pub tz_database: Option<String>,
}

impl Publish {
    /// The head of the entry that this publication makes.
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

/// The outcome of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The version was published; the catalogue's version is now this one.
    Published(u64),
    /// The same content was published before under this id and version, with this catalogue
    /// version.
    Already(u64),
    /// Other content was published under this id and version; versions are immutable.
    Immutable,
    /// This version is in force at the same start, and the publication does not supersede it.
    SameStart(u32),
    /// The publication is a further version, and its start date has begun somewhere on earth.
    /// Records since then were rated by another version, and only re-rating could correct them
    /// (P36).
    Backdated {
        /// The first date that had not begun anywhere on earth.
        earliest: String,
        /// The version in force at the requested start.
        in_force: Option<u32>,
    },
    /// The other versions of this table have this kind of key, and plans depend on it.
    OtherForm(String),
}

/// What the catalogue holds of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogueTotals {
    /// The number of plans, or of tables.
    pub ids: u64,
    /// The size of the bodies of all versions, in bytes.
    pub bytes: u64,
}

/// The decision on a publication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The publication writes nothing and has this outcome.
    Settled(PublishOutcome),
    /// The publication is written if the database's clock is before this instant at the write.
    GoesIn { before: Timestamp },
}

/// Decides on a publication at `now`, given the heads of all versions of its id.
///
/// # Errors
/// `Refused` when it supersedes a version and no version has this start, when its start is no date,
/// when its body holds a zero byte, or when a limit on sizes or counts is exceeded.
pub(crate) fn judge(
    heads: &[CatalogueHead],
    publish: &Publish,
    now: Timestamp,
    totals: CatalogueTotals,
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
    check_room(heads, publish, totals)?;
    if publish.kind == CatalogueKind::Table
        && let Some(other) = heads.iter().find(|head| head.form != publish.form)
    {
        return settled(PublishOutcome::OtherForm(other.form.clone()));
    }
    if let Some(backdated) = backdated(heads, starts, now) {
        return settled(backdated);
    }
    // Among versions with the same start, the one published last is in force.
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
                "it supersedes version {version}, but no version starts on {starts}"
            )));
        }
    }
    // A first version may start on any date, so the clock does not limit it; nor does it limit the
    // last date of the calendar.
    let before = if heads.is_empty() { None } else { begins(starts) };
    Ok(Judgement::GoesIn { before: before.unwrap_or(Timestamp::MAX) })
}

/// Checks the form of a publication. Returns the start date.
fn check(heads: &[CatalogueHead], publish: &Publish) -> StoreResult<Date> {
    let (bytes, bytes_max) = (publish.body.len(), publish.kind.bytes_max());
    if bytes > bytes_max {
        let why = format!("{bytes} bytes of text; at most {bytes_max} are taken");
        return Err(publish.refused(&why));
    }
    let id = match publish.kind {
        CatalogueKind::Plan => text::PLAN_ID,
        CatalogueKind::Table => text::TABLE_ID,
    };
    id.check(&publish.id).map_err(|why| StoreError::Refused(why.to_string()))?;
    if publish.body.contains('\0') {
        return Err(publish.refused("its text holds a zero byte"));
    }
    if heads.len() >= VERSIONS_MAX {
        let why =
            format!("{VERSIONS_MAX} versions of it exist, the most there may be; use another id");
        return Err(publish.refused(&why));
    }
    let starts: Date = publish
        .starts
        .parse()
        .map_err(|_| publish.refused(&format!("its start {:?} is no date", publish.starts)))?;
    // A version that is in the catalogue since an earlier release is published again as before.
    let is_known = heads.iter().any(|head| head.version == publish.version);
    if !is_known && !(FIRST_START..LAST_START).contains(&starts) {
        return Err(publish.refused(&format!(
            "it starts on {starts}, and versions start from {FIRST_START} until before {LAST_START}"
        )));
    }
    Ok(starts)
}

/// Refuses what exceeds a quota of the whole catalogue. Nodes keep all plans in memory, and every
/// version stays for ever.
fn check_room(
    heads: &[CatalogueHead],
    publish: &Publish,
    totals: CatalogueTotals,
) -> StoreResult<()> {
    let kind = publish.kind;
    if heads.is_empty() && totals.ids >= CATALOGUE_IDS_MAX as u64 {
        let why = format!(
            "the catalogue holds {} {kind}s, and at most {CATALOGUE_IDS_MAX} are possible: publish a \
             version of one of them",
            totals.ids
        );
        return Err(publish.refused(&why));
    }
    let bytes_max = match kind {
        CatalogueKind::Plan => CATALOGUE_PLAN_BYTES_MAX,
        CatalogueKind::Table => CATALOGUE_TABLE_BYTES_MAX,
    };
    let bytes = totals.bytes.saturating_add(publish.body.len() as u64);
    if bytes > bytes_max {
        let why = format!(
            "all {kind}s would have {bytes} bytes, and at most {bytes_max} are kept: publish fewer \
             versions"
        );
        return Err(publish.refused(&why));
    }
    Ok(())
}

/// The refusal of a further version whose start date has begun. A first version may start in the
/// past: the records that it applies to are still in suspense.
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

/// The time zone in which each date begins first: UTC+14.
const EASTERNMOST: Offset = tz::offset(14);

/// The first date that has not begun anywhere on earth at `now`; `None` at the ends of the
/// calendar.
fn earliest_start(now: Timestamp) -> Option<Date> {
    let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
    EASTERNMOST.to_datetime(now).date().tomorrow().ok()
}

/// The instant at which `date` begins in [`EASTERNMOST`]; `None` at the ends of the calendar.
fn begins(date: Date) -> Option<Timestamp> {
    let midnight = EASTERNMOST.to_timestamp(date.to_datetime(Time::midnight())).ok()?;
    Some(Timestamp(midnight.as_microsecond()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const NONE: CatalogueTotals = CatalogueTotals { ids: 0, bytes: 0 };

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
    fn p36_a_version_judged_to_be_in_time_is_published_only_while_it_is() {
        let now = instant("2026-01-31T09:59:59Z");
        let first = [publish(1, "2000-01-01").head(1, now)];
        let judged = |starts| judge(&first, &publish(2, starts), now, NONE).unwrap();
        let before = instant("2026-01-31T10:00:00Z");
        assert_eq!(judged("2026-02-01"), Judgement::GoesIn { before });
        let late =
            PublishOutcome::Backdated { earliest: "2026-02-01".to_owned(), in_force: Some(1) };
        assert_eq!(judged("2026-01-31"), Judgement::Settled(late));
        let any_date = judge(&[], &publish(1, "2000-01-01"), now, NONE).unwrap();
        assert_eq!(any_date, Judgement::GoesIn { before: Timestamp::MAX });
    }

    #[test]
    fn an_invalid_version_is_refused() {
        let now = instant("2026-01-31T09:59:59Z");
        let zero = Publish { body: "a\0b".to_owned(), ..publish(1, "2026-01-01") };
        let long = Publish { body: " ".repeat(PLAN_XML_BYTES_MAX + 1), ..publish(1, "2026-01-01") };
        for (wrong, word) in [(zero, "zero byte"), (long, "1048577"), (publish(1, "soon"), "soon")]
        {
            let error = judge(&[], &wrong, now, NONE).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("gold version 1"), "{error}");
        }
        let table = CatalogueKind::Table;
        let large = Publish {
            kind: table,
            body: " ".repeat(PLAN_XML_BYTES_MAX + 1),
            ..publish(1, "2026-01-01")
        };
        assert!(judge(&[], &large, now, NONE).is_ok(), "a table may be larger than a plan");
    }

    #[test]
    fn the_quotas_of_the_catalogue_are_refused_with_their_numbers() {
        let now = instant("2026-01-31T09:59:59Z");
        let full = |ids, bytes| CatalogueTotals { ids, bytes };
        let plan = Publish { body: "12345".to_owned(), ..publish(1, "2026-01-01") };
        let refusal = |totals| judge(&[], &plan, now, totals).unwrap_err().to_string();
        assert!(refusal(full(10_000, 0)).contains("at most 10000"));
        assert!(refusal(full(3, CATALOGUE_PLAN_BYTES_MAX - 4)).contains("268435457 bytes"));
        assert!(judge(&[], &plan, now, full(9_999, CATALOGUE_PLAN_BYTES_MAX - 5)).is_ok());
        let known = [plan.head(1, now)];
        let next = Publish { version: 2, starts: "2026-03-01".to_owned(), ..plan.clone() };
        assert!(judge(&known, &next, now, full(10_000, 0)).is_ok(), "a version of a known plan");
        let again = judge(&known, &plan, now, full(20_000, u64::MAX)).unwrap();
        assert_eq!(again, Judgement::Settled(PublishOutcome::Already(1)), "a repetition");
        for start in ["1899-12-31", "2200-01-01", "9999-12-31"] {
            let far = Publish { starts: start.to_owned(), ..plan.clone() };
            let told = judge(&[], &far, now, NONE).unwrap_err().to_string();
            assert!(told.contains(start) && told.contains("2200-01-01"), "{told}");
        }
        let long = Publish { id: "x".repeat(5_000), ..plan };
        assert!(judge(&[], &long, now, NONE).unwrap_err().to_string().len() < 300);
    }
}
