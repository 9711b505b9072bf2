//! The roles of cluster/postgres/roles.sql on a real server, TLS, and a real PgBouncer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, raw_sql};
use turnpike_harness::postgres::{PostgresServer, PostgresSettings};
use turnpike_store::{
    AccessChange, AccessForget, AccessWrite, AppendOutcome, AuditAppend, AuditAppended, AuditHash,
    AuditRow, CursorAck, OpenOptions, RevokedCertificate, SharedDatabase, StoreError,
};
use turnpike_store_conformance::{Dice, TestOwner, spec};
use turnpike_types::{NodeName, Timestamp};

const ROLES: &str = include_str!("../../../cluster/postgres/roles.sql");

async fn raw(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

async fn run(url: &str, sql: &str) -> Result<(), String> {
    let done = raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut raw(url).await).await;
    done.map(drop).map_err(|error| error.to_string())
}

async fn open(url: &str) -> Result<Arc<dyn SharedDatabase>, StoreError> {
    turnpike_store::open(url, &OpenOptions::default()).await
}

/// A database with the roles, migrated by the role for it, and the address of each role.
async fn separated() -> (Arc<PostgresServer>, impl Fn(&str) -> String) {
    let server = PostgresServer::shared().unwrap();
    let url = server.create_database().unwrap();
    run(&url, ROLES).await.unwrap();
    run(&url, ROLES).await.expect("running it again changes nothing");
    let of = move |role: &str| url.replace("user=postgres", &format!("user={role}"));
    let early = open(&of("turnpike_node")).await.err().unwrap().to_string();
    assert!(early.contains("turnpike database migrate"), "{early}");
    turnpike_store::postgres::migrate(&of("turnpike_migrate")).await.unwrap();
    (server, of)
}

async fn denied(url: &str, statements: &[&str]) {
    for sql in statements {
        let told = run(url, sql).await.expect_err(sql);
        let is_denied = told.contains("permission denied") || told.contains("must be owner");
        assert!(is_denied, "{sql}: {told}");
    }
}

#[tokio::test]
async fn each_role_does_its_work_and_no_other() {
    let (_server, of) = separated().await;
    let [migrate, node, front, feed, trim] =
        ["migrate", "node", "front", "feed", "trim"].map(|role| of(&format!("turnpike_{role}")));
    let operator = open(&migrate).await.unwrap();
    operator.create_partitions(&[spec(1, 1, 1000)]).await.unwrap();

    let db = open(&node).await.unwrap();
    let mut dice = Dice(1);
    let mut owner = TestOwner::claim_now(&*db, 1, "a", &mut dice).await;
    let appended = owner.append(&*db, vec![7; 100], &mut dice).await.unwrap();
    assert_eq!(appended, AppendOutcome::Committed);
    assert!(db.barrier(&owner.held()).await.unwrap());
    db.guide(&["user:x".to_owned()]).await.unwrap();
    assert!(db.access(None).await.unwrap().tables.unwrap().revoked.is_empty());
    denied(
        &node,
        &[
            "UPDATE access_state SET version = 7",
            "INSERT INTO access_grants SELECT * FROM access_grants",
            "INSERT INTO access_revoked_certificates VALUES ('00', 'a', 1)",
            "DELETE FROM access_revoked_certificates",
            "UPDATE segments SET body = ''",
            "DELETE FROM segments",
            "TRUNCATE segments",
            "INSERT INTO catalogue SELECT * FROM catalogue",
            "UPDATE cursors SET segment = 1",
            "UPDATE audit SET body = ''",
            "DELETE FROM audit",
            "DELETE FROM bindings",
            "CREATE TABLE more ()",
            "DROP TABLE pins",
        ],
    )
    .await;

    let db = open(&front).await.unwrap();
    db.guide(&["user:x".to_owned()]).await.unwrap();
    assert!(db.advance_guided_through().await.unwrap());
    db.set_drained(&NodeName("a".to_owned()), true).await.unwrap();
    let revoked = RevokedCertificate {
        name: "00".to_owned(),
        revoked_by: "a".to_owned(),
        revoked_at: Timestamp(1),
    };
    for change in [
        AccessChange::RevokeCertificate(revoked),
        AccessChange::RestoreCertificate("00".to_owned()),
    ] {
        let at = db.access(None).await.unwrap().version;
        let write = AccessWrite { at, stamp: [7; 16], change, forget: AccessForget::default() };
        assert_eq!(db.change_access(&write).await.unwrap(), Some(at.number + 1));
    }
    denied(
        &front,
        &[
            "INSERT INTO segments SELECT * FROM segments",
            "UPDATE segments SET body = ''",
            "DELETE FROM segments",
            "UPDATE partitions SET epoch = 7",
            "DELETE FROM catalogue",
            "UPDATE catalogue SET body = ''",
        ],
    )
    .await;

    for url in [&front, &feed] {
        let db = open(url).await.unwrap();
        db.register_consumer("bills").await.unwrap();
        let from = db.consumer("bills").await.unwrap().remove(0);
        assert_eq!(db.acknowledge(&from, &from).await.unwrap(), CursorAck::Moved);
        assert_eq!(db.read_segments(from.partition, from.segment, 1000).await.unwrap().len(), 1);
    }
    denied(
        &feed,
        &[
            "INSERT INTO segments SELECT * FROM segments",
            "DELETE FROM segments",
            "DELETE FROM cursors",
            "UPDATE store SET topology = 7",
            "SELECT * FROM bindings",
            "SELECT * FROM access_revoked_certificates",
        ],
    )
    .await;
    denied(&trim, &["DELETE FROM segments", "SELECT * FROM segments"]).await;
}

/// No role but the owner of the tables can forge an entry in the middle, delete entries that were not
/// exported, or move the end of the chain, so that nobody could append any more.
#[tokio::test]
async fn the_audit_log_is_changed_through_its_functions_alone() {
    let (_server, of) = separated().await;
    for role in ["node", "front", "feed", "trim"] {
        denied(
            &of(&format!("turnpike_{role}")),
            &[
                "UPDATE audit_head SET next_sequence = 7",
                "UPDATE audit_head SET last_at = 9000000000000000000",
                "DELETE FROM audit_head",
                "INSERT INTO audit SELECT * FROM audit",
                "UPDATE audit SET body = ''",
                "DELETE FROM audit",
                "TRUNCATE audit",
            ],
        )
        .await;
    }
    for role in ["node", "feed"] {
        let append = entries("'{1}'", "'{1}'", ZEROS);
        denied(&of(&format!("turnpike_{role}")), &[&append, "SELECT * FROM audit"]).await;
    }
    for role in ["node", "front", "feed"] {
        denied(&of(&format!("turnpike_{role}")), &["SELECT turnpike_trim_audit(1, '')"]).await;
    }

    let front = of("turnpike_front");
    let db = open(&front).await.unwrap();
    let mut after = AuditHash::default();
    for sequence in 1..=3 {
        let hash = [u8::try_from(sequence).unwrap(); 32];
        let (at, body) = (Timestamp(5), Bytes::from_static(b"entry"));
        let rows = vec![AuditRow { sequence, at, prev_hash: after, hash, body }];
        let append = AuditAppend { after, rows };
        assert_eq!(db.append_audit(&append).await.unwrap(), AuditAppended::Appended);
        assert_eq!(db.append_audit(&append).await.unwrap(), AuditAppended::Overtaken);
        after = hash;
    }
    let trimming = open(&of("turnpike_trim")).await.unwrap();
    assert_eq!(trimming.trim_audit(3, [3; 32]).await.unwrap(), 0, "the newest entry stays");
    assert_eq!(trimming.trim_audit(1, [2; 32]).await.unwrap(), 0, "another hash");
    assert_eq!(trimming.trim_audit(1, [1; 32]).await.unwrap(), 1);
}

const ZEROS: &str = "decode(repeat('00', 32), 'hex')";

/// A statement that appends entries with these sequence numbers and times after a hash.
fn entries(sequences: &str, times: &str, after: &str) -> String {
    let list = |one: &str| format!("(SELECT array_agg({one}) FROM unnest({sequences}::bigint[]))");
    format!(
        "SELECT 1 / turnpike_append_audit({after}, {sequences}, {times}, {}, {}, {})",
        list(after),
        list(ZEROS),
        list("''::bytea")
    )
}

/// A role that may append can append only after the newest entry, and at the present time.
#[tokio::test]
async fn a_forged_piece_of_the_audit_chain_is_denied() {
    let (_server, of) = separated().await;
    let front = of("turnpike_front");
    let other = ZEROS.replace("00", "01");
    denied(
        &front,
        &[
            &entries("'{1,3}'", "'{1,1}'", ZEROS),
            &entries("'{1,2}'", "'{2,1}'", ZEROS),
            &entries("'{1,2}'", "'{1}'", ZEROS),
            &entries("'{1,NULL}'", "'{1,1}'", ZEROS),
            &entries("'{}'", "'{}'", ZEROS),
            &entries("'{1,2}'", "'{1,1}'", &other),
        ],
    )
    .await;
    // Nothing is appended: the chain ends elsewhere, or the time has not come.
    for nothing in [
        entries("'{2}'", "'{1}'", ZEROS),
        entries("'{1}'", "'{1}'", &other),
        entries("'{1}'", "'{9000000000000000000}'", ZEROS),
    ] {
        let told = run(&front, &nothing).await.expect_err(&nothing);
        assert!(told.contains("division by zero"), "{nothing}: {told}");
    }
    let shadow = "CREATE TEMP TABLE audit_head AS SELECT 7::bigint AS next_sequence; ";
    run(&front, &format!("{shadow}{}", entries("'{1}'", "'{1}'", ZEROS))).await.unwrap();
    assert_eq!(open(&front).await.unwrap().audit_head().await.unwrap().next, 2);
}

/// A role that owned everything keeps migrating by itself, as in existing installations.
#[tokio::test]
async fn one_role_that_may_do_everything_needs_no_migration_command() {
    let server = PostgresServer::shared().unwrap();
    let url = server.create_database().unwrap();
    let head = open(&url).await.unwrap().audit_head().await.unwrap();
    assert_eq!(head.next, 1);
    turnpike_store::postgres::migrate(&url).await.unwrap();
}

/// The address 0.0.0.0 leads to this machine, but is none of the loopback addresses.
#[tokio::test]
async fn a_server_without_tls_on_another_machine_is_refused_unless_the_address_permits_it() {
    let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
    let server = PostgresServer::start_with(settings).unwrap();
    let remote = server.tcp_url("postgres").unwrap().replace("127.0.0.1", "0.0.0.0");
    let refused = open(&remote).await.err().unwrap();
    assert!(!refused.is_transient(), "a server does not wait for it");
    let told = refused.to_string();
    assert!(told.contains("does not support TLS") && told.contains("sslmode=disable"), "{told}");
    open(&format!("{remote}?sslmode=disable")).await.unwrap();
}

/// A PgBouncer in front of the server. Dropping it ends the process.
struct Pooler {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Pooler {
    fn start(server: &PostgresServer, settings: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists())?;
        let dir = tempfile::Builder::new().prefix("turnpike-pgb-").tempdir().unwrap();
        let (port, to) = (turnpike_harness::process::free_port().unwrap(), server.port().unwrap());
        let config = dir.path().join("pgbouncer.ini");
        let users = dir.path().join("users.txt");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={to}\n[pgbouncer]\nlisten_addr=127.0.0.1\n\
             listen_port={port}\nunix_socket_dir=\nauth_type=any\nauth_file={}\n\
             {settings}\n",
            users.display()
        )
        .replace("* = host=127.0.0.1", "* = user=postgres host=127.0.0.1");
        std::fs::write(&config, text).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        for (path, mode) in [(dir.path(), 0o755), (&config, 0o644), (&users, 0o644)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        // PgBouncer refuses to run as root.
        let mut command = Command::new(program);
        command.arg("-q").args(["-u", "postgres"]).arg(&config);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        Some(Self { process, url, _dir: dir })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Errors mean that the process has ended by now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Each of them: transaction mode and session mode, with the startup options refused or ignored.
#[tokio::test]
async fn a_real_pgbouncer_is_refused_with_the_reason() {
    let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
    let server = PostgresServer::start_with(settings).unwrap();
    for mode in ["transaction", "session"] {
        for ignored in ["extra_float_digits", "extra_float_digits,options"] {
            let config = format!("pool_mode={mode}\nignore_startup_parameters={ignored}");
            let Some(pooler) = Pooler::start(&server, &config) else {
                assert!(std::env::var_os("TURNPIKE_NEEDS_PGBOUNCER").is_none(), "not installed");
                return;
            };
            let mut tries = 0;
            let refused = loop {
                tries += 1;
                match open(&pooler.url).await {
                    Err(error) if error.is_transient() && tries < 100 => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => break error,
                    Ok(_) => panic!("{config}: accepted"),
                }
            };
            let told = refused.to_string();
            assert!(matches!(refused, StoreError::Refused(_)), "{config}: {told}");
            assert!(told.contains("PgBouncer"), "{config}: {told}");
        }
    }
}
