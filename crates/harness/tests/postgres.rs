//! A server starts, keeps committed data across a crash, and is removed when it is dropped.

use turnpike_harness::postgres::{PostgresServer, PostgresSettings, StartCancel};

#[test]
fn committed_data_survives_a_hard_restart_on_the_same_port() {
    let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
    let mut server = PostgresServer::start_with(settings).unwrap();
    let port = server.port().unwrap();
    server.psql("CREATE TABLE t (n INT); INSERT INTO t VALUES (7)").unwrap();
    server.restart().unwrap();
    assert_eq!(server.psql("SELECT n FROM t").unwrap(), "7");
    assert_eq!(server.port(), Some(port));
    assert_eq!(server.psql("SHOW fsync").unwrap(), "on");
    assert_eq!(server.psql("SHOW synchronous_commit").unwrap(), "on");
}

#[test]
fn a_dropped_server_is_gone_with_its_files() {
    let server = PostgresServer::start().unwrap();
    let first = server.create_database().unwrap();
    assert_ne!(first, server.create_database().unwrap());
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_start_that_is_cancelled_fails_at_once() {
    let cancel = StartCancel::default();
    let settings = PostgresSettings { cancel: cancel.clone(), ..PostgresSettings::default() };
    cancel.cancel();
    let told = PostgresServer::start_with(settings).err().unwrap().to_string();
    assert!(told.contains("was cancelled"), "{told}");
}
