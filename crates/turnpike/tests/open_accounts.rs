//! `collect access-log --open-accounts` on a real cluster of this machine: everything is checked
//! before anything is changed, and a second run changes nothing.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::cluster::UpCluster;
use support::{Ran, file};

/// A cluster with the accounts 1 to 1,000 and the plan `octets`.
struct Up(UpCluster);

impl Up {
    fn start(more: &[&str]) -> Self {
        let options = ["--nodes", "1", "--partitions", "2", "--accounts", "1-1000"];
        let cluster = UpCluster::start(&[&options[..], more].concat());
        cluster.done(&["plan", "publish", &file("plans/octets.xml")]);
        Self(cluster)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.0.run(arguments)
    }

    fn write(&self, name: &str, text: &str) -> String {
        self.0.write(name, text)
    }

    fn is_open(&self, account: &str) -> bool {
        self.run(&["account", "show", account]).code == 0
    }
}

/// The plan of the opened accounts, and its start.
const SUBSCRIBED: [&str; 4] = ["--plan", "octets", "--plan-from", "2020-01-01"];

/// A log of one day with accesses of three clients.
fn log(day: &str) -> String {
    ["192.0.2.1", "192.0.2.2:5000", "[2001:db8::3]:443", "192.0.2.1"]
        .iter()
        .map(|client| format!("{client} - - [{day}:01:00:00 +0000] \"GET / HTTP/1.1\" 200 1000\n"))
        .collect()
}

/// The date that many days ago, in the form of access logs.
fn days_ago(days: i64) -> String {
    let now = jiff::Timestamp::now().as_second() - days * 86_400;
    let time = jiff::Timestamp::from_second(now).unwrap();
    time.strftime("%d/%b/%Y").to_string()
}

#[test]
fn requesters_without_account_get_one_and_nothing_else_changes() {
    let up = Up::start(&[]);
    let accounts = up.write(
        "accounts.csv",
        "account_number,zone,currency,plan,plan_from,identities\n\
         1,UTC,USD,octets,2020-01-01,ip:192.0.2.2\n",
    );
    assert_eq!(up.run(&["account", "import", &accounts]).code, 0);
    let path = up.write("access.log", &log(&days_ago(2)));
    let collect = ["collect", "access-log", &path, "--open-accounts", "1"];
    let collect = [&collect[..], &SUBSCRIBED].concat();
    let first = up.run(&collect);
    assert_eq!(first.code, 0, "{}\n{}", first.out, first.err);
    assert!(first.err.contains("3 requesters: 2 accounts opened (2 to 3)"), "{}", first.err);
    assert!(first.out.contains("4 accepted, 0 duplicates"), "{}", first.out);
    let again = up.run(&collect);
    assert_eq!(again.code, 0, "{}\n{}", again.out, again.err);
    assert!(again.err.contains("0 accounts opened; 0 applied"), "{}", again.err);
    assert!(again.out.contains("0 accepted, 4 duplicates"), "{}", again.out);
    assert!(!up.is_open("4"));
}

#[test]
fn a_check_that_fails_leaves_every_account_as_it_was() {
    let up = Up::start(&[]);
    let old = up.write("old.log", &log("17/May/2015"));
    let young = up.write("young.log", &log(&days_ago(2)));
    let ahead = up.write("ahead.log", &log(&days_ago(-3)));
    let junk = up.write("junk.log", "www.example.net - - [x] \"GET /\" 200 5\n");
    for (path, more, words) in [
        (
            &old,
            &["--plan", "octets", "--plan-from", "2015-01-01"][..],
            &["too old", "since", "--accept-since 2015-05-17"][..],
        ),
        (
            &young,
            &["--plan", "no-such", "--plan-from", "2020-01-01"],
            &["no-such is not published", "plan publish"],
        ),
        (&ahead, &SUBSCRIBED, &["every access is in the future", "the log ends", "clock"]),
        (&junk, &SUBSCRIBED, &["no line is a valid access", "junk.log:1"]),
        (&young, &["--open-accounts", "999"], &["3 accounts are needed", "1-500, 501-1000"]),
    ] {
        let mut arguments = vec!["collect", "access-log", path];
        if more[0] != "--open-accounts" {
            arguments.extend(["--open-accounts", "1"]);
        }
        arguments.extend(more);
        let ran = up.run(&arguments);
        assert_eq!(ran.code, 1, "{arguments:?} {}", ran.err);
        for word in words.iter().chain(&["othing was changed"]) {
            assert!(ran.err.contains(word), "{arguments:?}: {word:?} is not in\n{}", ran.err);
        }
    }
    assert!(["1", "2", "999", "1000"].iter().all(|account| !up.is_open(account)));
    // The message about too-old records names the remedy without --open-accounts too.
    let ran = up.run(&["collect", "access-log", &old]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("too-old") && ran.err.contains("--accept-since"), "{}", ran.err);
}

#[test]
fn a_cluster_for_old_logs_takes_them_and_rejects_what_ends_in_the_future() {
    let up = Up::start(&["--accept-since", "2015-01-01"]);
    let old = up.write("old.log", &log("17/May/2015"));
    let collect = ["collect", "access-log", &old, "--open-accounts", "1", "--plan", "octets"];
    let ran = up.run(&[&collect[..], &["--plan-from", "2015-01-01"]].concat());
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("4 accepted"), "{}", ran.out);
    let start = jiff::Timestamp::now().as_microsecond() - 3_600_000_000;
    let line = |id: &str, duration_us: i64| {
        format!(
            "{{\"record_id\":\"{id}\",\"account_number\":1,\"usage_type\":\"octets\",\"quantity\":1,\
             \"start_us\":{start},\"duration_us\":{duration_us}}}\n"
        )
    };
    let usage =
        format!("{}{}", line("ten-years", 315_576_000_000_000), line("over", 1_800_000_000));
    let ran = up.run(&["ingest", &up.write("usage.jsonl", &usage)]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("record ten-years: rejected, in-the-future"), "{}", ran.err);
    assert!(ran.out.contains("1 accepted"), "{}", ran.out);
}

/// P26: the cluster rejects a record that ends in the future, so no account is opened for its
/// requester.
#[test]
fn a_requester_of_the_future_gets_no_account() {
    let up = Up::start(&[]);
    let line = |client: &str, day: &str| {
        format!("{client} - - [{day}:01:00:00 +0000] \"GET / HTTP/1.1\" 200 1000\n")
    };
    let (past, future) = (days_ago(2), days_ago(-3));
    let lines = [
        line("192.0.2.7", &future),
        line("192.0.2.8", &future),
        line("192.0.2.8", &past),
        line("192.0.2.9", &past),
    ];
    let path = up.write("access.log", &lines.concat());
    let collect = ["collect", "access-log", &path, "--open-accounts", "1"];
    let ran = up.run(&[&collect[..], &SUBSCRIBED].concat());
    assert_eq!(ran.code, 3, "two accesses are rejected: {}\n{}", ran.out, ran.err);
    for words in ["2 accesses are in the future", "2 requesters: 2 accounts opened (1 to 2)"] {
        assert!(ran.err.contains(words), "{words:?} is not in\n{}", ran.err);
    }
    assert!(ran.out.contains("2 accepted"), "{}", ran.out);
    for (account, client) in [("1", "ip:192.0.2.8"), ("2", "ip:192.0.2.9")] {
        assert!(up.run(&["account", "show", account]).out.contains(client), "account {account}");
    }
    assert!(!up.is_open("3"));
}

/// Rotation renames a log. Its records must keep the source of the same server.
#[test]
fn a_rotated_log_is_not_billed_again_and_another_server_is() {
    let up = Up::start(&[]);
    let text = log(&days_ago(2));
    let path = up.write("access.log", &text);
    let collect = ["collect", "access-log", &path, "--open-accounts", "1"];
    let first = up.run(&[&collect[..], &SUBSCRIBED].concat());
    assert_eq!(first.code, 0, "{}\n{}", first.out, first.err);
    assert!(
        first.err.contains("source access.log: name the server with --source"),
        "{}",
        first.err
    );
    for rotated in ["access.log.1", "access.log-20261130"] {
        let ran = up.run(&["collect", "access-log", &up.write(rotated, &text)]);
        assert_eq!(ran.code, 0, "{rotated}: {}\n{}", ran.out, ran.err);
        assert!(ran.out.contains("0 accepted, 4 duplicates"), "{rotated}: {}", ran.out);
    }
    // The source of a rotated file can also be stated; then no message recommends to state it.
    let whole = up.write("access.log.1", &text);
    let ran = up.run(&["collect", "access-log", &whole, "--source", "access.log"]);
    assert!(ran.out.contains("0 accepted, 4 duplicates"), "{}", ran.out);
    assert!(!ran.err.contains("source access.log:"), "{}", ran.err);
    let other = up.run(&["collect", "access-log", &path, "--source", "www2"]);
    assert!(other.out.contains("4 accepted, 0 duplicates"), "{}", other.out);
}

/// Two runs of the command may choose the same numbers. Each number is used by one of them only.
#[test]
fn two_runs_at_once_give_each_requester_an_account_of_its_own() {
    let up = Up::start(&[]);
    let day = days_ago(2);
    let requesters = |run: u8| (1..=40).map(move |n| format!("192.0.{run}.{n}"));
    let logs = [1, 2].map(|run| {
        let lines = requesters(run)
            .map(|client| format!("{client} - - [{day}:01:00:00 +0000] \"GET /\" 200 1000\n"));
        up.write(&format!("{run}.log"), &lines.collect::<String>())
    });
    let runs: Vec<Ran> = std::thread::scope(|scope| {
        let started = logs.each_ref().map(|log| {
            let up = &up;
            scope.spawn(move || {
                let collect = ["collect", "access-log", log, "--open-accounts", "1"];
                up.run(&[&collect[..], &SUBSCRIBED].concat())
            })
        });
        started.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for ran in &runs {
        assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
        assert!(ran.out.contains("40 accepted"), "{}", ran.out);
    }
    let mut held = Vec::new();
    for account in 1..=80 {
        let shown = up.run(&["account", "show", &account.to_string(), "--json"]);
        assert_eq!(shown.code, 0, "account {account}: {}", shown.err);
        let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
        let bindings = shown["bindings"].as_array().unwrap();
        assert_eq!(bindings.len(), 1, "account {account} is billed for several requesters");
        assert_eq!(shown["subscriptions"].as_array().unwrap().len(), 1, "account {account}");
        held.push(bindings[0]["identity"].as_str().unwrap().to_owned());
    }
    let mut all: Vec<String> =
        [1, 2].into_iter().flat_map(requesters).map(|client| format!("ip:{client}")).collect();
    held.sort_unstable();
    all.sort_unstable();
    assert_eq!(held, all);
    assert!(!up.is_open("81"));
}

/// An account may have no plan on purpose, so it is subscribed only with --resume.
#[test]
fn an_account_that_the_run_did_not_open_is_subscribed_only_on_request() {
    let up = Up::start(&[]);
    let open = ["account", "open", "7", "--identity", "ip:192.0.2.1"];
    assert_eq!(up.run(&open).code, 0);
    let path = up.write("access.log", &log(&days_ago(2)));
    let collect = ["collect", "access-log", &path, "--open-accounts", "1"];
    let collect = [&collect[..], &SUBSCRIBED].concat();
    let first = up.run(&collect);
    assert_eq!(first.code, 3, "its two accesses have no plan: {}\n{}", first.out, first.err);
    assert!(first.err.contains("2 accounts opened (1 to 2)"), "{}", first.err);
    for word in ["were open before and have no plan", "account 7", "--resume"] {
        assert!(first.err.contains(word), "{word:?} is not in\n{}", first.err);
    }
    assert!(!up.run(&["account", "show", "7"]).out.contains("octets"));
    let resumed = up.run(&[&collect[..], &["--resume"]].concat());
    assert!(resumed.err.contains("0 accounts opened; 1 applied"), "{}", resumed.err);
    assert!(up.run(&["account", "show", "7"]).out.contains("octets"));
}
