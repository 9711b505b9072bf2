//! Server processes are started, killed, frozen and stopped. A shell script takes the part of the
//! program `turnpike`.

// Real processes run on the real clock.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::sleep;
use turnpike_harness::process::{
    ExpectedProcesses, InheritedSettings, ListeningServer, ServerCommand, ServerLog, StopRequest,
    free_port,
};

const PATIENCE: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_millis(200);

/// A server that works, which its file `ticks` shows, until SIGTERM.
const WORKS: &str = r#"
    trap 'exit 7' TERM
    echo "node x listens on 127.0.0.1:4711"
    while :; do echo tick >> ticks; sleep 0.01; done"#;

/// A server that works until its input ends.
const READS: &str = r#"
    echo "node x listens on 127.0.0.1:4711"
    read line
    exit 3"#;

/// A server that does not stop on request.
const STUBBORN: &str = r#"
    trap '' TERM
    echo "node x listens on 127.0.0.1:4711"
    while :; do echo tick >> ticks; sleep 0.01; done"#;

/// A server that never listens.
const SILENT: &str = "read line";

/// The command that runs a script in a directory.
fn command(dir: &Path, script: &str) -> ServerCommand {
    let script = format!("cd \"$0\"\n{script}");
    ServerCommand {
        name: "x".to_owned(),
        program: "sh".into(),
        arguments: vec!["-c".into(), script.into(), dir.into()],
        inherits: InheritedSettings::None,
        variables: vec![("GREETING".to_owned(), "good morning".into())],
        log: ServerLog::File(dir.join("x.log")),
    }
}

async fn started(script: &str) -> (ListeningServer, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (command(dir.path(), script).start(PATIENCE).await.unwrap(), dir)
}

/// The message of a start that fails.
async fn failure(script: &str, within: Duration) -> String {
    let dir = tempfile::tempdir().unwrap();
    let failed = command(dir.path(), script).start(within).await;
    format!("{:#}", failed.unwrap_err())
}

/// Whether the server does any work from now on.
async fn works(dir: &TempDir) -> bool {
    let ticks = || std::fs::metadata(dir.path().join("ticks")).map_or(0, |file| file.len());
    let before = ticks();
    for _ in 0..10 {
        sleep(A_WHILE / 10).await;
        if ticks() > before {
            return true;
        }
    }
    false
}

/// Waits until no process of this id runs. A process that ended may wait to be reaped (`Z`).
async fn is_gone(pid: u32) {
    for _ in 0..600 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
        if state.is_empty() || state.starts_with('Z') {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("process {pid} still runs");
}

#[tokio::test]
async fn a_server_is_started_once_it_prints_its_address() {
    let (server, dir) = started(WORKS).await;
    assert_eq!(server.address, "127.0.0.1:4711".parse().unwrap());
    assert!(Path::new(&format!("/proc/{}", server.process.pid())).exists());
    assert!(works(&dir).await);
}

#[tokio::test]
async fn a_server_has_its_variables_and_stops_when_its_input_ends() {
    let told = r#"echo "$GREETING, $1" >&2"#;
    let (mut server, dir) = started(&format!("{told}\n{READS}")).await;
    let status = server.process.stop(StopRequest::InputEnd, PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(3));
    let log = || std::fs::read_to_string(dir.path().join("x.log")).unwrap();
    assert_eq!(log(), "good morning, --stop-at-stdin-end\n");
    // A restart by the same command appends to the log.
    server.command.start(PATIENCE).await.unwrap();
    assert_eq!(log().lines().count(), 2);
}

#[tokio::test]
async fn a_server_stops_on_sigterm_and_its_exit_status_is_returned() {
    let (mut server, dir) = started(WORKS).await;
    let status = server.process.stop(StopRequest::Terminate, PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(7));
    assert!(server.process.has_ended().unwrap());
    assert!(!works(&dir).await);
}

#[tokio::test]
async fn a_server_that_does_not_stop_in_time_is_an_error_and_is_killed_when_it_is_dropped() {
    let (mut server, dir) = started(STUBBORN).await;
    let error = server.process.stop(StopRequest::Terminate, A_WHILE).await.unwrap_err();
    assert!(error.to_string().contains("did not stop after SIGTERM"), "{error:#}");
    assert!(works(&dir).await);
    let pid = server.process.pid();
    drop(server);
    is_gone(pid).await;
}

#[tokio::test]
async fn a_killed_server_executes_nothing_more() {
    let (mut server, dir) = started(WORKS).await;
    assert!(works(&dir).await);
    server.process.kill().unwrap();
    assert!(!works(&dir).await);
    assert_eq!(server.process.ended().await.unwrap().code(), None, "ended by a signal");
    // No signal is sent to an id that another process may have by now.
    let error = server.process.kill().unwrap_err();
    assert!(error.to_string().contains("has ended already"), "{error:#}");
}

#[tokio::test]
async fn a_frozen_server_executes_nothing_until_it_is_resumed() {
    let (server, dir) = started(WORKS).await;
    assert!(works(&dir).await);
    server.process.freeze().unwrap();
    assert!(!works(&dir).await);
    server.process.resume().unwrap();
    assert!(works(&dir).await);
}

#[tokio::test]
async fn a_server_that_ends_before_it_listens_is_an_error_with_the_end_of_its_log() {
    let told = failure("seq 1 20 >&2", PATIENCE).await;
    assert!(told.contains("x.log ended before it listened: 16\n17\n18\n19\n20"), "{told}");
}

#[tokio::test]
async fn a_server_without_a_log_file_is_named_where_it_does_not_listen() {
    let dir = tempfile::tempdir().unwrap();
    let silent = ServerCommand { log: ServerLog::Discarded, ..command(dir.path(), SILENT) };
    let told = silent.start(A_WHILE).await.unwrap_err().to_string();
    assert_eq!(told, "x does not listen after 200ms");
    let shown = ServerCommand { log: ServerLog::Shown, ..command(dir.path(), "exit 1") };
    let told = shown.start(PATIENCE).await.unwrap_err().to_string();
    assert_eq!(told, "x ended before it listened; its error is shown above");
}

#[tokio::test]
async fn a_first_line_without_an_address_is_an_error_that_shows_it() {
    let told = failure("echo 'usage: x [OPTIONS]'", PATIENCE).await;
    assert!(told.contains(r#"printed "usage: x [OPTIONS]" instead of its address"#), "{told}");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = ServerCommand { program: "no/such".into(), ..command(dir.path(), READS) };
    let told = format!("{:#}", missing.start(PATIENCE).await.unwrap_err());
    assert!(told.contains("can't be started"), "{told}");
}

#[tokio::test]
async fn a_spawned_server_need_not_listen() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = command(dir.path(), SILENT).spawn().unwrap();
    assert!(!process.has_ended().unwrap());
    process.kill().unwrap();
    process.ended().await.unwrap();
    assert!(process.has_ended().unwrap());
}

#[test]
fn a_free_port_can_be_listened_on() {
    std::net::TcpListener::bind(("127.0.0.1", free_port().unwrap())).unwrap();
}

#[tokio::test]
async fn a_process_that_ends_while_it_is_expected_to_run_is_reported_with_the_way() {
    let shell = |script: &str| {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", script]).kill_on_drop(true).spawn().unwrap()
    };
    let expected = ExpectedProcesses::default();
    // Nobody is told of a process that the caller ends.
    let mut released = shell("exec sleep 600");
    expected.expect("released", released.id().unwrap());
    expected.release("released");
    released.start_kill().unwrap();
    assert!(tokio::time::timeout(A_WHILE, expected.ended()).await.is_err());
    let mut killed = shell("exec sleep 600");
    let pid = killed.id().unwrap();
    expected.expect("killed", pid);
    killed.start_kill().unwrap();
    let end = expected.ended().await;
    assert_eq!(end.to_string(), format!("killed (pid {pid}) ended by signal 9"));
    // It has ended already, so it is too late to release it; its handle learns the end, too.
    expected.release("killed");
    assert_eq!(expected.ended().await, end);
    assert!(!killed.wait().await.unwrap().success());
    let failed = shell("exit 7");
    expected.expect("failed", failed.id().unwrap());
    assert!(expected.ended().await.to_string().ends_with("ended with exit code 7"));
    drop(failed);
}
