//! Plans and tables (P36).

use turnpike_store::{
    CATALOGUE_HEADS_MAX, CatalogueKind, NodeBeat, Publish, PublishOutcome, SharedDatabase,
    StoreError,
};
use turnpike_types::limits::TABLE_BYTES_MAX;
use turnpike_types::{Incarnation, NodeName};

use crate::TestedStore;

fn plan(id: &str, version: u32, starts: &str, supersedes: Option<u32>) -> Publish {
    Publish {
        kind: CatalogueKind::Plan,
        id: id.to_owned(),
        version,
        starts: starts.to_owned(),
        supersedes,
        content_hash: [u8::try_from(version % 256).unwrap(); 32],
        form: "USD".to_owned(),
        rows: 0,
        body: format!("<plan id='{id}' version='{version}'/>"),
        tz_database: Some("2026e".to_owned()),
    }
}

fn table(id: &str, version: u32, starts: &str) -> Publish {
    Publish {
        kind: CatalogueKind::Table,
        form: "prefix".to_owned(),
        rows: u64::from(version),
        body: format!("table {id} v{version}: ä"),
        tz_database: Some("2026e".to_owned()),
        ..plan(id, version, starts, None)
    }
}

/// Publishing the same content again is no error; other content is refused.
pub async fn versions_are_immutable(s: &TestedStore) {
    let db = s.view().await;
    let first = plan("gold", 1, "2199-01-01", None);
    assert_eq!(db.publish(&first).await.unwrap(), PublishOutcome::Published(1));
    let again = s.view().await.publish(&first).await.unwrap();
    assert_eq!(again, PublishOutcome::Already(1));
    let mut other = first.clone();
    other.content_hash = [9; 32];
    assert_eq!(db.publish(&other).await.unwrap(), PublishOutcome::Immutable);
    let entries = db.catalogue_since(0, 100).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].body, first.body);
    assert_eq!(entries[0].head.content_hash, [1; 32]);
}

/// A superseded version can't be superseded again, and neither can one that does not exist.
pub async fn one_start_has_one_version_unless_it_is_superseded(s: &TestedStore) {
    let db = s.view().await;
    let publish = async |version, starts, supersedes| {
        db.publish(&plan("gold", version, starts, supersedes)).await
    };
    let published = PublishOutcome::Published;
    assert_eq!(publish(1, "2199-01-01", None).await.unwrap(), published(1));
    let same = PublishOutcome::SameStart;
    assert_eq!(publish(2, "2199-01-01", None).await.unwrap(), same(1));
    assert_eq!(publish(2, "2199-01-01", Some(1)).await.unwrap(), published(2));
    assert_eq!(publish(3, "2199-01-01", Some(1)).await.unwrap(), same(2));
    assert_eq!(publish(3, "2199-02-01", None).await.unwrap(), published(3));
    let wrong = publish(4, "2199-03-01", Some(1)).await;
    assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
    let other_plan = db.publish(&plan("silver", 1, "2199-01-01", None)).await.unwrap();
    assert_eq!(other_plan, published(4));
}

/// A reader sees versions 1 to n without gaps at any time. Of two publications with the same start,
/// one is accepted.
pub async fn publishers_at_once_make_a_catalogue_without_gaps(s: &TestedStore) {
    let mut publishers = Vec::new();
    for n in 0..4u32 {
        let view = s.view().await;
        publishers.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for version in 1..=5u32 {
                let own = plan(&format!("p{n}"), version, &format!("2199-0{version}-01"), None);
                made.push(view.publish(&own).await.unwrap());
                let rival = plan("shared", n * 10 + version, &format!("2199-0{version}-01"), None);
                let outcome = view.publish(&rival).await.unwrap();
                if matches!(outcome, PublishOutcome::Published(_)) {
                    made.push(outcome);
                }
            }
            made
        }));
    }
    let reader = s.view().await;
    while !publishers.iter().all(tokio::task::JoinHandle::is_finished) {
        is_whole(&*reader).await;
        tokio::task::yield_now().await;
    }
    let mut made = Vec::new();
    for publisher in publishers {
        for outcome in publisher.await.unwrap() {
            match outcome {
                PublishOutcome::Published(version) => made.push(version),
                other => panic!("{other:?}"),
            }
        }
    }
    made.sort_unstable();
    assert_eq!(made, (1..=25).collect::<Vec<u64>>());
    assert_eq!(is_whole(&*reader).await, 25);
}

async fn is_whole(db: &dyn SharedDatabase) -> u64 {
    let entries = db.catalogue_since(0, 100).await.unwrap();
    let versions = entries.iter().map(|entry| entry.head.catalogue_version);
    assert!(versions.eq(1..=entries.len() as u64), "a gap in the catalogue");
    entries.len() as u64
}

/// Every heartbeat returns the catalogue's version.
pub async fn a_publication_is_seen_by_heartbeat_observation_and_reader(s: &TestedStore) {
    let (db, other) = (s.view().await, s.view().await);
    let beat = NodeBeat {
        node: NodeName("a".to_owned()),
        incarnation: Incarnation(1),
        counter: 1,
        address: String::new(),
        draining: false,
        serving: Vec::new(),
        following: Vec::new(),
    };
    assert_eq!(other.heartbeat(&beat).await.unwrap().catalogue_version, 0);
    for version in 1..=3 {
        let published = plan("gold", version, &format!("2199-0{version}-01"), None);
        db.publish(&published).await.unwrap();
        let beat = NodeBeat { counter: u64::from(version) + 1, ..beat.clone() };
        let reply = other.heartbeat(&beat).await.unwrap();
        assert_eq!(reply.catalogue_version, u64::from(version));
    }
    assert_eq!(other.observe().await.unwrap().catalogue_version, 3);
    let news: Vec<u32> = other
        .catalogue_since(1, 100)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.head.version)
        .collect();
    assert_eq!(news, [2, 3]);
}

/// Each kind has its own ids, versions and starts; the catalogue's version counts both kinds.
pub async fn plans_and_tables_share_nothing_but_the_catalogue_version(s: &TestedStore) {
    let db = s.view().await;
    let both = [plan("gold", 1, "2199-01-01", None), table("gold", 1, "2199-01-01")];
    for (published, at) in both.iter().zip(1..) {
        let outcome = db.publish(published).await.unwrap();
        assert_eq!(outcome, PublishOutcome::Published(at));
    }
    let entries = s.view().await.catalogue_since(0, 10).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| entry.head.kind).collect();
    assert_eq!(kinds, [CatalogueKind::Plan, CatalogueKind::Table]);
    let (head, told) = (&entries[1].head, &both[1]);
    assert_eq!((&entries[1].body, &head.id), (&told.body, &told.id));
    assert_eq!((head.form.as_str(), head.rows), ("prefix", 1));
    assert_eq!(head.bytes, told.body.len() as u64, "the size in bytes, not in characters");
    let again = db.publish(&both[1]).await.unwrap();
    assert_eq!(again, PublishOutcome::Already(2));
}

/// P36: records that start after a past date were already rated by another version, so only a first
/// version may start in the past.
pub async fn a_further_version_never_starts_in_the_past(s: &TestedStore) {
    let db = s.view().await;
    for kind in [CatalogueKind::Plan, CatalogueKind::Table] {
        let publish = async |version, starts: &str| {
            let asked = Publish { kind, ..plan("gold", version, starts, None) };
            db.publish(&asked).await.unwrap()
        };
        assert!(matches!(publish(1, "2001-01-01").await, PublishOutcome::Published(_)));
        assert!(matches!(publish(2, "2199-01-01").await, PublishOutcome::Published(_)));
        let before = publish(3, "2000-01-01").await;
        assert!(matches!(before, PublishOutcome::Backdated { in_force: None, .. }), "{before:?}");
        let PublishOutcome::Backdated { earliest, in_force: Some(1) } =
            publish(3, "2002-01-01").await
        else {
            panic!("{kind} version 3 starts in the past");
        };
        assert!(matches!(publish(1, "2001-01-01").await, PublishOutcome::Already(_)));
        assert!(matches!(publish(3, &earliest).await, PublishOutcome::Published(_)));
    }
}

/// All versions of a table have the same kind of key, because plans depend on it.
pub async fn a_table_keeps_its_kind_of_key(s: &TestedStore) {
    let db = s.view().await;
    db.publish(&table("world", 1, "2199-01-01")).await.unwrap();
    let other = Publish { form: "cidr".to_owned(), ..table("world", 2, "2199-02-01") };
    let outcome = db.publish(&other).await.unwrap();
    assert_eq!(outcome, PublishOutcome::OtherForm("prefix".to_owned()));
    let euro = |version, starts| Publish {
        form: "EUR".to_owned(),
        ..plan("world", version, starts, None)
    };
    db.publish(&plan("world", 1, "2199-01-01", None)).await.unwrap();
    let outcome = db.publish(&euro(2, "2199-02-01")).await.unwrap();
    assert_eq!(
        outcome,
        PublishOutcome::Published(3),
        "the rule is for tables, not for a plan's currency"
    );
}

/// The largest table that is allowed is returned unchanged, as the only entry of its page.
pub async fn a_page_of_the_catalogue_is_bounded_and_holds_at_least_one(s: &TestedStore) {
    let db = s.view().await;
    let large =
        Publish { body: "0123456\n".repeat(TABLE_BYTES_MAX / 8), ..table("b", 1, "2199-01-01") };
    db.publish(&table("a", 1, "2199-01-01")).await.unwrap();
    db.publish(&large).await.unwrap();
    for version in 1..=3 {
        db.publish(&table("c", version, &format!("2199-0{version}-01"))).await.unwrap();
    }
    let other = s.view().await;
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let page = other.catalogue_since(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.head.catalogue_version;
        if let Some(found) = page.iter().find(|entry| entry.head.id == "b") {
            assert!(found.body == large.body, "{} bytes came back", found.body.len());
        }
        pages.push(page.iter().map(|entry| entry.head.catalogue_version).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![1], vec![2], vec![3, 4], vec![5]]);
    assert!(other.catalogue_since(0, 0).await.unwrap().is_empty());
    let larger = Publish { body: large.body.clone() + "x", ..table("d", 1, "2199-01-01") };
    let refused = db.publish(&larger).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

/// Heads are listed by kind, optionally by id, in pages.
pub async fn heads_are_listed_without_bodies(s: &TestedStore) {
    let db = s.view().await;
    for version in 1..=3 {
        let starts = format!("2199-0{version}-01");
        db.publish(&plan("gold", version, &starts, None)).await.unwrap();
        db.publish(&table("world", version, &starts)).await.unwrap();
    }
    db.publish(&table("rates", 1, "2199-01-01")).await.unwrap();
    let other = s.view().await;
    let list = async |kind, id, after| {
        let heads = other.catalogue_heads(kind, id, after).await.unwrap();
        heads.iter().map(|head| head.catalogue_version).collect::<Vec<_>>()
    };
    assert_eq!(list(CatalogueKind::Table, None, 0).await, [2, 4, 6, 7]);
    assert_eq!(list(CatalogueKind::Table, Some("world"), 0).await, [2, 4, 6]);
    assert_eq!(list(CatalogueKind::Table, Some("world"), 4).await, [6]);
    assert_eq!(list(CatalogueKind::Plan, None, 1).await, [3, 5]);
    assert!(list(CatalogueKind::Plan, Some("world"), 0).await.is_empty());
    let heads = other.catalogue_heads(CatalogueKind::Table, Some("rates"), 0).await.unwrap();
    let entries = other.catalogue_since(6, 1).await.unwrap();
    assert_eq!(heads[0], entries[0].head);
    assert_eq!(heads[0].tz_database.as_deref(), Some("2026e"));
    // An older process does not report the version of its time-zone database.
    let older = Publish { tz_database: None, ..plan("silver", 1, "2199-01-01", None) };
    db.publish(&older).await.unwrap();
    let heads = other.catalogue_heads(CatalogueKind::Plan, Some("silver"), 0).await.unwrap();
    assert_eq!(heads[0].tz_database, None);
    assert_eq!(other.catalogue_since(7, 1).await.unwrap()[0].head, heads[0]);
}

/// The totals of a kind count each id once, and the bodies of all versions.
pub async fn totals_count_the_ids_and_bytes_of_their_kind(s: &TestedStore) {
    let db = s.view().await;
    let none = db.catalogue_totals(CatalogueKind::Plan).await.unwrap();
    assert_eq!((none.ids, none.bytes), (0, 0));
    let mut bytes = 0;
    for (id, version, starts) in
        [("gold", 1, "2199-01-01"), ("gold", 2, "2199-02-01"), ("silver", 1, "2199-01-01")]
    {
        let asked = plan(id, version, starts, None);
        bytes += asked.body.len() as u64;
        db.publish(&asked).await.unwrap();
    }
    let totals = s.view().await.catalogue_totals(CatalogueKind::Plan).await.unwrap();
    assert_eq!((totals.ids, totals.bytes), (2, bytes));
    let tables = db.catalogue_totals(CatalogueKind::Table).await.unwrap();
    assert_eq!(tables.ids, 0);
}

/// There are more heads than one answer holds.
pub async fn a_long_list_of_heads_is_read_in_pages(s: &TestedStore) {
    let db = s.view().await;
    let count = CATALOGUE_HEADS_MAX + 1;
    for n in 1..=count {
        db.publish(&plan(&format!("p{n}"), 1, "2199-01-01", None)).await.unwrap();
    }
    let first = db.catalogue_heads(CatalogueKind::Plan, None, 0).await.unwrap();
    assert_eq!(first.len(), CATALOGUE_HEADS_MAX);
    let last = first[CATALOGUE_HEADS_MAX - 1].catalogue_version;
    let rest = db.catalogue_heads(CatalogueKind::Plan, None, last).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].id, format!("p{count}"));
}
