//! `turnpike table`: checks, publishes and shows tables, and converts MaxMind's files.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::server::Server;
use support::{Ran, file, run};

const ROWS: &str = "prefix,destination,price,per,setup\n1,US,0.02,1 min,\n44,Britain,0.03,1 min,\n";

fn dial_plan(version: u32, starts: &str) -> String {
    format!("# turnpike-table id=world kind=dial-plan version={version} starts={starts}\n{ROWS}")
}

/// A front with a database of its own. There are no nodes, because the catalogue does not need
/// them.
struct Front {
    url: String,
    _process: Server,
}

impl Front {
    fn start(dir: &Path) -> Self {
        let database = format!("sqlite:{}", dir.join("turnpike.db").display());
        let listen = ["front", "--database", &database, "--listen", "127.0.0.1:0"];
        let mut process = Server::start(&listen);
        Self { url: format!("http://{}", process.address()), _process: process }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(&[arguments, &["--front", &self.url]].concat())
    }
}

#[test]
fn a_published_table_is_returned_by_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text = dial_plan(1, "2020-01-01");
    let (first, next) = (write("v1.csv", &text), write("v2.csv", &dial_plan(2, "2199-01-01")));
    let checked = run(&["table", "check", &first, &next]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(checked.out.contains("table world version 1, from 2020-01-01, dial-plan, 2 rows"));
    let front = Front::start(dir.path());
    let published = front.run(&["table", "publish", &first, &next]);
    assert_eq!(published.code, 0, "{}", published.err);
    let said: Vec<&str> = published.out.lines().collect();
    assert_eq!(said[0], "table world version 1, from 2020-01-01, dial-plan, 2 rows: published");
    let again = front.run(&["table", "publish", &first]);
    assert!(again.out.contains("was in the catalogue already"), "{}", again.out);
    let shown = front.run(&["table", "show", "world", "--version", "1"]);
    assert_eq!(shown.out, text);
    let listed = front.run(&["table", "list"]);
    assert!(listed.out.starts_with("TABLE  VERSION  STARTS      KIND"), "{}", listed.out);
    assert_eq!(listed.out.lines().count(), 3);
    let listed = front.run(&["table", "list", "--table", "world", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!((&listed[1]["version"], &listed[1]["rows"]), (&2.into(), &2.into()));
    let late = front.run(&["table", "publish", &write("v3.csv", &dial_plan(3, "2021-01-01"))]);
    assert_eq!(late.code, 1);
    for word in ["v3.csv was not published", "has begun", "version 1"] {
        assert!(late.err.contains(word), "{word:?} is not in {}", late.err);
    }
    let missing = front.run(&["table", "show", "moon"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("turnpike table list"), "{}", missing.err);
}

/// A table is read in the encodings and compression in which usage is read.
#[test]
fn a_table_is_read_from_gzip_and_utf_16_and_other_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        run(&["table", "check", &path.display().to_string()])
    };
    let text = dial_plan(1, "2026-01-01");
    let plain = check("plain.csv", text.as_bytes());
    assert_eq!(plain.code, 0, "{}", plain.err);
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [&b"\xff\xfe"[..], &units].concat();
    let zipped = dir.path().join("zipped.csv");
    fs::write(&zipped, &text).unwrap();
    assert!(Command::new("gzip").arg(&zipped).status().unwrap().success());
    let gzip = fs::read(dir.path().join("zipped.csv.gz")).unwrap();
    let cr = text.replace('\n', "\r").into_bytes();
    for (name, bytes) in [("t.csv.gz", gzip), ("t16.csv", utf16), ("mac.csv", cr)] {
        let ran = check(name, &bytes);
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
        let same = |out: &str| out.split_once(": ").map(|(_, said)| said.to_owned());
        assert_eq!(same(&ran.out), same(&plain.out), "{name}");
    }
    for (name, bytes, words) in [
        ("t.xlsx", &b"PK\x03\x04rest"[..], "an .xlsx workbook"),
        ("t.zst", b"\x28\xb5\x2f\xfdrest", "zstd"),
        ("latin1.csv", b"# turnpike-table\n\xe9", "latin1.csv:2: the text is not UTF-8"),
        ("semicolons.csv", text.replace(',', ";").as_bytes(), "separated by semicolons"),
    ] {
        let ran = check(name, bytes);
        assert_eq!(ran.code, 1, "{name}: {}", ran.out);
        assert!(ran.err.contains(words), "{name}: {}", ran.err);
    }
}

fn maxmind(name: &str) -> String {
    file(&format!("../collect/tests/data/maxmind-{name}.csv"))
}

fn from_maxmind(files: &[&str]) -> Ran {
    let head = ["--id", "geo", "--version", "1", "--starts", "2026-02-01", "--level", "country"];
    run(&[&["table", "from-maxmind"], &head[..], files].concat())
}

#[test]
fn maxminds_files_become_a_table_that_can_be_published() {
    let (locations, v4, v6) =
        (maxmind("locations"), maxmind("blocks-ipv4"), maxmind("blocks-ipv6"));
    let made = from_maxmind(&[&v4, &v6, &locations]);
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.err.contains("networks are left out"), "{}", made.err);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("geo.csv");
    fs::write(&path, &made.out).unwrap();
    let checked = run(&["table", "check", &path.display().to_string()]);
    assert!(checked.out.contains("table geo version 1, from 2026-02-01, addresses"), "{checked:?}");
}

#[test]
fn input_that_makes_no_table_of_addresses_prints_none_and_the_reason() {
    let (locations, v4) = (maxmind("locations"), maxmind("blocks-ipv4"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("geo.mmdb");
    fs::write(&path, "no database").unwrap();
    let mmdb = path.display().to_string();
    for (files, code, word) in [
        (vec![v4.as_str()], 2, "no file of locations"),
        (vec![locations.as_str()], 2, "no file of blocks"),
        (vec![&v4, &locations, &locations], 2, "several files of locations"),
        (vec![&mmdb, &v4], 2, "can't be combined"),
        (vec![&mmdb], 1, "geo.mmdb"),
        (vec!["no/such.csv", &locations], 1, "check the path"),
        (vec![&v4, &v4, &locations], 1, "does not follow"),
    ] {
        let ran = from_maxmind(&files);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{files:?}: {}", ran.err);
        assert!(ran.err.contains(word), "{word:?} is not in {}", ran.err);
    }
    let wrong = run(&[
        "table",
        "from-maxmind",
        "--id",
        "g",
        "--version",
        "1",
        "--starts",
        "soon",
        "--level",
        "street",
        &v4,
    ]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("soon"), "{}", wrong.err);
}
