//! Short runs of `turnpike drill`: real processes, real faults.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support;

use support::server::Server;
use support::{Ran, run};
use turnpike_harness::postgres::PostgresServer;

/// Asserts that no guarantee was violated. Exit code 3 means that a target for durations was
/// missed, as on a busy machine.
fn held(ran: &Ran) {
    assert!(ran.code == 0 || ran.code == 3, "{}: {}\n{}", ran.code, ran.out, ran.err);
}

#[test]
fn crashes_lose_nothing_double_nothing_and_the_figures_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (json, html) = (file("drill.json"), file("drill.html"));
    let ran = run(&["drill", "crash", "--repeat", "2", "--json", &json, "--html", &html]);
    held(&ran);
    let figures: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let crash = &figures["scenarios"][0];
    let records = &crash["records"];
    assert!(records["sent"].as_u64().unwrap() > 1_000, "{records}");
    for same in ["accepted", "rated"] {
        assert_eq!(records[same], records["sent"], "{records}");
    }
    for none in ["lost", "doubled", "wrong_accounts"] {
        assert_eq!(records[none], 0, "{records}");
    }
    let faults = crash["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 2);
    let touched = |fault: &serde_json::Value| fault["pauses_ms"].as_object().unwrap().len();
    assert!(faults.iter().all(|fault| touched(fault) > 0), "{faults:?}");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("<svg") && page.contains("kill -9"));
}

#[test]
fn frozen_nodes_are_fenced() {
    let ran = run(&["drill", "freeze", "--repeat", "1"]);
    held(&ran);
    assert!(ran.out.contains("freeze"), "{}", ran.out);
}

#[test]
fn each_scenario_is_explained_and_an_unknown_one_is_refused_with_the_list() {
    let list = run(&["drill", "list"]);
    assert_eq!(list.code, 0);
    for said in ["crash", "SIGKILL", "cut-node-database", "Must hold", "p99 500 ms"] {
        assert!(list.out.contains(said), "{said} is not in\n{}", list.out);
    }
    let unknown = run(&["drill", "earthquake"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("earthquake") && unknown.err.contains("crash"), "{}", unknown.err);
    assert_eq!(run(&["drill"]).code, 2);
}

/// Asserts that the command ends with exit code 2 and these words, and starts nothing.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let ran = run(&[&["drill"], arguments].concat());
    assert_eq!(ran.code, 2, "{arguments:?}: {}\n{}", ran.out, ran.err);
    for word in words {
        assert!(ran.err.contains(word), "{word:?} is not in\n{}", ran.err);
    }
    assert!(!ran.err.contains("seed 1"), "the drill began:\n{}", ran.err);
}

#[test]
fn a_scenario_that_cannot_run_is_refused_before_anything_starts() {
    refused(&["crash", "freeze", "--database", "sqlite:"], &["freeze", "needs PostgreSQL"]);
    let server = PostgresServer::shared().unwrap();
    let given = server.create_database().unwrap();
    refused(&["database-restart", "--database", &given], &["started by the drill"]);
}

#[test]
fn a_database_that_a_drill_cannot_use_is_refused() {
    refused(&["crash", "--database", "sqlite:mine.db"], &["without a path"]);
    for wrong in ["mysql://u:s3cret@h/d", ""] {
        refused(&["crash", "--database", wrong], &["postgres://USER@HOST:PORT/DATABASE"]);
    }
    let running = ["handover", "--front", "http://127.0.0.1:1", "--test-accounts", "1-9"];
    refused(&[&running[..], &["--database", "sqlite:"]].concat(), &["a cluster on PostgreSQL"]);
    let server = PostgresServer::shared().unwrap();
    let full = server.create_database().unwrap();
    // The schema of a cluster without a partition is a table of somebody's, too.
    let created = ["partition", "init", "--database", &full, "--count", "1", "--members", "a"];
    let created = run(&[&created[..], &["--accounts", "1-9"]].concat());
    assert_eq!(created.code, 0, "{}", created.err);
    refused(&["crash", "--database", &full], &["the table public.", "empty database"]);
}

#[test]
fn results_that_cannot_be_written_are_refused_before_the_drill() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (full, file, absent) = (path("full"), path("file"), path("no/such/page.html"));
    std::fs::create_dir(&full).unwrap();
    std::fs::write(path("full/a.log"), "a log").unwrap();
    std::fs::write(&file, "a file").unwrap();
    let crash = ["crash", "--database", "sqlite:"];
    let of = |more: &[&str], words: &[&str]| refused(&[&crash[..], more].concat(), words);
    of(&["--keep", &full], &["--keep", "full", "not empty"]);
    of(&["--keep", &file], &["--keep", "file"]);
    of(&["--html", &absent], &["--html", "no/such/page.html"]);
    of(&["--json-file", &absent], &["--json-file", "no/such/page.html"]);
    of(&["--json-file", &file, "--html", &file], &["the same file"]);
    let also = dir.path().join("full/../file").display().to_string();
    of(&["--json-file", &file, "--html", &also], &["the same file"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    refused(&["crash", "--partitions", "50", "--account-count", "4"], &["50 partitions"]);
    refused(&["many-partitions", "--account-count", "4"], &["1000 partitions"]);
    let running = ["handover", "--front", "http://127.0.0.1:1", "--test-accounts", "1-9"];
    let running = [&running[..], &["--database", "postgres://nowhere/db"]].concat();
    refused(&[&running[..], &["--partitions", "8"]].concat(), &["--partitions", "--front"]);
    refused(&[&running[..], &["--account-count", "8"]].concat(), &["--account-count", "--front"]);
}

/// A drill that runs until it is ended, with its logs in `keep`.
fn endless(scenario: &str, keep: &str) -> Server {
    Server::start(&["drill", scenario, "--repeat", "1000", "--keep", keep])
}

#[test]
fn a_drill_that_a_signal_ends_stops_its_processes() {
    // A signal that the test was started to ignore, as by `nohup`, is ignored by the drill, too.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    for (number, name) in [(15, "SIGTERM"), (1, "SIGHUP"), (3, "SIGQUIT")] {
        if ignored >> (number - 1) & 1 == 1 {
            continue;
        }
        let signal = format!("-{number}");
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().display().to_string();
        let mut drill = endless("crash", &keep);
        drill.until("accounts 1-400");
        assert!(processes_that_name(&keep) > 0);
        drill.signal(&signal);
        let (code, log) = drill.ended();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(&format!("{name} ended the drill")), "{log}");
        // The command line of every process of the drill contains the path of the `--keep`
        // directory.
        wait_until(|| processes_that_name(&keep) == 0);
    }
}

#[test]
fn a_drill_that_is_ended_while_postgresql_starts_leaves_no_process_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    // The user as which PostgreSQL runs has to reach its files.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let temporary = dir.path().display().to_string();
    let drill = Server::start_with(&["drill", "crash"], &[("TMPDIR", &temporary)]);
    let files = || std::fs::read_dir(dir.path()).unwrap().flatten();
    let is_starting = || files().any(|file| file.path().join("data").is_dir());
    wait_until(is_starting);
    drill.signal("-TERM");
    let (code, log) = drill.ended();
    assert_eq!(code, Some(1), "{log}");
    let left: Vec<_> = files().map(|file| file.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(processes_that_name(&temporary), 0);
}

#[test]
fn a_process_that_something_else_ends_leaves_the_scenario_without_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("logs").display().to_string();
    let mut drill = endless("handover", &keep);
    drill.until("accounts 1-400");
    let victim = process_of_node(&keep, "b");
    let killed = std::process::Command::new("kill").args(["-KILL", &victim.to_string()]).status();
    assert!(killed.unwrap().success());
    let (code, log) = drill.ended();
    assert_eq!(code, Some(1), "{log}");
    let told = format!("node b (pid {victim}) ended by signal 9, not by the drill");
    for words in [told.as_str(), "COULD NOT BE JUDGED"] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
    assert!(!log.contains("VIOLATED"), "{log}");
    wait_until(|| processes_that_name(&keep) == 0);
}

/// A cluster on PostgreSQL of two nodes and a front, with the accounts 1-1000.
struct RunningCluster {
    database: String,
    front: String,
    _servers: Vec<Server>,
    _postgres: Arc<PostgresServer>,
}

impl RunningCluster {
    fn start() -> Self {
        let postgres = PostgresServer::shared().unwrap();
        let database = postgres.create_database().unwrap();
        let init = ["partition", "init", "--database", &database, "--count", "2"];
        let created = run(&[&init[..], &["--accounts", "1-1000", "--members", "a,b"]].concat());
        assert_eq!(created.code, 0, "{}", created.err);
        let listen = ["--database", &database, "--listen", "127.0.0.1:0"];
        let node = |name| Server::start(&[&["node", "--name", name], &listen[..]].concat());
        let mut servers = vec![node("a"), node("b")];
        servers.iter_mut().for_each(|node| drop(node.address()));
        let mut front = Server::start(&[&["front"], &listen[..]].concat());
        let address = format!("http://{}", front.address());
        servers.push(front);
        Self { database, front: address, _servers: servers, _postgres: postgres }
    }

    fn drill<'a>(&'a self, scenario: &'a str, accounts: &'a str) -> Vec<&'a str> {
        let of = ["--front", &self.front, "--database", &self.database];
        [&["drill", scenario, "--test-accounts", accounts], &of[..]].concat()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&[arguments, &["--front", &self.front]].concat())
    }
}

#[test]
fn a_drill_of_a_running_cluster_leaves_the_accounts_and_clusters_of_others_alone() {
    let (cluster, other) = (RunningCluster::start(), RunningCluster::start());
    let theirs = cluster.run(&["account", "open", "703", "--zone", "UTC", "--currency", "USD"]);
    assert_eq!(theirs.code, 0, "{}", theirs.err);
    let plan = support::file("plans/octets.xml");
    let published = cluster.run(&["plan", "publish", &plan]);
    assert_eq!(published.code, 0, "{}", published.err);
    let id = published_id(&plan);
    let subscribed = cluster.run(&["account", "subscribe", "703", "--plan", &id]);
    assert_eq!(subscribed.code, 0, "{}", subscribed.err);
    let refuses = |arguments: &[&str], words: &[&str]| refused(&arguments[1..], words);
    let used = format!("account 703 is in use: it has the plan {id}");
    refuses(&cluster.drill("handover", "701-710"), &[&used, "nothing was changed"]);
    refuses(&cluster.drill("handover", "995-1004"), &["account 1001 is in no partition"]);
    refuses(&cluster.drill("crash", "801-810"), &["would disturb other users"]);
    let mixed = ["--front", &cluster.front, "--database", &other.database];
    let mixed = [&["drill", "handover", "--test-accounts", "801-810"], &mixed[..]].concat();
    refuses(&mixed, &["are not of one cluster"]);
    let plans = cluster.run(&["plan", "list"]);
    assert!(!plans.out.contains("turnpike-drill"), "{}", plans.out);
    assert_eq!(cluster.run(&["account", "show", "701"]).code, 1, "account 701 is open");
    // Its own accounts, also a second time.
    for _ in 0..2 {
        let drill = [&cluster.drill("handover", "801-810")[..], &["--repeat", "1"]].concat();
        held(&run(&drill));
    }
}

#[test]
fn an_interrupted_drill_undoes_its_drain_and_its_handovers_of_a_running_cluster() {
    let cluster = RunningCluster::start();
    let interrupted = |scenario: &str, lines: &[&str]| {
        // These accounts are in both partitions.
        let drill = [&cluster.drill(scenario, "491-510")[..], &["--repeat", "1000"]].concat();
        let mut drill = Server::start(&drill);
        lines.iter().for_each(|line| drop(drill.until(line)));
        drill.signal("-TERM");
        let (code, log) = drill.ended();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("none of its requests is in force"), "{log}");
        log
    };
    // A front shows what it read last, so the undoing is visible a moment later.
    let all = |list: &str, is_undone: fn(&serde_json::Value) -> bool| {
        let status = cluster.run(&["status", "--json"]).out;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let rows = status[list].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{status}");
        rows.iter().all(is_undone)
    };
    // The pins of all handovers are in force until the drill ends.
    let log = interrupted("handover", &["handover: 1 to ", "handover: 2 to "]);
    assert!(log.contains("turnpike handover"), "{log}");
    wait_until(|| all("partitions", |row| row["pinned_to"].as_str().is_none_or(str::is_empty)));
    // A drain is in force for fractions of a second.
    let was_drained = (0..20).any(|_| {
        let log = interrupted("drain", &["drain: drain "]);
        wait_until(|| all("nodes", |row| row["drain_asked"] == false));
        log.contains("turnpike drain")
    });
    assert!(was_drained, "no signal came during a drain");
}

/// The id of the plan in a file.
fn published_id(plan: &str) -> String {
    let xml = std::fs::read_to_string(plan).unwrap();
    xml.split(" id=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn process_of_node(path: &str, node: &str) -> u32 {
    let wanted = format!("\0--name\0{node}\0");
    let is_it = |entry: &std::fs::DirEntry| {
        // A process that has ended has no command line.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { return false };
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(path) && line.contains(&wanted)
    };
    let found = std::fs::read_dir("/proc").unwrap().flatten().find(is_it).unwrap();
    found.file_name().to_str().unwrap().parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "other processes follow no virtual time")]
fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it does not come to that");
}

fn processes_that_name(path: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(path)).count()
}
