//! `turnpike load`: which accounts it uses, and how a run that ended early is continued.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::cluster::UpCluster;
use support::server::Server;
use support::{file, run};

/// Nothing listens at this address: a command that connects says "no front answers".
const NOWHERE: [&str; 2] = ["--front", "http://127.0.0.1:1"];

#[track_caller]
fn refused_before_connecting(arguments: &[&str], code: i32, words: &str) {
    let ran = run(&[&["load"], arguments, &NOWHERE].concat());
    assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
    assert!(ran.err.contains(words), "{words:?} is not in\n{}", ran.err);
    assert!(!ran.err.contains("no front answers"), "{}", ran.err);
}

#[test]
fn accounts_beyond_the_largest_number_are_refused_and_never_wrap_to_the_first() {
    let wrapping = ["--first-account", "18446744073709551613", "--account-count", "8"];
    let beyond = "above 18446744073709551615";
    refused_before_connecting(&[&wrapping[..], &["--records", "9"]].concat(), 2, beyond);
    refused_before_connecting(&[&wrapping[..], &["--setup"]].concat(), 2, beyond);
}

#[test]
fn options_with_which_no_load_can_run_are_refused_before_it_connects() {
    refused_before_connecting(&["--records", "0"], 2, "--records");
    refused_before_connecting(&["--run", ""], 2, "--run");
    refused_before_connecting(&["--run", &"r".repeat(114)], 2, "113");
    refused_before_connecting(&["--setup", "--plan", "no/such.xml"], 1, "no/such.xml");
}

const THEIRS: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="theirs" version="1" starts="2000-01-01" currency="USD">
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="unit" price="1.00" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#;

#[test]
fn setup_refuses_accounts_that_have_another_plan_or_no_partition_and_changes_nothing() {
    let cluster = UpCluster::start(&["--nodes", "1", "--partitions", "1"]);
    let plan = cluster.write("theirs.xml", THEIRS);
    cluster.done(&["plan", "publish", &plan]);
    cluster.done(&["account", "open", "707", "--zone", "UTC", "--currency", "USD"]);
    cluster.done(&["account", "subscribe", "707", "--plan", "theirs"]);
    let load = |first: &str| {
        let load = ["load", "--setup", "--account-count", "10", "--records", "20"];
        cluster.run(&[&load[..], &["--first-account", first]].concat())
    };
    let theirs = load("701");
    assert_eq!(theirs.code, 1, "{}{}", theirs.out, theirs.err);
    for words in ["account 707", "the plan theirs", "Nothing was changed"] {
        assert!(theirs.err.contains(words), "{words:?} is not in\n{}", theirs.err);
    }
    let nowhere = load("999995");
    assert_eq!(nowhere.code, 1, "{}{}", nowhere.out, nowhere.err);
    for words in ["999995-1000004", "account 1000001", "in no partition", "Nothing was changed"] {
        assert!(nowhere.err.contains(words), "{words:?} is not in\n{}", nowhere.err);
    }
    for unchanged in ["701", "710", "999995"] {
        assert_eq!(cluster.run(&["account", "show", unchanged]).code, 1, "{unchanged} is open");
    }
    assert!(!cluster.done(&["plan", "list"]).contains("fig6b"));
    // Neither the load's own plan nor a repetition is a conflict.
    for _ in 0..2 {
        let own = load("711");
        assert_eq!(own.code, 0, "{}{}", own.out, own.err);
    }
}

/// The name of a run, from its first line.
fn name(load: &mut Server) -> String {
    load.until("run ").trim_start_matches("run ").to_owned()
}

#[test]
fn a_load_that_a_signal_ends_says_what_it_did_and_how_to_continue() {
    let cluster = UpCluster::start(&["--nodes", "1", "--partitions", "1"]);
    let accounts = ["--account-count", "10", "--streams", "2", "--batch", "50"];
    cluster.done(&[&["load", "--setup", "--records", "1"], &accounts[..]].concat());
    for (signal, said) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
        let load = ["load", "--records", "100000000", "--front", &cluster.url];
        let mut load = Server::start(&[&load[..], &accounts].concat());
        let run = name(&mut load);
        load.until("   2 s");
        load.signal(signal);
        let (code, log) = load.ended();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(&format!("run {run}: ")) && log.contains("records sent"), "{log}");
        for words in [said, "0 batches are unanswered", &format!("--run {run}")] {
            assert!(log.contains(words), "{words:?} is not in\n{log}");
        }
        let again = ["load", "--records", "100", "--run", &run, "--json"];
        let again = cluster.done(&[&again[..], &accounts].concat());
        let again: serde_json::Value = serde_json::from_str(&again).unwrap();
        assert_eq!((&again["sent"], &again["duplicates"]), (&100.into(), &100.into()), "{again}");
    }
}

#[test]
fn a_load_that_makes_no_progress_counts_the_batches_of_all_streams_and_names_the_run() {
    let cluster = UpCluster::start(&["--nodes", "1", "--partitions", "1"]);
    let load = ["load", "--setup", "--account-count", "10", "--records", "100000000"];
    let small = ["--batch", "50", "--streams", "3", "--window", "4", "--timeout", "2s"];
    let mut load = Server::start(&[&load[..], &small, &["--front", &cluster.url]].concat());
    let run = name(&mut load);
    load.until("   1 s");
    drop(cluster);
    let (code, log) = load.ended();
    assert_eq!(code, Some(1), "{log}");
    for words in ["no progress for 2s", "; 12 batches are unanswered", &format!("--run {run}:")] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
    assert!(log.contains(&format!("run {run}: ")), "the summary is missing:\n{log}");
}

#[test]
fn the_plan_of_a_file_is_set_up_as_the_built_in_one_is() {
    let cluster = UpCluster::start(&["--nodes", "1", "--partitions", "1"]);
    let plan = file("plans/octets.xml");
    let load = ["load", "--setup", "--kind", "octets", "--plan", &plan, "--account-count", "10"];
    let said = cluster.done(&[&load[..], &["--records", "20"]].concat());
    assert!(said.contains("20 accepted"), "{said}");
}
