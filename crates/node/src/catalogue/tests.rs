use std::sync::Arc;

use turnpike_plan::Zone;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{CatalogueStore as _, Publish};
use turnpike_types::Timestamp;

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
        tz_database: None,
    };
    let outcome = db.publish(&publish).await.unwrap();
    assert!(matches!(outcome, turnpike_store::PublishOutcome::Published(_)), "{outcome:?}");
}

/// Publishes a plan that reads the table; `$id` stands for a parameter.
async fn publish_plan(db: &MemoryDatabase, id: &str, table: &str) {
    let xml = format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2020-01-01" currency="USD">
  <parameter id="which" type="text" value="world"/>
  <graph>
    <E164DialPlanRater id="dial" in="record.duration" table="{table}" country-code="44" international-prefix="00"/>
    <AccountFinalizer id="post" in="dial.charge"/>
  </graph>
</plan>"#
    );
    let plan = turnpike_plan::parse(&xml).unwrap();
    let publish = Publish {
        kind: CatalogueKind::Plan,
        id: plan.id().to_owned(),
        version: 1,
        starts: "2020-01-01".to_owned(),
        supersedes: None,
        content_hash: plan.content_hash(),
        form: "USD".to_owned(),
        rows: 0,
        body: xml,
        tz_database: None,
    };
    db.publish(&publish).await.unwrap();
}

/// Four unused tables of a million rows took 1.2 GB of every node for good.
#[tokio::test]
async fn a_table_is_read_when_a_plan_may_read_it_and_not_before() {
    let db = MemoryDatabase::new();
    publish(&db, "world", 1, "2020-01-01", ROWS).await;
    publish(&db, "world", 2, "2197-01-01", ROWS).await;
    publish(&db, "moon", 1, "2020-01-01", ROWS).await;
    let unused = refreshed(&Catalogue::default(), &db).await.unwrap();
    assert_eq!((unused.version(), unused.lacks().len()), (3, 0));
    assert!(!unused.is_table_used("world") && !unused.is_table_used("moon"));
    publish_plan(&db, "calls", "world").await;
    publish(&db, "moon", 2, "2197-01-01", ROWS).await;
    publish(&db, "world", 3, "2198-01-01", ROWS).await;
    let used = refreshed(&unused, &db).await.unwrap();
    let version = |catalogue: &Catalogue, id: &str, instant: &str| {
        catalogue.table(id, &Zone::utc(), at(instant)).content.map(|table| table.version())
    };
    for (year, number) in [("2020", 1), ("2197", 2), ("2198", 3)] {
        let instant = format!("{year}-06-01T00:00:00Z");
        assert_eq!(version(&used, "world", &instant), Some(number), "also a version of before");
    }
    assert!(!used.is_table_used("moon"), "which no plan reads");
    // A subscription may name any table as the value of the parameter.
    publish_plan(&db, "any", "$which").await;
    let any = refreshed(&used, &db).await.unwrap();
    assert_eq!(version(&any, "moon", "2020-06-01T00:00:00Z"), Some(1));
    assert_eq!(version(&any, "moon", "2197-06-01T00:00:00Z"), Some(2));
    assert!(any.lacks().is_empty());
}

fn at(instant: &str) -> Timestamp {
    Timestamp(instant.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

#[tokio::test]
async fn a_version_of_a_table_is_in_force_from_its_date_in_the_accounts_zone() {
    let db = MemoryDatabase::new();
    publish_plan(&db, "calls", "$which").await;
    publish(&db, "world", 1, "2020-01-01", ROWS).await;
    publish(&db, "world", 2, "2199-02-01", ROWS).await;
    let catalogue = refreshed(&Catalogue::default(), &db).await.unwrap();
    let zone = Zone::parse("America/New_York").unwrap();
    let in_force = |instant: &str| {
        catalogue.table("world", &zone, at(instant)).content.map(|table| table.version())
    };
    assert_eq!(in_force("2020-01-01T04:59:59Z"), None);
    assert_eq!(in_force("2020-01-01T05:00:00Z"), Some(1));
    assert_eq!(in_force("2199-02-01T04:59:59Z"), Some(1));
    assert_eq!(in_force("2199-02-01T05:00:00Z"), Some(2));
    let starts = [at("2020-01-01T05:00:00Z"), at("2199-02-01T05:00:00Z")].map(Some);
    let interval = |instant: &str| {
        let found = catalogue.table("world", &zone, at(instant));
        [found.from, found.until]
    };
    assert_eq!(interval("2020-01-01T04:59:59Z"), [None, starts[0]]);
    assert_eq!(interval("2020-01-01T05:00:00Z"), starts);
    assert_eq!(interval("2199-02-01T05:00:00Z"), [starts[1], None]);
    assert!(catalogue.table("moon", &zone, at("2020-01-01T05:00:00Z")).content.is_none());
}

/// P36: a catalogue version covers all that was published up to it.
#[tokio::test]
async fn a_refresh_reads_all_pages_and_shares_what_was_read_before() {
    let db = MemoryDatabase::new();
    publish_plan(&db, "calls", "$which").await;
    publish(&db, "t0", 1, "2020-01-01", ROWS).await;
    let old = refreshed(&Catalogue::default(), &db).await.unwrap();
    let count = 2 * PAGE_ENTRIES_MAX + 1;
    for n in 1..count {
        publish(&db, &format!("t{n}"), 1, "2020-01-01", ROWS).await;
    }
    let new = refreshed(&old, &db).await.unwrap();
    let table = |catalogue: &Catalogue, n: usize| {
        let found = catalogue.table(&format!("t{n}"), &Zone::utc(), at("2020-01-01T00:00:00Z"));
        found.content.cloned()
    };
    let known = (0..2 * count).filter(|&n| table(&new, n).is_some()).count();
    assert_eq!((new.version(), known), (1 + count as u64, count));
    let (old, new) = (table(&old, 0).unwrap(), table(&new, 0).unwrap());
    assert!(Arc::ptr_eq(&old, &new), "it is not read again");
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_in_force_without_content() {
    let db = MemoryDatabase::new();
    publish_plan(&db, "calls", "$which").await;
    publish(&db, "world", 1, "2020-01-01", ROWS).await;
    publish(&db, "world", 2, "2199-01-01", "columns,of,the,future\n").await;
    let catalogue = refreshed(&Catalogue::default(), &db).await.unwrap();
    let zone = Zone::parse("UTC").unwrap();
    let in_force = |instant| catalogue.table("world", &zone, at(instant)).content;
    assert!(in_force("2198-12-31T23:59:59Z").is_some());
    assert!(in_force("2199-01-01T00:00:00Z").is_none(), "not the one before it");
}

/// Each version of the time-zone database other than the one of this program is reported once,
/// however many plan versions were published with it.
#[tokio::test]
async fn a_version_published_with_another_time_zone_database_is_noticed_once() {
    let db = MemoryDatabase::new();
    let own = turnpike_plan::tz_database_version();
    for (version, tz_database) in
        [(1, Some("1999a")), (2, Some(own)), (3, None), (4, Some("1999a")), (5, Some("1999b"))]
    {
        let starts = format!("2199-0{version}-01");
        let head = format!("id=world kind=dial-plan version={version} starts={starts}");
        let publish = Publish {
            kind: CatalogueKind::Table,
            id: "world".to_owned(),
            version,
            starts,
            supersedes: None,
            content_hash: [0; 32],
            form: "dial-plan".to_owned(),
            rows: 1,
            body: format!("# turnpike-table {head}\n{ROWS}"),
            tz_database: tz_database.map(str::to_owned),
        };
        db.publish(&publish).await.unwrap();
    }
    let catalogue = refreshed(&Catalogue::default(), &db).await.unwrap();
    let told: Vec<&str> = catalogue.foreign_tz_databases().collect();
    assert_eq!(told, ["1999a", "1999b"]);
    let again = refreshed(&catalogue, &db).await.unwrap();
    assert_eq!(again.foreign_tz_databases().count(), 2);
}

/// The catalogue records the version of the time-zone database since the release that checks
/// telephone numbers by country.
#[tokio::test]
async fn a_version_of_an_earlier_release_reads_numbers_as_that_release_did() {
    let db = MemoryDatabase::new();
    let own = turnpike_plan::tz_database_version();
    for (version, tz_database) in [(1, None), (2, Some(own)), (3, Some("1999a"))] {
        let starts = format!("2199-0{version}-01");
        let xml = format!(
            r#"<plan xmlns="urn:turnpike:plan:1" id="fees" version="{version}" starts="{starts}" currency="USD">
  <graph>
    <OneTimeCharge id="fee" amount="1"/>
    <AccountFinalizer id="post" in="fee.charge"/>
  </graph>
</plan>"#
        );
        let plan = turnpike_plan::parse(&xml).unwrap();
        let publish = Publish {
            kind: CatalogueKind::Plan,
            id: plan.id().to_owned(),
            version,
            starts,
            supersedes: None,
            content_hash: plan.content_hash(),
            form: "USD".to_owned(),
            rows: 0,
            body: xml,
            tz_database: tz_database.map(str::to_owned),
        };
        db.publish(&publish).await.unwrap();
    }
    let catalogue = refreshed(&Catalogue::default(), &db).await.unwrap();
    let earlier: Vec<(u32, bool)> =
        catalogue.plans().map(|plan| (plan.version(), plan.has_unchecked_numbers())).collect();
    assert_eq!(earlier, [(1, true), (2, false), (3, false)]);
}
