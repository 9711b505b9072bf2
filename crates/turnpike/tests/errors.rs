//! Wrong input by users: a message with the place and the remedy, the right exit code, no panic.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;
use std::process::Stdio;

use support::{file, free_port, ran, run, turnpike};

/// Runs the program, and asserts the exit code and that the message contains each of `words`.
#[track_caller]
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let ran = run(arguments);
    assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
    for word in words {
        assert!(ran.err.contains(word), "{arguments:?}: {word:?} is not in\n{}", ran.err);
    }
}

#[test]
fn files_that_are_not_there() {
    let (plan, usage) = (file("plans/fig6b.xml"), file("plans/fig6b_usage.csv"));
    let gone = "no/such.csv";
    fails(
        &["rate", "--plan", "no/such.xml", "--usage", &usage],
        1,
        &["no/such.xml", "check the path"],
    );
    fails(&["rate", "--plan", &plan, "--usage", gone], 1, &["no/such.csv can't be read"]);
    fails(&["ingest", gone], 1, &["no/such.csv can't be read", "check the path"]);
    fails(&["collect", "access-log", "no/access.log"], 1, &["no/access.log can't be read"]);
    fails(&["account", "import", gone], 1, &["no/such.csv can't be read"]);
    fails(&["table", "check", gone], 1, &["no/such.csv can't be read", "check the path"]);
    fails(&["--config", "no/such.toml", "status"], 2, &["no/such.toml can't be read", "--config"]);
    let dir = env!("CARGO_MANIFEST_DIR");
    fails(&["ingest", dir, "--format", "csv"], 1, &["directory"]);
    fails(&["ingest", "usage.txt"], 2, &["--format csv or --format jsonl"]);
}

#[test]
fn files_that_make_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let no_header = write("usage.csv", "1,2,3\n");
    fails(&["ingest", &no_header], 1, &["usage.csv:1", "record_id", "header"]);
    let accounts = write("accounts.csv", "number,zone\n");
    fails(
        &["account", "import", &accounts],
        1,
        &["accounts.csv:1", "column number: no such column"],
    );
    let cut = write("cut.xml", "<plan xmlns=\"urn:turnpike:plan:1\" id=\"x\">");
    fails(&["plan", "check", &cut], 1, &["cut.xml: line 1"]);
    let plan = fs::read_to_string(file("plans/fig6b.xml")).unwrap();
    let open = write("open.xml", &plan.replace("in=\"free.rest\"", "in=\"nowhere.rest\""));
    fails(&["plan", "check", &open], 1, &["open.xml: line", "primitive \"peak-time\"", "nowhere"]);
    let table = "# turnpike-table id=t kind=dial-plan version=1 starts=2026-01-01\n\
                 prefix,destination,price,per,setup\nx,Nowhere,1,1 min,\n";
    let table = write("dial.csv", table);
    fails(&["table", "check", &table], 1, &["dial.csv: line 3", "prefix", "1 of 1 tables"]);
    fails(&["table", "check", &cut], 1, &["cut.xml: line 1", "turnpike-table"]);
    let latin = dir.path().join("latin.csv");
    fs::write(&latin, b"# turnpike-table \xe4").unwrap();
    fails(&["table", "check", &latin.display().to_string()], 1, &["latin.csv", "UTF-8"]);
    let usage = file("plans/fig6b_usage.csv");
    fails(&["rate", "--plan", &open, "--usage", &usage], 1, &["open.xml: line"]);
    for (text, words) in [
        ("colour = 1", ["conf.toml", "line 1: \"colour\" is no setting"]),
        ("[node]\nname = 5", ["conf.toml", "invalid type"]),
        ("database =", ["conf.toml", "line 1"]),
    ] {
        let config = write("conf.toml", text);
        fails(&["--config", &config, "status"], 2, &words);
    }
    let config = write("conf.toml", "[client]\ntimeout = \"soon\"");
    fails(&["--config", &config, "status"], 2, &["client.timeout", "soon"]);
}

#[test]
fn command_lines_that_make_no_sense() {
    fails(&["fly"], 2, &["unrecognized subcommand"]);
    fails(&["status", "--front", "localhost:7070"], 2, &["http://HOST:PORT"]);
    fails(&["status", "--log", "loud"], 2, &["loud"]);
    fails(&["status", "--log-level", "a=b=c"], 2, &["--log-level"]);
    fails(&["status", "--log-level", "wran"], 2, &["--log-level \"wran\"", "do you mean warn?"]);
    fails(&["status", "--timeout", "0"], 2, &["is not greater than zero", "write for example 30s"]);
    fails(&["suspense", "list", "--max", "0"], 2, &["0 is not in 1..=100000"]);
    fails(&["suspense", "recycle", "--max", "100001"], 2, &["is not in 1..=100000"]);
    fails(&["suspense", "list", "--reason", "boredom"], 2, &["no such reason", "unknown-account"]);
    fails(&["node"], 2, &["--name"]);
    fails(&["node", "--name", "a"], 2, &["--database sqlite:PATH"]);
    fails(&["partition", "init", "--count", "2"], 2, &["--accounts"]);
    fails(&["partition", "init", "--range", "9-1", "--members", "a"], 2, &["FIRST-LAST"]);
    fails(&["account", "open", "0"], 2, &["0 is not in"]);
    fails(&["account", "open", "1", "--zone", "Atlantis"], 2, &["--zone", "IANA"]);
    fails(&["account", "open", "1", "--currency", "usd"], 2, &["ISO 4217"]);
    let offer = ["account", "offer", "1", "--option", "phone"];
    fails(&offer, 2, &["--plan"]);
    let fee = [&offer[..], &["--plan", "a", "--plan", "b", "--fee", "cheap"]].concat();
    fails(&fee, 2, &["cheap", "nine places"]);
    let pick = ["account", "pick", "1", "--option", "phone", "--plan", "a", "--cycle", "May"];
    fails(&pick, 2, &["--cycle", "May"]);
    fails(&["account", "opt-out", "1", "--option", "phone", "--plan", "a"], 2, &["--at"]);
}

#[test]
fn an_address_that_does_not_answer() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let said = [url.as_str(), "is one running there?", "turnpike up", "--front"];
    fails(&["status", "--front", &url], 1, &said);
    fails(&["ingest", &file("plans/fig6b_usage.csv"), "--front", &url], 1, &said);
    fails(&["table", "list", "--front", &url], 1, &said);
    fails(&["load", "--records", "1", "--front", &url], 1, &said);
    fails(&["pull", "--consumer", "two words", "--front", &url], 1, &["no front answers"]);
}

#[test]
fn invalid_databases_are_refused() {
    let init = ["partition", "init", "--count", "1", "--accounts", "1-9", "--members", "a"];
    let with = |url: &str, words: &[&str]| {
        let line: Vec<&str> = init.iter().copied().chain(["--database", url]).collect();
        fails(&line, 1, words);
    };
    with("mysql://somewhere", &["--database", "sqlite:PATH", "postgres://"]);
    with("postgres://u:s3cret@127.0.0.1:1/x", &["--database"]);
    let line: Vec<&str> =
        init.iter().copied().chain(["--database", "postgres://u:s3cret@127.0.0.1:1/x"]).collect();
    assert!(!run(&line).err.contains("s3cret"), "a password is never shown");
}

#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("t.db").display());
    let said = ["another process listens on", address.as_str(), "--listen"];
    fails(&["front", "--database", &url, "--listen", &address], 1, &said);
    fails(&["node", "--name", "a", "--database", &url, "--listen", &address], 1, &said);
    let everywhere = ["node", "--name", "a", "--database", &url, "--listen", "0.0.0.0:0"];
    let everywhere = [&everywhere[..], &["--insecure-plaintext"]].concat();
    fails(&everywhere, 2, &["--advertise HOST:"]);
}

#[test]
fn a_closed_output_is_no_error() {
    let mut child = turnpike(&[
        "rate",
        "--plan",
        &file("plans/fig6b.xml"),
        "--usage",
        &file("plans/fig6b_usage.csv"),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.err.contains("error"), "{}", ran.err);
}

#[test]
fn every_command_has_help_with_an_example() {
    let mut waiting = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let ran = run(&[words.as_slice(), &["--help"]].concat());
        assert_eq!(ran.code, 0);
        let example = format!("\n  turnpike {}", words.join(" "));
        assert!(ran.out.contains("Examples:"), "{words:?}: {}", ran.out);
        assert!(ran.out.contains(example.trim_end()), "{words:?}: {}", ran.out);
        seen += 1;
        let commands = ran.out.split("\nCommands:\n").nth(1).unwrap_or_default();
        let commands = commands.split("\n\n").next().unwrap_or_default();
        let names =
            commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()) {
            if name != "help" {
                waiting.push(path.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
    }
    assert!(seen >= 32, "only {seen} commands were found");
    assert!(run(&["--help"]).out.contains("Exit codes:"));
}

/// An option that would have no effect is refused before anything is sent.
#[test]
fn an_option_that_would_be_dropped_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let line = "192.0.2.1 - - [03/Feb/2026:09:00:01 +0000] \"GET / HTTP/1.1\" 200 1200\n";
    let log = write("access.log", line);
    for option in [["--currency", "EUR"], ["--zone", "UTC"], ["--plan-from", "2026-01-01"]] {
        let collect = ["collect", "access-log", &log, option[0], option[1]];
        fails(&collect, 2, &["required arguments were not provided", "--open-accounts"]);
    }
    let open = ["collect", "access-log", &log, "--open-accounts", "1"];
    fails(&[&open[..], &["--plan-from", "2026-01-01"]].concat(), 2, &["--plan"]);
    fails(&[&open[..], &["--resume"]].concat(), 2, &["--plan"]);
    let usage = write(
        "usage.csv",
        "record_id,account_number,usage_type,start_time,quantity,billsec,attribute:tone\n\
         r1,1,call,2026-02-03T09:00:00Z,1,60,a\n",
    );
    fails(
        &["ingest", &usage, "--attribute", "bilsec"],
        2,
        &["usage.csv", "--attribute bilsec", "no such column", "did you mean billsec?"],
    );
    fails(
        &["ingest", &usage, "--attribute", "quantity"],
        2,
        &["--attribute quantity", "attribute:quantity"],
    );
    let plan = file("plans/octets.xml");
    let rate = ["rate", "--plan", &plan, "--usage", &usage, "--attribute"];
    fails(&[&rate[..], &["nope"]].concat(), 2, &["--attribute nope", "no such column"]);
    let pull = ["pull", "--consumer", "c"];
    for both in [["--ack", "--no-ack"], ["--no-ack", "--ack"]] {
        fails(&[&pull[..], &both[..]].concat(), 2, &["--ack", "--no-ack", "cannot be used with"]);
    }
    // The columns that the option names exist, so the command fails only because there is no front.
    for known in ["billsec", "tone", "attribute:tone"] {
        let front = format!("http://127.0.0.1:{}", free_port());
        let sent = ["--attribute", "billsec", "--front", &front, "--timeout", "1"];
        let ran = run(&[&["ingest", &usage, "--attribute", known][..], &sent[..]].concat());
        assert_eq!(ran.code, 1, "{known}: {}", ran.err);
    }
}

/// With the same source, records of two pipes would be treated as duplicates of each other.
#[test]
fn a_log_without_a_name_needs_a_source() {
    fails(&["collect", "access-log", "-"], 2, &["standard input", "--source NAME"]);
    let front = format!("http://127.0.0.1:{}", free_port());
    let named = ["collect", "access-log", "-", "--source", "www1", "--front", &front];
    fails(&named, 1, &[&front]);
}

/// The usage line of an error is that of the help: options that were given, or set in the
/// environment, are not shown as required.
#[test]
fn the_usage_of_an_error_requires_only_what_is_required() {
    let ran = run(&["plan", "show", "--front", "http://127.0.0.1:1"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("Usage: turnpike plan show [OPTIONS] <ID>"), "{}", ran.err);
    let ran = run(&["ingest", "--window", "0", "usage.csv"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

/// The newest version is requested by leaving the number out, and all plans by leaving the id out.
#[test]
fn a_version_zero_and_an_empty_id_are_refused() {
    for (command, words) in [
        (["plan", "show", "fig6b", "--version", "0"], "0 is not in 1.."),
        (["table", "show", "world", "--version", "0"], "0 is not in 1.."),
    ] {
        fails(&command, 2, &[words]);
    }
    for command in [["plan", "list", "--plan", ""], ["table", "list", "--table", ""]] {
        fails(&command, 2, &["a value is required"]);
    }
    fails(&["plan", "diff", "fig6b@0", "fig6b@1"], 2, &["\"0\" is not a version"]);
}

/// A subscription charges its fees from its start on, so the start is never chosen silently.
#[test]
fn a_plan_for_the_requesters_of_a_log_needs_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let line = |day: &str| format!("192.0.2.1 - - [{day}:09:00:01 +0000] \"GET /\" 200 12\n");
    fs::write(&log, line("07/Feb/2026") + &line("03/Feb/2026")).unwrap();
    let log = log.display().to_string();
    let collect = ["collect", "access-log", &log, "--open-accounts", "1", "--plan", "octets"];
    fails(&collect, 2, &["--plan-from", "the log begins 2026-02-03", "fee"]);
    let late = [&collect[..], &["--plan-from", "2026-03-01"]].concat();
    fails(&late, 2, &["--plan-from 2026-03-01", "after every access", "the log ends 2026-02-07"]);
}

/// A currency must be listed in ISO 4217; three capital letters are not sufficient.
#[test]
fn what_is_not_a_currency_of_iso_4217_is_refused() {
    let (plan, usage) = (file("plans/octets.xml"), file("plans/fig6b_usage.csv"));
    for code in ["ZZZ", "XXX", "XTS", "DEM"] {
        for command in [
            &["account", "open", "1"][..],
            &["account", "change", "1", "--from", "2026-01-01"],
            &["collect", "access-log", "no.log", "--open-accounts", "1"],
            &["rate", "--plan", &plan, "--usage", &usage],
        ] {
            let command = [command, &["--currency", code]].concat();
            fails(&command, 2, &[&format!("\"{code}\" is not a currency"), "ISO 4217"]);
        }
    }
}
