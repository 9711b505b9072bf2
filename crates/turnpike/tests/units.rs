//! The units of `cluster/systemd`.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::file;

const KINDS: [&str; 2] = ["node", "front"];
/// `systemd-analyze security` gives 0 to 100; a unit without sandboxing has 96.
const EXPOSURE_MAX: &str = "20";

fn unit(kind: &str) -> String {
    std::fs::read_to_string(file(&format!("../../cluster/systemd/turnpike-{kind}.service")))
        .unwrap()
}

/// The settings of a unit. Of a repeated key, the last value.
fn settings(kind: &str) -> BTreeMap<String, String> {
    let text = unit(kind);
    let settings = text.lines().filter(|line| !line.starts_with('#'));
    let settings = settings.filter_map(|line| line.split_once('='));
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_unit_starts_a_process_again_unless_it_would_end_the_same_way() {
    for (kind, never) in [("node", "2 4"), ("front", "2")] {
        let unit = settings(kind);
        assert_eq!(unit["Restart"], "always");
        assert_eq!(unit["RestartPreventExitStatus"], never);
        assert_eq!(unit["StartLimitIntervalSec"], "0", "a database may be away for long");
    }
}

#[test]
fn the_memory_limit_of_a_unit_is_above_the_memory_for_requests() {
    for kind in KINDS {
        let unit = settings(kind);
        let memory = unit["ExecStart"].rsplit_once("--memory ").unwrap().1;
        let memory: u64 = memory.parse().unwrap();
        let limit = &unit["MemoryMax"];
        let is_above = match limit.strip_suffix('G') {
            Some(gibibytes) => gibibytes.parse::<u64>().unwrap() << 30 >= 2 * memory,
            None => limit == "85%",
        };
        assert!(is_above, "{limit} for {memory}");
    }
}

/// systemd itself reads the units and judges their sandboxing.
#[test]
fn systemd_accepts_the_units_and_finds_them_closed() {
    let is_needed = std::env::var_os("TURNPIKE_NEEDS_SYSTEMD").is_some();
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        assert!(!is_needed, "systemd-analyze is missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let path = dir.path().join(format!("turnpike-{kind}.service"));
        let program = env!("CARGO_BIN_EXE_turnpike");
        let here = unit(kind).replace("/usr/local/bin/turnpike", program);
        std::fs::write(&path, here).unwrap();
        let analyze = |arguments: &[&str]| {
            let ran = Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
            let told = [ran.stdout, ran.stderr].concat();
            let told = String::from_utf8_lossy(&told).into_owned();
            assert!(ran.status.success(), "{kind}: {arguments:?}\n{told}");
            told
        };
        assert_eq!(analyze(&["verify", "--recursive-errors=no"]), "", "{kind}");
        analyze(&["security", "--offline=true", "--threshold", EXPOSURE_MAX]);
    }
}
