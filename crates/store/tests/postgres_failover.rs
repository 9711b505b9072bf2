//! The PostgreSQL implementation during failovers of the server: standbys at the address of a
//! former primary, and commits that are visible on the primary but may not be replicated.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, query, query_as};
use turnpike_harness::postgres::{PostgresServer, PostgresSettings};
use turnpike_store::{AppendOutcome, OpenOptions, SharedDatabase, StoreResult};
use turnpike_store_conformance::{Dice, TestOwner, check_chain, read_all, spec};
use turnpike_types::{PartitionId, SegmentNumber};

async fn open(url: &str) -> StoreResult<Arc<dyn SharedDatabase>> {
    turnpike_store::open(url, &OpenOptions::default()).await
}

async fn raw(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

fn server() -> (PostgresServer, String) {
    let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
    let server = PostgresServer::start_with(settings).unwrap();
    let url = server.tcp_url("postgres").unwrap();
    (server, url)
}

/// Crashes the server and restarts it as a standby, which answers reads.
fn demote(server: &mut PostgresServer) {
    let signal = "DO $$ BEGIN EXECUTE format('COPY (SELECT) TO %L', \
         current_setting('data_directory') || '/standby.signal'); END $$";
    server.psql(signal).unwrap();
    server.restart().unwrap();
}

#[tokio::test]
async fn a_primary_that_came_back_as_a_standby_is_not_read_from() {
    let (mut server, url) = server();
    let db = open(&url).await.unwrap();
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(1);
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.append(&*db, "x", &mut dice).await.unwrap();
    demote(&mut server);
    for _ in 0..3 {
        let stale = db.observe().await.unwrap_err();
        assert!(stale.is_unknown(), "{stale:?}");
        let stale = db.read_segments(PartitionId(1), SegmentNumber(0), 1_000).await.unwrap_err();
        assert!(stale.is_unknown(), "{stale:?}");
        let refused = owner.append(&*db, "x", &mut dice).await.unwrap_err();
        assert!(refused.is_unknown(), "{refused:?}");
    }
    let closed = open(&url).await.err().unwrap();
    assert!(closed.is_unknown() && closed.to_string().contains("primary"), "{closed:?}");

    server.psql("SELECT pg_promote()").unwrap();
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    assert_eq!(check_chain(&read_all(&*db, 1).await), owner.position);
}

#[tokio::test]
async fn of_several_servers_the_one_that_takes_writes_is_used() {
    let (mut standby, _) = server();
    demote(&mut standby);
    let (primary, _) = server();
    let (standby, primary) = (standby.port().unwrap(), primary.port().unwrap());
    // Port 1 is the address of a server that is down.
    for hosts in [
        format!("127.0.0.1:{standby},127.0.0.1:{primary},127.0.0.1:1"),
        format!("127.0.0.1:1,127.0.0.1:{primary},127.0.0.1:{standby}"),
    ] {
        let url = format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write");
        let db = open(&url).await.unwrap();
        db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    }
    let none = format!("postgres://postgres@127.0.0.1:1,127.0.0.1:{standby}/postgres");
    let none = open(&none).await.err().unwrap();
    assert!(none.is_unknown() && none.to_string().contains("primary"), "{none:?}");
}

/// P2, P19: a commit that did not wait for the standby may be lost with the primary.
#[tokio::test]
async fn a_cancelled_wait_for_a_standby_is_an_unknown_outcome() {
    let (server, url) = server();
    let db = open(&url).await.unwrap();
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(2);
    let owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let set = |names: &str| {
        server.psql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).unwrap();
        server.psql("SELECT pg_reload_conf()").unwrap();
    };
    set("nobody");

    let append = owner.next_append(vec![0; 1000].into(), &mut dice);
    let appending = {
        let (db, append) = (Arc::clone(&db), append.clone());
        tokio::spawn(async move { db.append(&append).await })
    };
    cancel_commits_waiting_for_the_standby(&url).await;
    let unknown = appending.await.unwrap().unwrap_err();
    assert!(unknown.is_unknown(), "{unknown:?}");

    let claiming = {
        let (db, seen) = (Arc::clone(&db), owner.epoch);
        tokio::spawn(async move {
            TestOwner::try_claim(&*db, 1, seen, "a", &mut Dice(3))
                .await
                .map(|claimed| claimed.is_some())
        })
    };
    cancel_commits_waiting_for_the_standby(&url).await;
    let unknown = claiming.await.unwrap().unwrap_err();
    assert!(unknown.is_unknown(), "the outcome of such a claim is unknown: {unknown:?}");

    set("");
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let tail = read_all(&*db, 1).await;
    assert!(tail.iter().any(|row| row.hash == append.hash), "the primary has kept the append");
    assert_eq!(check_chain(&tail), owner.position);
    let next = owner.append(&*db, "next", &mut dice).await.unwrap();
    assert_eq!(next, AppendOutcome::Committed);
}

async fn cancel_commits_waiting_for_the_standby(url: &str) {
    const CANCEL: &str = "SELECT pid, pg_cancel_backend(pid) FROM pg_stat_activity \
         WHERE wait_event = 'SyncRep' AND application_name = 'turnpike'";
    let mut operator = raw(url).await;
    loop {
        let waiting: Vec<(i32, bool)> = query_as(CANCEL).fetch_all(&mut operator).await.unwrap();
        if !waiting.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// With a connection pooler in between, the session can continue although the server behind it no
/// longer accepts writes.
#[tokio::test]
async fn a_session_that_no_longer_accepts_writes_is_closed() {
    let (_server, url) = server();
    let db = turnpike_store::open(&url, &OpenOptions { connections_max: 6 }).await.unwrap();
    db.create_partitions(&[spec(1, 1, 10)]).await.unwrap();
    let mut dice = Dice(4);
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    owner.append(&*db, "x", &mut dice).await.unwrap();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'turnpike'";
    let mut operator = raw(&url).await;
    let set = "ALTER SYSTEM SET default_transaction_read_only = on";
    query(set).execute(&mut operator).await.unwrap();
    query("SELECT pg_reload_conf()").execute(&mut operator).await.unwrap();
    let (before,): (i64,) = query_as(sessions).fetch_one(&mut operator).await.unwrap();
    // The server's backends apply the new setting one after another.
    let refused = loop {
        match owner.append(&*db, "x", &mut dice).await {
            Err(refused) => break refused,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(refused.is_unknown(), "{refused:?}");
    let given_up = async {
        loop {
            let (now,): (i64,) = query_as(sessions).fetch_one(&mut operator).await.unwrap();
            if now < before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), given_up).await.unwrap();
}
