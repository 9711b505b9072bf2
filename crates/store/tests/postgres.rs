//! The conformance suite and further tests for the PostgreSQL implementation, on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, query, query_as};
use turnpike_harness::postgres::{PostgresServer, PostgresSettings};
use turnpike_store::{
    AccessChange, AccessForget, AccessWrite, AppendOutcome, CLAIMS_MAX, ClaimOutcome, OpenOptions,
    RevokedCertificate, SharedDatabase, StoreError,
};
use turnpike_store_conformance::{
    Dice, ResumeAppends, TestOwner, TestedStore, age_statements, check_chain, claim, read_all, spec,
};
use turnpike_types::{Epoch, Incarnation, NodeName, PartitionId, SegmentNumber, Timestamp};

async fn view(url: &str) -> Arc<dyn SharedDatabase> {
    turnpike_store::open(url, &OpenOptions::default()).await.unwrap()
}

async fn raw(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

/// A new, empty database on the shared server, and its address.
fn fresh() -> (Arc<PostgresServer>, String) {
    let server = PostgresServer::shared().unwrap();
    let url = server.create_database().unwrap();
    (server, url)
}

async fn subject() -> TestedStore {
    let (server, url) = fresh();
    let (held, aged) = (url.clone(), url.clone());
    TestedStore {
        open: Arc::new(move || {
            let (url, server) = (url.clone(), Arc::clone(&server));
            Box::pin(async move {
                let _runs = server;
                view(&url).await
            })
        }),
        hold_appends: Arc::new(move || {
            let url = held.clone();
            Box::pin(async move { hold_appends(&url).await })
        }),
        advance_clock: Arc::new(move |time| {
            let url = aged.clone();
            Box::pin(async move {
                let statements = AssertSqlSafe(age_statements(time));
                sqlx::raw_sql(statements).execute(&mut raw(&url).await).await.unwrap();
            })
        }),
    }
}

/// Makes appends stop in a trigger, after the fence has locked the partition's row and before the
/// commit, until an advisory lock is released.
async fn hold_appends(url: &str) -> ResumeAppends {
    const TRIGGER: &str = "CREATE OR REPLACE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$; \
         CREATE OR REPLACE TRIGGER held BEFORE INSERT ON segments \
         FOR EACH ROW EXECUTE FUNCTION held()";
    let mut other = raw(url).await;
    sqlx::raw_sql(TRIGGER).execute(&mut other).await.unwrap();
    query("SELECT pg_advisory_lock(1)").execute(&mut other).await.unwrap();
    Box::new(move || -> BoxFuture<'static, ()> {
        Box::pin(async move {
            query("SELECT pg_advisory_unlock(1)").execute(&mut other).await.unwrap();
        })
    })
}

turnpike_store_conformance::conformance!(subject);

/// Waits until a backend of this database waits for an event of this type. Returns its process id.
async fn until_waiting(raw: &mut PgConnection, event: &str) -> i32 {
    let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = $1 \
         AND datname = current_database() LIMIT 1";
    loop {
        let waiting = query_as(waiting).bind(event);
        let found: Option<(i32,)> = waiting.fetch_optional(&mut *raw).await.unwrap();
        if let Some((pid,)) = found {
            return pid;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_claim_ends_a_transaction_that_was_left_open_over_the_row() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut blocker = raw(&url).await;
    query("BEGIN").execute(&mut blocker).await.unwrap();
    query("UPDATE partitions SET barriers = 7").execute(&mut blocker).await.unwrap();
    let mut dice = Dice(1);
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert!(
        query("COMMIT").execute(&mut blocker).await.is_err(),
        "the claim has ended the blocker's backend"
    );
    assert_eq!(db.observe().await.unwrap().partitions[0].epoch, owner.epoch);
}

#[tokio::test]
async fn a_claim_ends_an_append_that_never_finishes() {
    let (_server, url) = fresh();
    let (db, other) = (view(&url).await, view(&url).await);
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(2);
    let old = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    const STUCK: &str = "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$; \
         CREATE TRIGGER stuck BEFORE INSERT ON segments \
         FOR EACH ROW EXECUTE FUNCTION stuck()";
    let mut operator = raw(&url).await;
    sqlx::raw_sql(STUCK).execute(&mut operator).await.unwrap();
    let append = old.next_append(vec![0; 1000].into(), &mut dice);
    let appending = tokio::spawn(async move { db.append(&append).await });
    until_waiting(&mut operator, "Timeout").await;
    let new = TestOwner::claim_now(&*other, 1, "b", &mut dice).await;
    assert_eq!(new.position, old.position, "the append is not part of the claimed position");
    let error = appending.await.unwrap().unwrap_err();
    assert!(error.is_unknown(), "{error:?}");
    assert!(read_all(&*other, 1).await.is_empty(), "the append is not in the log");
}

/// P28: without the mark no front may look identities up. It moves on while calls that take long,
/// such as checkpoints and changes of bindings, have all their connections.
#[tokio::test]
async fn p28_the_mark_of_look_ups_moves_on_while_calls_that_take_long_wait() {
    let (_server, url) = fresh();
    let options = OpenOptions { connections_max: 6 };
    let db = turnpike_store::open(&url, &options).await.unwrap();
    let mut blocker = raw(&url).await;
    query("BEGIN").execute(&mut blocker).await.unwrap();
    query("LOCK TABLE bindings IN ACCESS EXCLUSIVE MODE").execute(&mut blocker).await.unwrap();
    let look_up = {
        let db = Arc::clone(&db);
        tokio::spawn(async move { db.guide(&["user:x".to_owned()]).await })
    };
    let mut watching = raw(&url).await;
    until_waiting(&mut watching, "Lock").await;
    let before = db.bindings_mark().await.unwrap().guided_through;
    assert!(db.advance_guided_through().await.unwrap());
    assert!(db.bindings_mark().await.unwrap().guided_through > before);
    assert!(!look_up.is_finished(), "the look-up has the only connection of its kind");
    query("COMMIT").execute(&mut blocker).await.unwrap();
    look_up.await.unwrap().unwrap();
}

/// A front allows nothing when it can't read the grants for ten seconds, and refuses changes that it
/// can't record in the audit log. Neither waits behind reads of the log, however many there are.
#[tokio::test]
async fn access_control_and_the_audit_log_do_not_wait_behind_bulk_reads() {
    let (_server, url) = fresh();
    let options = OpenOptions { connections_max: 6 };
    let db = turnpike_store::open(&url, &options).await.unwrap();
    let mut blocker = raw(&url).await;
    query("BEGIN").execute(&mut blocker).await.unwrap();
    query("LOCK TABLE segments IN ACCESS EXCLUSIVE MODE").execute(&mut blocker).await.unwrap();
    let reads: Vec<_> = (0..4)
        .map(|_| {
            let db = Arc::clone(&db);
            tokio::spawn(async move { db.read_segments(PartitionId(1), SegmentNumber(0), 1).await })
        })
        .collect();
    until_waiting(&mut raw(&url).await, "Lock").await;
    let within = |limit| std::time::Duration::from_millis(limit);
    let tried = async {
        let at = db.access(None).await.unwrap().version;
        let revoked = RevokedCertificate {
            name: "00".to_owned(),
            revoked_by: "a".to_owned(),
            revoked_at: Timestamp(1),
        };
        let change = AccessChange::RevokeCertificate(revoked);
        let write = AccessWrite { at, stamp: [1; 16], change, forget: AccessForget::default() };
        assert_eq!(db.change_access(&write).await.unwrap(), Some(at.number + 1));
        db.audit_head().await.unwrap()
    };
    let head = tokio::time::timeout(within(1_500), tried).await.expect("waits behind a bulk read");
    assert_eq!(head.next, 1);
    assert!(reads.iter().all(|read| !read.is_finished()), "the reads have the only connection");
    query("COMMIT").execute(&mut blocker).await.unwrap();
}

/// P20: a call of many claims does not wait for a held row. A claim of that partition alone ends
/// the backend that holds the row.
#[tokio::test]
async fn of_many_claims_the_one_whose_row_is_held_is_busy_and_the_others_are_won() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[1, 2, 3, 4].map(|id| spec(id, u64::from(id), u64::from(id))))
        .await
        .unwrap();
    let mut dice = Dice(7);
    TestOwner::claim_now(&*db, 4, "a", &mut dice).await;
    let mut blocker = raw(&url).await;
    query("BEGIN").execute(&mut blocker).await.unwrap();
    let hold = "UPDATE partitions SET barriers = 7 WHERE id IN (2, 4)";
    query(hold).execute(&mut blocker).await.unwrap();
    let claims = [4, 3, 2, 1].map(|id| claim(id, Epoch::UNOWNED, "b", &mut dice));
    let outcomes = db.claim_many(&claims).await.unwrap();
    assert!(matches!(outcomes[1], ClaimOutcome::Won(_)), "{outcomes:?}");
    assert_eq!(outcomes[2], ClaimOutcome::Busy);
    assert!(matches!(outcomes[3], ClaimOutcome::Won(_)), "{outcomes:?}");
    assert_eq!(
        outcomes[0],
        ClaimOutcome::Lost,
        "the epoch is stale, whether or not the row is held"
    );
    assert!(db.claim(&claims[2]).await.unwrap().is_some());
    assert!(
        query("COMMIT").execute(&mut blocker).await.is_err(),
        "the claim has ended the blocker's backend"
    );
}

/// After some calls the server caches a generic plan, which does not know the number of claims. The
/// work of that plan must not grow with the square of this number.
#[tokio::test]
async fn the_most_claims_of_a_call_are_answered_in_time_by_a_plan_that_was_kept() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    const CREATE: &str = "INSERT INTO partition_specs \
         SELECT n, n * 10, n * 10 + 9, 0, NULL FROM generate_series(1, 4096) n; \
         INSERT INTO partitions (id, claim, last_hash) \
         SELECT id, decode(repeat('00', 16), 'hex'), decode(repeat('00', 32), 'hex') \
         FROM partition_specs";
    sqlx::raw_sql(CREATE).execute(&mut raw(&url).await).await.unwrap();
    let mut dice = Dice(8);
    for seen in 0..8 {
        let some: Vec<_> =
            (1..=1000).map(|id| claim(id, Epoch::stored(seen), "a", &mut dice)).collect();
        let outcomes = db.claim_many(&some).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, ClaimOutcome::Won(_))));
    }
    let seen = |id| Epoch::stored(if id <= 1000 { 8 } else { 0 });
    let most: Vec<_> = (1..=4096).map(|id| claim(id, seen(id), "b", &mut dice)).collect();
    assert_eq!(most.len(), CLAIMS_MAX);
    let outcomes = db.claim_many(&most).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, ClaimOutcome::Won(_))));
}

/// Four claimants wait behind one blocker. Only the blocker's backend is ended, and one claim wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimants_do_not_end_each_other() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut blocker = raw(&url).await;
    query("BEGIN").execute(&mut blocker).await.unwrap();
    query("UPDATE partitions SET barriers = 7").execute(&mut blocker).await.unwrap();
    let mut claims = Vec::new();
    for n in 0..4u64 {
        let view = view(&url).await;
        claims.push(tokio::spawn(async move {
            let seen = turnpike_types::Epoch::UNOWNED;
            TestOwner::try_claim(&*view, 1, seen, &format!("n{n}"), &mut Dice(n)).await
        }));
    }
    let mut won = 0;
    for claim in claims {
        won += usize::from(claim.await.unwrap().unwrap().is_some());
    }
    assert_eq!(won, 1);
}

/// P3: a statement that waited in the queue before the claim gets the row when the blocker is
/// ended. It has been in the claim's chain of blockers for the whole time, but is not ended in
/// place of the blocker: it gets the full limit for its own commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_a_claimant_that_gets_the_row_after_its_blocker_ended_has_time_to_commit() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    const UPDATE: &str = "UPDATE partitions SET barriers = barriers + 1";
    let mut blocker = raw(&url).await;
    query("BEGIN").execute(&mut blocker).await.unwrap();
    query(UPDATE).execute(&mut blocker).await.unwrap();
    // The next statement in the queue for the row, as the claim of another node would be.
    let mut next = raw(&url).await;
    query("BEGIN").execute(&mut next).await.unwrap();
    let waiting = tokio::spawn(async move {
        query(UPDATE).execute(&mut next).await.unwrap();
        next
    });
    let mut operator = raw(&url).await;
    until_waiting(&mut operator, "Lock").await;
    let claiming = tokio::spawn(async move {
        TestOwner::try_claim(&*db, 1, Epoch::UNOWNED, "a", &mut Dice(1)).await.unwrap()
    });
    let mut next = waiting.await.unwrap();
    assert!(
        query("COMMIT").execute(&mut blocker).await.is_err(),
        "the claim has ended the blocker's backend"
    );
    // `next` holds the row now. Wait until the claim has looked for its blockers since.
    const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let (got,): (i64,) = query_as(NOW).fetch_one(&mut next).await.unwrap();
    const LOOKED: &str = "SELECT count(*) FROM pg_stat_activity \
         WHERE pid <> pg_backend_pid() AND datname = current_database() AND state = 'idle' \
         AND query LIKE '-- Finds the backends that block%' \
         AND (extract(epoch FROM query_start) * 1000000)::bigint > $1";
    loop {
        let looked = query_as(LOOKED).bind(got);
        let (looked,): (i64,) = looked.fetch_one(&mut operator).await.unwrap();
        if looked > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    query("COMMIT").execute(&mut next).await.expect("its backend was ended before its commit");
    assert!(claiming.await.unwrap().is_some(), "the claim wins after that commit");
}

#[tokio::test]
async fn an_append_whose_backend_is_ended_is_unknown_and_settled_by_claim_then_read() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(3);
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    for _ in 0..3 {
        let let_go = hold_appends(&url).await;
        let append = owner.next_append(vec![0; 1000].into(), &mut dice);
        let appending = {
            let (db, append) = (Arc::clone(&db), append.clone());
            tokio::spawn(async move { db.append(&append).await })
        };
        let mut operator = raw(&url).await;
        let pid = until_waiting(&mut operator, "Lock").await;
        let end = query("SELECT pg_terminate_backend($1)").bind(pid);
        end.execute(&mut operator).await.unwrap();
        let error = appending.await.unwrap().unwrap_err();
        assert!(error.is_unknown(), "{error:?}");
        let_go().await;
        owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
        let tail = read_all(&*db, 1).await;
        assert_eq!(check_chain(&tail), owner.position);
        assert!(
            tail.iter().all(|row| row.hash != append.hash),
            "its backend was ended before the commit"
        );
        let retried = owner.append(&*db, "again", &mut dice).await.unwrap();
        assert_eq!(retried, AppendOutcome::Committed);
    }
}

/// Idle connections are found broken and replaced; no committed segment is lost.
#[tokio::test]
async fn a_restarted_server_is_found_again_with_all_that_was_committed() {
    let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
    let mut server = PostgresServer::start_with(settings).unwrap();
    let url = server.tcp_url("postgres").unwrap();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(4);
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    for _ in 0..5 {
        owner.append(&*db, "x", &mut dice).await.unwrap();
    }
    server.stop();
    let down = owner.append(&*db, "x", &mut dice).await.unwrap_err();
    assert!(down.is_unknown(), "{down:?}");
    let closed = turnpike_store::open(&url, &OpenOptions::default()).await.err().unwrap();
    assert!(matches!(closed, StoreError::Unavailable { .. }), "{closed:?}");
    server.restart().unwrap();
    let new = loop {
        // The first call may still get a broken connection.
        let seen = owner.epoch;
        if let Ok(won) = TestOwner::try_claim(&*db, 1, seen, "a", &mut dice).await {
            break won.unwrap();
        }
    };
    assert_eq!(new.position, owner.position);
    assert_eq!(check_chain(&read_all(&*db, 1).await), owner.position);
}

/// After many dropped calls no connection is left in an open transaction or with an unread answer.
#[tokio::test]
async fn dropped_calls_leave_no_connection_behind() {
    let (_server, url) = fresh();
    let db = turnpike_store::open(&url, &OpenOptions { connections_max: 6 }).await.unwrap();
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(5);
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    for n in 0..60u64 {
        let limit = Duration::from_micros(n * 20);
        let append = owner.next_append(vec![0; 100_000].into(), &mut dice);
        let _ = tokio::time::timeout(limit, db.append(&append)).await;
        let _ = tokio::time::timeout(limit, db.create_partitions(&[spec(2, 11, 20)])).await;
        let _ = tokio::time::timeout(limit, db.observe()).await;
    }
    let new = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert_eq!(check_chain(&read_all(&*db, 1).await), new.position);
    db.create_partitions(&[spec(2, 11, 20)]).await.unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let (open,): (i64,) = query_as(open).fetch_one(&mut raw(&url).await).await.unwrap();
    assert_eq!(open, 0);
}

/// Without open connections, a standby's first claim and appends would open them while clients
/// wait.
#[tokio::test]
async fn a_node_that_writes_heartbeats_has_open_connections_for_a_takeover() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut other = raw(&url).await;
    let ready = "SELECT count(*) FILTER (WHERE query LIKE '%Many claims at once%'),                         count(*) FILTER (WHERE query LIKE '%The fenced append%')                    FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'";
    let mut beat = turnpike_store::NodeBeat {
        node: NodeName("a".to_owned()),
        incarnation: Incarnation(1),
        counter: 1,
        address: String::new(),
        draining: false,
        serving: Vec::new(),
        following: Vec::new(),
    };
    loop {
        db.heartbeat(&beat).await.unwrap();
        beat.counter += 1;
        let count: (i64, i64) = query_as(ready).fetch_one(&mut other).await.unwrap();
        assert!(count.0 <= 2 && count.1 <= 4, "no more connections than wanted: {count:?}");
        if count == (2, 4) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut dice = Dice(5);
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let append = owner.next_append(Vec::new().into(), &mut dice);
    assert_eq!(db.append(&append).await.unwrap(), turnpike_store::AppendOutcome::Committed);
}

#[tokio::test]
async fn a_database_that_would_lose_commits_is_refused() {
    let settings = PostgresSettings { fsync: false, ..PostgresSettings::default() };
    let lossy = PostgresServer::start_with(settings).unwrap();
    let error =
        turnpike_store::open(&lossy.url("postgres"), &OpenOptions::default()).await.err().unwrap();
    assert!(matches!(&error, StoreError::Refused(why) if why.contains("fsync")), "{error:?}");
    let (_server, url) = fresh();
    for level in ["off", "local"] {
        let (database, _) = url.strip_prefix("postgres:///").unwrap().split_once('?').unwrap();
        let set = format!("ALTER DATABASE {database} SET synchronous_commit = {level}");
        query(AssertSqlSafe(set)).execute(&mut raw(&url).await).await.unwrap();
        let error = turnpike_store::open(&url, &OpenOptions::default()).await.err().unwrap();
        let why = error.to_string();
        assert!(matches!(error, StoreError::Refused(_)), "{why}");
        assert!(why.contains("synchronous_commit") && why.contains(level), "{why}");
    }
}

/// The later migrations keep the rows of the first schema.
#[tokio::test]
async fn a_database_of_the_first_schema_is_brought_up_to_date() {
    let (_server, url) = fresh();
    const BEFORE: &str = "CREATE TABLE schema_versions \
         (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now()); \
         INSERT INTO schema_versions VALUES (1); \
         INSERT INTO partition_specs VALUES (1, 1, 10, 5, NULL); \
         INSERT INTO members VALUES (1, 'a', 1); \
         INSERT INTO partitions (id, epoch, owner, owner_incarnation, claim, last_hash) \
         VALUES (1, 3, 'a', 9, decode(repeat('01', 16), 'hex'), decode(repeat('02', 32), 'hex')); \
         INSERT INTO nodes VALUES ('a', 9, 4, 'a:1', false, '', 77); \
         UPDATE store SET catalogue_version = 1; \
         INSERT INTO catalogue VALUES (1, 'plan', 'p', 1, '2020-01-01', \
         decode(repeat('02', 32), 'hex'), 'USD', 0, 1, 'x', 77)";
    const FIRST: &str = include_str!("../../../migrations/postgres/0001_init.sql");
    let mut operator = raw(&url).await;
    sqlx::raw_sql(FIRST).execute(&mut operator).await.unwrap();
    sqlx::raw_sql(BEFORE).execute(&mut operator).await.unwrap();
    let db = view(&url).await;
    let seen = db.observe().await.unwrap();
    let (row, node) = (&seen.partitions[0], &seen.nodes[0]);
    assert_eq!((row.epoch.number(), row.flaps, &row.pin), (3, 0, &None));
    assert_eq!((node.beat.counter, node.drain_asked), (4, false));
    assert!(node.beat.following.is_empty());
    let plans = db.catalogue_since(0, 10).await.unwrap();
    assert_eq!((plans.len(), &plans[0].head.tz_database), (1, &None));
}

#[tokio::test]
async fn an_address_that_cannot_be_used_says_what_to_do_and_hides_the_password() {
    let server = PostgresServer::shared().unwrap();
    let missing = format!("{}&password=s3cret", server.url("nowhere"));
    let nobody = server.url("postgres").replace("user=postgres", "user=nobody&password=s3cret");
    let malformed = "postgres://u:s3cret@host:notaport/db".to_owned();
    for (url, word) in [(missing, "createdb"), (nobody, "user"), (malformed, "postgres://USER")] {
        let error = turnpike_store::open(&url, &OpenOptions::default()).await.err().unwrap();
        assert!(matches!(error, StoreError::BadUrl { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let refused = "postgres://u:s3cret@127.0.0.1:1/db";
    let error = turnpike_store::open(refused, &OpenOptions::default()).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

/// Bodies are stored uncompressed, and an update of a partition's row changes no index (a HOT
/// update).
#[tokio::test]
async fn appends_neither_compress_bodies_nor_touch_the_index_of_partitions() {
    let (_server, url) = fresh();
    let db = view(&url).await;
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(6);
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    for _ in 0..50 {
        owner.append(&*db, vec![0; 10_000], &mut dice).await.unwrap();
    }
    let mut raw = raw(&url).await;
    let stored = "SELECT min(pg_column_size(body))::bigint FROM segments";
    let (stored,): (i64,) = query_as(stored).fetch_one(&mut raw).await.unwrap();
    assert_eq!(stored, 10_000);
    drop(db);
    let updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
         WHERE relname = 'partitions'";
    loop {
        let (all, hot): (i64, i64) = query_as(updates).fetch_one(&mut raw).await.unwrap();
        if all >= 51 {
            // The snapshot of another session may delay the pruning of a page for a moment.
            assert!(hot + 2 >= all, "{hot} of {all} updates stayed on their page");
            return;
        }
        // Statistics are visible only after the backends have reported them.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Bindings of the second schema are found by their canonical spelling after the third migration.
/// Bindings that a process of that release adds later are found too.
#[tokio::test]
async fn bindings_of_an_older_release_are_found_by_their_canonical_spelling() {
    let (_server, url) = fresh();
    const BEFORE: &str = "CREATE TABLE schema_versions \
         (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now()); \
         INSERT INTO schema_versions VALUES (1), (2); \
         INSERT INTO bindings VALUES ('ip:2001:DB8:0:0::77', 1, 0, 100); \
         INSERT INTO bindings VALUES ('ip:not-an-address', 2, 0, 100); \
         INSERT INTO bindings VALUES ('ip:198.51.100.8/29', 3, 0, 100)";
    let schema = concat!(
        include_str!("../../../migrations/postgres/0001_init.sql"),
        include_str!("../../../migrations/postgres/0002_takeover.sql")
    );
    let mut operator = raw(&url).await;
    sqlx::raw_sql(schema).execute(&mut operator).await.unwrap();
    sqlx::raw_sql(BEFORE).execute(&mut operator).await.unwrap();
    let db = view(&url).await;
    turnpike_store_conformance::identities::bindings::bindings_of_an_older_release_are_found(&*db)
        .await;
    const LATER: &str = "INSERT INTO bindings (identity, account, from_us, until_us) VALUES \
         ('user:later', 4, 0, 100), ('ip:2001:DB8::88', 5, 0, 100)";
    sqlx::raw_sql(LATER).execute(&mut operator).await.unwrap();
    turnpike_store_conformance::identities::bindings::bindings_of_an_older_process_are_found(&*db)
        .await;
}
