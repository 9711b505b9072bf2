//! Short runs of `turnpike drill`: real processes, real faults.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::{Ran, run, turnpike};

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
fn frozen_nodes_are_fenced_or_the_drill_states_why_it_left_them_out() {
    let ran = run(&["drill", "freeze", "--repeat", "1"]);
    held(&ran);
    let left_out = ran.out.contains("left out") && ran.out.contains("PostgreSQL");
    assert!(left_out || ran.out.contains("freeze"), "{}", ran.out);
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

#[test]
fn an_interrupted_drill_stops_its_processes() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().display().to_string();
    let mut drill = turnpike(&["drill", "crash", "--repeat", "1000", "--keep", &keep])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let log = dir.path().join("crash").join("a.log");
    let is_there = || std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    wait_until(is_there);
    let pid = drill.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(drill.wait().unwrap().code(), Some(1));
    // The command line of every process of the drill contains the path of the `--keep` directory.
    wait_until(|| processes_that_name(&keep) == 0);
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
