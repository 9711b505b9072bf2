//! Servers as an operator runs them: they start, wait, or refuse to start, and log the reason.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use support::server::{Server, http, until_status};
use support::{free_port, ran, run, turnpike};
use tempfile::TempDir;
use turnpike_harness::postgres::{PostgresServer, PostgresSettings};
use turnpike_harness::process::without_settings;

/// A new database in a directory of its own, with partitions of nodes a and b.
fn database() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("turnpike.db").display());
    create_partitions(&url);
    (dir, url)
}

fn create_partitions(url: &str) {
    let init = ["partition", "init", "--database", url, "--count", "2", "--accounts", "1-1000"];
    let made = run(&[&init[..], &["--members", "a,b"]].concat());
    assert_eq!(made.code, 0, "{}", made.err);
}

fn node(url: &str, more: &[&str]) -> Server {
    let listen = ["node", "--name", "a", "--listen", "127.0.0.1:0", "--database", url];
    Server::start(&[&listen[..], more].concat())
}

fn front(url: &str, more: &[&str]) -> Server {
    let listen = ["front", "--listen", "127.0.0.1:0", "--database", url];
    Server::start(&[&listen[..], more].concat())
}

#[test]
fn a_second_up_in_a_directory_ends_at_once_with_the_reason_and_the_first_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let up = |listen: &str| ["up", "--data", &data, "--listen", listen].map(str::to_owned);
    let start = |words: [String; 5]| Server::start(&words.each_ref().map(String::as_str));
    let mut first = start(up("127.0.0.1:0"));
    let line = first.until("The cluster serves at http://");
    let second = ran(turnpike(&up("127.0.0.1:0").each_ref().map(String::as_str)).output().unwrap());
    assert_eq!(second.code, 4, "{}", second.err);
    assert!(second.err.contains(&format!("process {}", first.pid())), "{}", second.err);
    assert!(second.err.contains("another `turnpike up`"), "{}", second.err);
    assert!(!second.err.contains("listens on"), "it started processes: {}", second.err);
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let status = run(&["status", "--front", url.trim_end_matches(';')]);
    assert_eq!(status.code, 0, "the first does not serve on: {}{}", status.out, status.err);
    assert!(!first.log().contains("superseded"), "{}", first.log());
    // The directory is free again however the process ends, even with SIGKILL.
    first.signal("-KILL");
    first.ended();
    let mut third = start(up("127.0.0.1:0"));
    third.until("The cluster serves at http://");
}

/// Unusable options are refused before anything is created.
#[test]
fn up_creates_nothing_if_its_options_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (options, code, words) in [
        (["--listen", "127.0.0.1"], 2, "write HOST:PORT"),
        (["--listen", "nonsense"], 2, "write HOST:PORT"),
        (["--listen", taken.as_str()], 1, "another process listens"),
        (
            ["--accept-since", "2999-01-01"],
            2,
            "--accept-since 2999-01-01T00:00:00Z is in the future",
        ),
        (["--accounts", "1-3"], 2, "fewer accounts than 4 partitions"),
        (["--horizon", "35"], 2, "\"35\" has no unit; write for example 35d"),
        (["--horizon", "0d"], 2, "\"0d\" is too short"),
        (["--horizon", "35s"], 2, "\"35s\" is too short"),
    ] {
        let up = ["up", "--data", &data.display().to_string(), "--listen", "127.0.0.1:0"];
        let up = match options[0] {
            "--listen" => &up[..3],
            _ => &up[..],
        };
        let ran = run(&[up, &options].concat());
        assert_eq!(ran.code, code, "{options:?}: {}", ran.err);
        assert!(ran.err.contains(words), "{options:?}: {}", ran.err);
        assert!(!data.exists(), "{options:?}");
    }
    let url = format!("sqlite:{}", dir.path().join("t.db").display());
    let init = ["partition", "init", "--database", &url, "--count", "1", "--accounts", "1-9"];
    for option in [["--accept-since", "2999-01-01"], ["--horizon", "35"], ["--horizon", "0s"]] {
        let init = run(&[&init[..], &["--members", "a"], &option].concat());
        assert_eq!(init.code, 2, "{option:?}: {}", init.err);
        assert!(!dir.path().join("t.db").exists(), "{option:?}: {}", init.err);
    }
}

#[test]
fn up_says_which_options_have_no_effect_on_an_existing_database() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let up = ["up", "--data", &data, "--nodes", "1", "--listen", "127.0.0.1:0"];
    let begun = |more: &[&str]| {
        let mut server = Server::start(&[&up[..], more].concat());
        server.until("The cluster serves at http://");
        server.signal("-TERM");
        let (code, log) = server.ended();
        assert_eq!(code, Some(0), "{log}");
        log
    };
    let first = ["--partitions", "2", "--accounts", "1-100", "--accept-since", "2020-01-01"];
    let first = [&first[..], &["--horizon", "40d"]].concat();
    let log = begun(&first);
    assert!(!log.contains("no effect") && log.contains("partitions=2"), "{log}");
    // The suggested load does not use the accounts that a user probably opens first.
    let load = "turnpike load --setup --first-account 77 --account-count 24 --seconds 5";
    assert!(log.contains(load), "{load:?} is not in\n{log}");
    for same in [&first[..], &[]] {
        let log = begun(same);
        assert!(log.contains("has 2 partitions already") && !log.contains("no effect"), "{log}");
    }
    let other = ["--partitions", "8", "--accounts", "1-200", "--accept-since", "2021-01-01"];
    let log = begun(&other);
    for option in ["--partitions 8", "--accounts 1-200", "--accept-since 2021-01-01T00:00:00Z"] {
        assert!(log.contains(&format!("warning: {option} has no effect")), "{option}:\n{log}");
    }
    assert!(!log.contains("partitions=8") && !log.contains("accounts=1-200"), "{log}");
}

#[test]
fn a_second_node_of_one_name_ends_with_the_reason_and_the_first_serves_on() {
    let (_dir, url) = database();
    let port = format!("127.0.0.1:{}", free_port());
    let mut first = node(&url, &["--metrics", &port]);
    first.address();
    let (code, log) = node(&url, &[]).ended();
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("another process runs as node a"), "{log}");
    assert!(first.runs() && !first.log().contains("superseded"), "{}", first.log());
    until_status(&port, "/readyz", 200);
    // After a crash, another process can use the name without the help of an operator.
    first.signal("-KILL");
    first.ended();
    node(&url, &[]).address();
}

#[test]
fn a_node_and_a_front_wait_for_a_database_that_is_not_there_yet() {
    let settings = PostgresSettings { port: Some(0), ..PostgresSettings::default() };
    let mut postgres = PostgresServer::start_with(settings).unwrap();
    let created = postgres.create_database().unwrap();
    let name = created.trim_start_matches("postgres:///").split('?').next().unwrap();
    let url = postgres.tcp_url(name).unwrap();
    create_partitions(&url);
    postgres.stop();
    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let mut servers =
        [node(&url, &["--metrics", &ports[0]]), front(&url, &["--metrics", &ports[1]])];
    for (server, port) in servers.iter_mut().zip(&ports) {
        server.until("waiting for the shared database");
        assert_eq!(http(port, "GET", "/healthz").0, 200);
        let (status, answer) = http(port, "GET", "/readyz");
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains("waiting for the shared database"), "{answer}");
        assert!(server.runs(), "{}", server.log());
    }
    // A node that waits for the database ends in order on SIGTERM.
    let mut waiting = node(&url, &[]);
    waiting.until("waiting for the shared database");
    waiting.signal("-TERM");
    let (code, log) = waiting.ended();
    assert_eq!(code, Some(0), "{log}");
    postgres.restart().unwrap();
    for (server, port) in servers.iter_mut().zip(&ports) {
        server.address();
        until_status(port, "/readyz", 200);
        let log = server.log();
        let waits = log.lines().filter(|line| line.contains("waiting for the shared database"));
        assert!(waits.count() <= 3, "one line a cause and minute:\n{log}");
    }
}

#[test]
fn a_permanent_fault_ends_a_server_with_the_reason() {
    let postgres = PostgresServer::shared().unwrap();
    let no_database = postgres.url("no_such_database");
    let no_user = postgres.create_database().unwrap().replace("user=postgres", "user=stranger");
    for (url, words) in
        [(no_database, "create the database first"), (no_user, "check user and password")]
    {
        for server in [node(&url, &[]), front(&url, &[])] {
            let (code, log) = server.ended();
            assert_eq!(code, Some(1), "{log}");
            assert!(log.contains(words), "{words:?} is not in\n{log}");
            assert!(!log.contains("waiting"), "{log}");
        }
    }
    let no_fsync = PostgresServer::start_with(PostgresSettings {
        fsync: false,
        ..PostgresSettings::default()
    })
    .unwrap();
    let (code, log) = node(&no_fsync.create_database().unwrap(), &[]).ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("fsync = off"), "{log}");
    let dir = tempfile::tempdir().unwrap();
    let (code, log) = node(&format!("sqlite:{}", dir.path().display()), &[]).ended();
    assert_eq!(code, Some(1), "a directory is no database: {log}");
}

#[test]
fn the_first_line_of_the_log_has_version_and_settings_and_no_secret() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), "[node]\nkeys-max = 12345\n").unwrap();
    let path = file.path().display().to_string();
    // Nothing listens at this port, so the servers wait for the database.
    let url = format!("postgres://turnpike:s3cret@127.0.0.1:{}/turnpike", free_port());
    let config = ["--config", path.as_str()];
    let mut servers = [node(&url, &config), front(&url, &config)];
    for server in &mut servers {
        server.until("waiting for the shared database");
        let log = server.log();
        let first = log.lines().next().unwrap();
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        for words in
            [version.as_str(), "postgres://turnpike:***@127.0.0.1", "listen=", "metrics=", &path]
        {
            assert!(first.contains(words), "{words:?} is not in\n{first}");
        }
        assert!(!log.contains("s3cret"), "{log}");
    }
    let log = servers[0].log();
    assert!(log.lines().next().unwrap().contains("keys_max=12345"), "{log}");
}

/// The last log line of a run, as JSON; every line of the log must be JSON.
#[track_caller]
fn told(arguments: &[&str], variables: &[(&str, &str)], code: i32) -> serde_json::Value {
    let ran = ran(turnpike(arguments).envs(variables.iter().copied()).output().unwrap());
    assert_eq!(ran.code, code, "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().collect();
    let last = serde_json::from_str(lines.last().unwrap());
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}"));
    }
    last.unwrap()
}

#[test]
fn errors_at_the_start_are_json_lines_where_logs_are() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let json = [("TURNPIKE_LOG_FORMAT", "json")];
    let unknown = write("unknown.toml", "[log]\nformat = \"json\"\n\n[node]\nnmae = \"a\"\n");
    let sound = write("sound.toml", "[log]\nformat = \"json\"\n");
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);
    let cases: [Case<'_>; 8] = [
        (&["--log", "json", "node", "--database", "memory:"], &[], 2, "the node has no name"),
        (&["node", "--log=json", "--name", "a"], &[], 2, "no shared database is named"),
        (
            &["node", "--name", "a", "--database", "mysql://u:pw@h/d", "--log", "json"],
            &[],
            1,
            "mysql://u:***@h/d",
        ),
        (&["node", "--bogus"], &json, 2, "--bogus"),
        (&["--log", "json", "--config", "no/such.toml", "front"], &[], 2, "no/such.toml"),
        (&["--config", &unknown, "node"], &[], 2, "do you mean [node] name?"),
        (&["--config", &sound, "node", "--database", "memory:"], &[], 2, "the node has no name"),
        (&["status", "--front", "http://127.0.0.1:1"], &json, 1, "no front answers"),
    ];
    for (arguments, variables, code, words) in cases {
        let line = told(arguments, variables, code);
        let message = line["fields"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{arguments:?}: {message}");
        assert_eq!(line["level"], "ERROR", "{arguments:?}");
        assert_eq!(line["fields"]["exit_code"], code, "{arguments:?}");
    }
}

#[test]
fn the_log_variables_say_the_format_and_the_filter() {
    let of = |variables: &[(&str, &str)]| {
        let mut command = turnpike(&["status", "--front", "http://127.0.0.1:1"]);
        ran(command.envs(variables.iter().copied()).output().unwrap())
    };
    for filter in ["warn", "debug", "info,turnpike_node=debug", "off", ""] {
        let ran = of(&[("TURNPIKE_LOG", filter)]);
        assert_eq!(ran.code, 1, "TURNPIKE_LOG={filter} stops the command: {}", ran.err);
        assert!(ran.err.contains("no front answers"), "{}", ran.err);
    }
    let refused = of(&[("TURNPIKE_LOG", "wran")]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("TURNPIKE_LOG") && refused.err.contains("warn?"),
        "{}",
        refused.err
    );
    let refused = of(&[("TURNPIKE_LOG_LEVEL", "wran")]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("TURNPIKE_LOG_LEVEL \"wran\""), "{}", refused.err);
    assert!(!refused.err.contains("--log-level"), "{}", refused.err);
    let not_text: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"warn\xff");
    let mut command = turnpike(&["status", "--front", "http://127.0.0.1:1"]);
    let refused = ran(command.env("TURNPIKE_LOG", not_text).output().unwrap());
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("TURNPIKE_LOG is") && refused.err.contains("not UTF-8"));
    let refused = of(&[("TURNPIKE_LOG_FORMAT", "yaml")]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    // Up to version 0.1, TURNPIKE_LOG named the format; this is still accepted.
    assert!(of(&[("TURNPIKE_LOG", "json")]).err.starts_with('{'));
    assert!(of(&[("TURNPIKE_LOG", "debug"), ("TURNPIKE_LOG_FORMAT", "json")]).err.starts_with('{'));
}

#[test]
fn the_metrics_port_serves_three_paths_and_refuses_the_rest() {
    let (_dir, url) = database();
    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let mut servers =
        [node(&url, &["--metrics", &ports[0]]), front(&url, &["--metrics", &ports[1]])];
    for (server, port) in servers.iter_mut().zip(&ports) {
        server.address();
        let ready = until_status(port, "/readyz", 200);
        assert!(ready.contains("ready: "), "{ready}");
        assert_eq!(http(port, "GET", "/healthz").0, 200);
        let (status, metrics) = http(port, "GET", "/metrics");
        assert_eq!(status, 200);
        assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("turnpike_process_info{"), "{metrics}");
        for path in ["/", "/metric", "/metrics/", "/readyz/x", "/favicon.ico"] {
            let (status, answer) = http(port, "GET", path);
            assert_eq!(status, 404, "{path}: {answer}");
            assert!(answer.contains("/metrics, /healthz and /readyz"), "{answer}");
        }
        let (status, head) = http(port, "HEAD", "/healthz");
        assert_eq!(status, 200);
        assert!(head.ends_with("\r\n\r\n"), "{head:?}");
        assert_eq!(http(port, "POST", "/metrics").0, 405);
    }
    // The server cuts off a request that exceeds a limit, and still serves other clients.
    let mut endless = TcpStream::connect(&ports[0]).unwrap();
    let header = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
    let _ = endless.write_all(header.as_bytes());
    let mut answer = String::new();
    let _ = endless.read_to_string(&mut answer);
    assert!(!answer.contains("200 OK"), "{answer}");
    let idle: Vec<TcpStream> = (0..33).map(|_| TcpStream::connect(&ports[0]).unwrap()).collect();
    until_status(&ports[0], "/healthz", 200);
    drop(idle);
}

#[test]
fn a_client_uses_the_next_front_where_one_does_not_answer() {
    let (_dir, url) = database();
    let (mut node, mut front) = (node(&url, &[]), front(&url, &[]));
    node.address();
    let live = format!("http://{}", front.address());
    let dead = format!("http://127.0.0.1:{}", free_port());
    let both = format!("{dead},{live}");
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), format!("[client]\nfront = [\"{dead}\", \"{live}\"]\n")).unwrap();
    let config = file.path().display().to_string();
    for arguments in [
        &["plan", "list", "--front", &both][..],
        &["plan", "list", "--front", &dead, "--front", &live],
        &["--config", &config, "plan", "list"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
    }
    let ran = ran(turnpike(&["plan", "list"]).env("TURNPIKE_FRONT", &both).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let other = format!("http://127.0.0.1:{}", free_port());
    let none = run(&["plan", "list", "--front", &format!("{dead},{other}")]);
    assert_eq!(none.code, 1, "{}", none.err);
    assert!(none.err.contains(&dead) && none.err.contains(&other), "{}", none.err);
    let wrong = run(&["plan", "list", "--front", &format!("{live},ftp://there")]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("ftp://there"), "{}", wrong.err);
}

#[test]
fn a_client_moves_to_the_next_front_when_the_one_in_use_ends() {
    let (_dir, url) = database();
    let mut node = node(&url, &[]);
    node.address();
    let port = format!("127.0.0.1:{}", free_port());
    let (mut one, mut other) = (front(&url, &["--metrics", &port]), front(&url, &[]));
    let fronts = format!("http://{},http://{}", one.address(), other.address());
    let load =
        ["load", "--setup", "--account-count", "10", "--records", "100000", "--batch", "100"];
    let how = ["--streams", "1", "--front", &fronts, "--log-level", "info"];
    let load = Server::start(&[&load[..], &how].concat());
    // Waits until the first front has acknowledged batches.
    let acknowledged = "turnpike_front_batches_total{status=\"done\"}";
    while !http(&port, "GET", "/metrics").1.contains(acknowledged) {
        std::thread::yield_now();
    }
    one.signal("-KILL");
    one.ended();
    let (code, log) = load.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("another front is used"), "the first one was not in use:\n{log}");
    assert!(other.runs());
}

/// What only fills is measured before it is full, and a consumer that nobody uses can be removed.
#[test]
fn quotas_are_measured_and_a_consumer_can_be_removed() {
    let (_dir, url) = database();
    let mut node = node(&url, &[]);
    node.address();
    let port = format!("127.0.0.1:{}", free_port());
    let mut front = front(&url, &["--metrics", &port]);
    let address = format!("http://{}", front.address());
    let on = |arguments: &[&str]| run(&[arguments, &["--front", &address]].concat());
    let dir = tempfile::tempdir().unwrap();
    let lines = dir.path().join("lines.csv").display().to_string();
    let pulled = on(&["pull", "--consumer", "old-billing", "--output", &lines]);
    assert_eq!(pulled.code, 0, "{}", pulled.err);
    let listed = on(&["consumer", "list"]);
    assert_eq!((listed.out.as_str(), listed.code), ("old-billing\n", 0), "{}", listed.err);
    assert!(listed.err.contains("1 consumers of at most 1000"), "{}", listed.err);
    let removed = on(&["consumer", "remove", "old-billing"]);
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert_eq!(on(&["consumer", "list"]).out, "");
    let again = on(&["consumer", "remove", "old-billing"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("no consumer \"old-billing\" is registered"), "{}", again.err);
    let measured = [
        "turnpike_front_quota_max{quota=\"consumers\"} 1000",
        "turnpike_front_quota_used{quota=\"plan-bytes\"}",
        "turnpike_front_quota_max{quota=\"plan-bytes\"} 268435456",
        "turnpike_front_audit_entries",
    ];
    let page = || http(&port, "GET", "/metrics").1;
    while measured.iter().any(|line| !page().contains(line)) {
        assert!(front.runs(), "{}", page());
        std::thread::yield_now();
    }
}

#[test]
fn w7_with_few_file_descriptors_a_front_answers_among_silent_connections() {
    let (_dir, url) = database();
    let front = turnpike(&["front", "--listen", "127.0.0.1:0", "--database", &url]);
    let mut limited = Command::new("sh");
    without_settings(&mut limited).args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]);
    limited.arg(front.get_program()).args(front.get_args());
    let mut front = Server::of(limited);
    let address = front.address();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let status = run(&["status", "--front", &format!("http://{address}")]);
    // There is no node; the front says so.
    assert!(status.code != 0 || !status.out.is_empty());
    assert!(!status.err.contains("no front answers"), "{}", status.err);
    assert_eq!(silent.len(), 200);
    front.signal("-TERM");
    let (code, log) = front.ended();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn the_memory_for_requests_is_checked_at_the_start() {
    let small = run(&["front", "--database", "memory:", "--memory", "1000"]);
    assert_eq!(small.code, 2, "{}", small.err);
    assert!(small.err.contains("--memory 1000: write at least 134217728"), "{}", small.err);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("turnpike.toml");
    std::fs::write(&file, "[node]\nname = \"a\"\nqueue-bytes-max = 2000000000\n").unwrap();
    let file = file.display().to_string();
    let large = ["--config", &file, "node", "--database", "memory:", "--memory", "1073741824"];
    let large = run(&large);
    assert_eq!(large.code, 2, "{}", large.err);
    assert!(large.err.contains("node.queue-bytes-max in the configuration file"), "{}", large.err);
}
