//! `turnpike plan test` and `turnpike plan diff`, with no cluster.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;
use std::process::Command;

use support::{file, run};

#[test]
fn every_plan_of_this_program_passes_its_examples() {
    let plans = ["plans/fig6b.xml", "plans/octets.xml", "tests/data/points.xml"].map(file);
    let ran = run(&["plan", "test", &plans[0], &plans[1], &plans[2]]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for told in [
        "fig6b.xml: three months of account 42: ok, 13 records, 24 lines",
        "octets.xml: a month of three tiers: ok, 5 records, 6 lines",
        "points.xml: three users: ok, 10 records, 10 lines",
    ] {
        assert!(ran.out.contains(told), "{told:?} is not in\n{}", ran.out);
    }
}

/// A directory with a plan, `p.xml`, whose example is in files.
fn directory(expect: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let plan = fs::read_to_string(file("plans/fig6b.xml")).unwrap();
    let example = r#"<example name="f" usage="u.csv" expect="e.csv" zone="America/New_York"/>"#;
    let head = plan.split("  <example").next().unwrap();
    fs::write(dir.path().join("p.xml"), format!("{head}{example}\n</plan>")).unwrap();
    fs::write(dir.path().join("bare.xml"), format!("{head}</plan>")).unwrap();
    fs::copy(file("plans/fig6b_usage.csv"), dir.path().join("u.csv")).unwrap();
    fs::write(dir.path().join("e.csv"), expect).unwrap();
    dir
}

#[test]
fn files_of_examples_are_read_from_beside_the_plan() {
    let bill = fs::read_to_string(file("plans/fig6b_bill.csv")).unwrap();
    let dir = directory(&bill);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ran = run(&["plan", "test", &path("p.xml"), &path("bare.xml")]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("p.xml: f: ok, 13 records, 24 lines"), "{}", ran.out);
    assert!(ran.out.contains("bare.xml: no examples"), "{}", ran.out);

    fs::write(path("e.csv"), bill.replace("49.000000000", "49.5")).unwrap();
    let ran = run(&["plan", "test", &path("p.xml"), "no/such.xml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("p.xml: f: FAILED"), "{}", ran.out);
    let told = "e.csv:10: record r05, component offpeak-1: expected amount 49.500000000, found 49.000000000";
    assert!(ran.out.contains(told), "{}", ran.out);
    assert!(ran.err.contains("1 of 1 examples failed, and 1 of 2 plans"), "{}", ran.err);
    let json = run(&["plan", "test", &path("p.xml"), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report[0]["examples"][0]["differences"][0]["record"], "r05");

    fs::remove_file(path("u.csv")).unwrap();
    let ran = run(&["plan", "test", &path("p.xml")]);
    assert!(ran.out.contains("expected the file u.csv, found none"), "{}", ran.out);
}

#[test]
fn the_output_of_rate_can_be_used_as_an_expectation() {
    let (plan, usage) = (file("plans/fig6b.xml"), file("plans/fig6b_usage.csv"));
    let zone = "America/New_York";
    let rated = run(&["rate", "--plan", &plan, "--usage", &usage, "--zone", zone]);
    let dir = directory(&rated.out);
    let ran = run(&["plan", "test", &dir.path().join("p.xml").display().to_string()]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

#[test]
fn a_difference_is_reported_and_its_exit_code_is_an_option() {
    let dir = tempfile::tempdir().unwrap();
    let old = file("plans/fig6b.xml");
    let new = dir.path().join("new.xml").display().to_string();
    let xml = fs::read_to_string(&old).unwrap();
    let xml = xml.replace("value=\"1.00\"", "value=\"1.20\"");
    let xml = xml.replace("\"hours\"", "\"used\"").replace("\"hours.", "\"used.");
    fs::write(&new, xml).unwrap();
    let ran = run(&["plan", "diff", &old, &new]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for told in [
        "peak: 1.00 per 1 h -> 1.20 per 1 h",
        "- hours (MonthlyAccumulator)",
        "warning: \"hours\" seems to be called \"used\" now: its count begins at zero",
    ] {
        assert!(ran.out.contains(told), "{told:?} is not in\n{}", ran.out);
    }
    assert_eq!(run(&["plan", "diff", &old, &new, "--exit-code"]).code, 1);
    assert_eq!(run(&["plan", "diff", &old, &old, "--exit-code"]).code, 0);
    let json = run(&["plan", "diff", &old, &new, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["prices"][0]["after"], "1.20 per 1 h");
    let neither = run(&["plan", "diff", "fig6b@first", &new]);
    assert_eq!(neither.code, 2, "{}", neither.err);
    assert!(neither.err.contains("write ID@VERSION"), "{}", neither.err);
}

/// A plan is read in the encodings and compression in which usage is read.
#[test]
fn a_plan_is_read_from_gzip_and_utf_16_and_other_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        run(&["plan", "check", &path.display().to_string()])
    };
    let text = fs::read_to_string(file("plans/octets.xml")).unwrap();
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [&b"\xff\xfe"[..], &units].concat();
    let zipped = dir.path().join("zipped.xml");
    fs::write(&zipped, &text).unwrap();
    assert!(Command::new("gzip").arg(&zipped).status().unwrap().success());
    let gzip = fs::read(dir.path().join("zipped.xml.gz")).unwrap();
    let cr = text.replace('\n', "\r").into_bytes();
    for (name, bytes) in [("p.xml.gz", gzip), ("p16.xml", utf16), ("mac.xml", cr)] {
        let ran = check(name, &bytes);
        assert_eq!(ran.code, 0, "{name}: {}", ran.err);
        assert!(ran.out.contains("plan octets version 1"), "{name}: {}", ran.out);
    }
    for (name, bytes, words) in [
        ("p.xlsx", &b"PK\x03\x04rest"[..], "an .xlsx workbook"),
        ("latin1.xml", b"<plan>\n\xe9", "latin1.xml:2: the text is not UTF-8"),
    ] {
        let ran = check(name, bytes);
        assert_eq!(ran.code, 1, "{name}: {}", ran.out);
        assert!(ran.err.contains(words), "{name}: {}", ran.err);
    }
}

#[test]
fn the_primitives_of_plans_are_listed() {
    let all = run(&["plan", "primitives"]);
    assert_eq!(all.code, 0, "{}", all.err);
    assert!(all.out.contains("StepRater") && all.out.contains("SecondAccountFinalizer"));
    let one = run(&["plan", "primitives", "StepRater"]);
    for told in [
        "  in   in: usage, of one or several",
        "  in   level: level, optional",
        "mode=\"graduated|volume|package\", default graduated: ",
        "  <step>, at least one: ",
        "    price=\"money\", required: ",
    ] {
        assert!(one.out.contains(told), "{told:?} is not in\n{}", one.out);
    }
    let json = run(&["plan", "primitives", "--json"]);
    let types: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(types.as_array().unwrap().len(), turnpike_plan::primitive_types().len());
    assert_eq!(run(&["plan", "primitives", "StepRatter"]).code, 2);
}
