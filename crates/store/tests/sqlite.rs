//! The conformance suite and further tests for the SQLite implementation.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, query, query_as, raw_sql};
use turnpike_store::sqlite::{SqliteDatabase, SqliteOptions};
use turnpike_store::{
    AppendOutcome, CatalogueStore as _, OpenOptions, OwnershipStore as _, StoreError,
    TopologyStore as _,
};
use turnpike_store_conformance::{
    Dice, ResumeAppends, TestOwner, TestedStore, age_statements, check_chain, read_all, spec,
};

async fn raw(path: &PathBuf) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(std::time::Duration::from_secs(20))
        .connect()
        .await
        .unwrap()
}

/// Views are opened by address, as a process opens the file. Appends are stopped by another
/// connection that holds the write lock.
async fn subject() -> TestedStore {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let path = dir.path().join("turnpike.sqlite");
    let url = format!("sqlite:{}", path.display());
    let aged = path.clone();
    TestedStore {
        open: Arc::new(move || {
            let (url, dir) = (url.clone(), Arc::clone(&dir));
            Box::pin(async move {
                let _kept_while_opening = dir;
                turnpike_store::open(&url, &OpenOptions::default()).await.unwrap()
            })
        }),
        hold_appends: Arc::new(move || {
            let path = path.clone();
            Box::pin(async move {
                let mut other = raw(&path).await;
                query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
                Box::new(move || -> futures::future::BoxFuture<'static, ()> {
                    Box::pin(async move {
                        query("COMMIT").execute(&mut other).await.unwrap();
                    })
                }) as ResumeAppends
            })
        }),
        advance_clock: Arc::new(move |time| {
            let path = aged.clone();
            Box::pin(async move {
                let statements = age_statements(time);
                raw_sql(AssertSqlSafe(statements)).execute(&mut raw(&path).await).await.unwrap();
            })
        }),
    }
}

turnpike_store_conformance::conformance!(subject);

#[tokio::test]
async fn a_full_disk_is_reported_as_full_and_service_continues_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.sqlite");
    let small = SqliteOptions { pages_max: Some(200), ..SqliteOptions::default() };
    let db = SqliteDatabase::open(&path, &small).await.unwrap();
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(1);
    let mut owner = TestOwner::claim_now(&db, 1, "a", &mut dice).await;
    let error = loop {
        match owner.append(&db, vec![7; 60_000], &mut dice).await {
            Ok(outcome) => assert_eq!(outcome, AppendOutcome::Committed),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.is_transient() && !error.is_unknown());
    assert_eq!(
        check_chain(&read_all(&db, 1).await),
        owner.position,
        "the failed append is not in the log"
    );
    // Small writes still succeed, and the same owner appends again once the quota allows it.
    assert!(db.barrier(&owner.held()).await.unwrap());
    let roomy = SqliteDatabase::open(&path, &SqliteOptions::default()).await.unwrap();
    let outcome = owner.append(&roomy, vec![7; 60_000], &mut dice).await.unwrap();
    assert_eq!(outcome, AppendOutcome::Committed);
}

#[tokio::test]
async fn a_lock_that_is_never_released_makes_writes_unavailable_and_reads_continue() {
    let s = subject().await;
    let db = s.with_partition().await;
    let let_go = (s.hold_appends)().await;
    let mut dice = Dice(2);
    let blocked = TestOwner::try_claim(&*db, 1, Default::default(), "a", &mut dice).await;
    assert!(blocked.unwrap_err().is_unknown());
    assert_eq!(db.observe().await.unwrap().partitions.len(), 1);
    let_go().await;
    let won = TestOwner::try_claim(&*db, 1, Default::default(), "a", &mut dice).await.unwrap();
    assert!(won.is_some());
}

#[tokio::test]
async fn the_file_keeps_its_promises_explicitly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sqlite");
    let url = format!("sqlite:{}", path.display());
    let db = turnpike_store::open(&url, &OpenOptions::default()).await.unwrap();
    let first = db.incarnation().await.unwrap();
    drop(db);
    let mut other = raw(&path).await;
    let (mode,): (String,) = query_as("PRAGMA journal_mode").fetch_one(&mut other).await.unwrap();
    assert_eq!(mode, "wal");
    let again = turnpike_store::open(&url, &OpenOptions::default()).await.unwrap();
    assert_eq!(again.incarnation().await.unwrap(), first);
    query("PRAGMA user_version = 99").execute(&mut other).await.unwrap();
    let newer = turnpike_store::open(&url, &OpenOptions::default()).await.err().unwrap();
    assert!(matches!(newer, StoreError::Refused(_)), "{newer}");
}

/// The later migrations keep the rows of the first schema.
#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.sqlite");
    const BEFORE: &str = "PRAGMA user_version = 1; \
         INSERT INTO partition_specs VALUES (1, 1, 10, 5, NULL); \
         INSERT INTO members VALUES (1, 'a', 1); \
         INSERT INTO partitions (id, epoch, owner, owner_incarnation, claim, last_hash) \
         VALUES (1, 3, 'a', 9, zeroblob(16), zeroblob(32)); \
         INSERT INTO nodes VALUES ('a', 9, 4, 'a:1', 0, x'', 77); \
         UPDATE store SET catalogue_version = 1; \
         INSERT INTO catalogue VALUES \
         (1, 'plan', 'p', 1, '2020-01-01', zeroblob(32), 'USD', 0, 1, 77, 'x')";
    const FIRST: &str = include_str!("../../../migrations/sqlite/0001_init.sql");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut operator = options.connect().await.unwrap();
    raw_sql(FIRST).execute(&mut operator).await.unwrap();
    raw_sql(BEFORE).execute(&mut operator).await.unwrap();
    let db = SqliteDatabase::open(&path, &SqliteOptions::default()).await.unwrap();
    let seen = db.observe().await.unwrap();
    let (row, node) = (&seen.partitions[0], &seen.nodes[0]);
    assert_eq!((row.epoch.number(), row.flaps, &row.pin), (3, 0, &None));
    assert_eq!((node.beat.counter, node.drain_asked), (4, false));
    assert!(node.beat.following.is_empty());
    let plans = db.catalogue_since(0, 10).await.unwrap();
    assert_eq!((plans.len(), &plans[0].head.tz_database), (1, &None));
}

/// A count of flaps decides how long a claim waits. A wrong row must not count as a calm partition,
/// or as one that flapped for ever.
#[tokio::test]
async fn a_count_of_flaps_that_is_none_is_reported_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turnpike.sqlite");
    let db = SqliteDatabase::open(&path, &SqliteOptions::default()).await.unwrap();
    db.create_partitions(&[spec(7, 1, 10)]).await.unwrap();
    assert_eq!(db.observe().await.unwrap().partitions[0].flaps, 0);
    query("UPDATE partitions SET flaps = -3").execute(&mut raw(&path).await).await.unwrap();
    let error = db.observe().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("partition 7 has -3 flaps"), "{error}");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_says_what_to_write() {
    for (url, word) in [
        ("sqlite:", "sqlite:PATH"),
        ("sqlite::memory:", "memory:"),
        ("sqlite:/no/such/dir/x", "create the directory"),
        ("sqlite:x?mode=ro", "pages-max=N"),
        ("sqlite:x?pages-max=many", "pages-max=N"),
        ("mysql://u:secret@h/db", "postgres://"),
    ] {
        let error = turnpike_store::open(url, &OpenOptions::default()).await.err().unwrap();
        assert!(matches!(error, StoreError::BadUrl { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letter.txt");
    std::fs::write(&path, "Dear all, this is a letter and no database. ".repeat(50)).unwrap();
    let url = format!("sqlite:{}", path.display());
    let error = turnpike_store::open(&url, &OpenOptions::default()).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("Dear all"));
}

/// Bindings of the second schema are found by their canonical spelling after the third migration.
/// Bindings that a process of that release adds later are found too.
#[tokio::test]
async fn bindings_of_an_older_release_are_found_by_their_canonical_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.sqlite");
    const BEFORE: &str = "PRAGMA user_version = 2; \
         INSERT INTO bindings VALUES ('ip:2001:DB8:0:0::77', 1, 0, 100); \
         INSERT INTO bindings VALUES ('ip:not-an-address', 2, 0, 100); \
         INSERT INTO bindings VALUES ('ip:198.51.100.8/29', 3, 0, 100)";
    let schema = concat!(
        include_str!("../../../migrations/sqlite/0001_init.sql"),
        include_str!("../../../migrations/sqlite/0002_takeover.sql")
    );
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut operator = options.connect().await.unwrap();
    raw_sql(schema).execute(&mut operator).await.unwrap();
    raw_sql(BEFORE).execute(&mut operator).await.unwrap();
    let db = SqliteDatabase::open(&path, &SqliteOptions::default()).await.unwrap();
    turnpike_store_conformance::identities::bindings::bindings_of_an_older_release_are_found(&db)
        .await;
    const LATER: &str = "INSERT INTO bindings (identity, account, from_us, until_us) VALUES \
         ('user:later', 4, 0, 100), ('ip:2001:DB8::88', 5, 0, 100)";
    raw_sql(LATER).execute(&mut operator).await.unwrap();
    turnpike_store_conformance::identities::bindings::bindings_of_an_older_process_are_found(&db)
        .await;
}
