//! Faulty input files, read by `turnpike rate`: each fault is reported, and the exit code is not 0.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::{Ran, file, run};

fn rate(plan: &str, usage: &str, more: &[&str]) -> Ran {
    let (plan, usage) = (file(plan), file(usage));
    let mut arguments = vec!["rate", "--plan", &plan, "--usage", &usage];
    arguments.extend(more);
    run(&arguments)
}

fn lines(ran: &Ran) -> usize {
    ran.out.lines().count().saturating_sub(1)
}

#[test]
fn usage_that_ends_in_the_future_is_not_rated_for_years_to_come() {
    for usage in ["lasts-10-years.csv", "lasts-100-years.csv"] {
        let usage = format!("tests/data/reading/{usage}");
        for plan in ["night.xml", "monthly-fee.xml"] {
            let ran = rate(&format!("tests/data/reading/{plan}"), &usage, &["--now", "2026-12-01"]);
            assert_eq!(ran.code, 3, "{}", ran.err);
            assert!(ran.err.contains("record r1: rejected, in-the-future"), "{}", ran.err);
            assert!(ran.err.contains("1 records rated"), "{}", ran.err);
            assert!((1..10).contains(&lines(&ran)), "{}", ran.out);
        }
    }
}

#[test]
fn usage_that_begins_or_ends_after_now_is_refused_and_reported() {
    let usage = "tests/data/reading/ends-in-the-future.csv";
    let ran = rate("tests/data/reading/night.xml", usage, &["--now", "2026-12-01"]);
    assert_eq!((ran.code, lines(&ran)), (3, 0), "{}", ran.err);
    for record in ["open", "future"] {
        assert!(
            ran.err.contains(&format!("record {record}: rejected, in-the-future")),
            "{}",
            ran.err
        );
    }
    let later = rate("tests/data/reading/night.xml", usage, &["--now", "2037-01-01"]);
    assert_eq!(later.code, 0, "{}", later.err);
    let wrong = rate("tests/data/reading/night.xml", usage, &["--now", "soon"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

#[test]
fn an_open_quote_is_reported_with_its_line_and_the_unread_rest() {
    let usage = "../collect/tests/data/everyday/quote-left-open.csv";
    let ran = rate("tests/data/reading/flat.xml", usage, &[]);
    assert_eq!((ran.code, lines(&ran)), (3, 1), "{}", ran.err);
    assert!(ran.err.contains("quote-left-open.csv:3, column note"), "{}", ran.err);
    assert!(ran.err.contains("the 4 lines after it were not read"), "{}", ran.err);
}

#[test]
fn a_column_like_a_known_one_is_always_reported() {
    for column in ["Duration", "billsec", "duration_ms", "end_timestamp"] {
        let usage = format!("../collect/tests/data/everyday/column-{column}.csv");
        let ran = rate("tests/data/reading/flat.xml", &usage, &[]);
        assert_eq!((ran.code, lines(&ran)), (1, 0), "{}", ran.err);
        assert!(ran.err.contains(&format!("column {column}")), "{}", ran.err);
        // If the column is declared as an attribute, there is no message about it.
        let ran = rate("tests/data/reading/flat.xml", &usage, &["--attribute", column]);
        assert!(!ran.err.contains(&format!("column {column}")), "{}", ran.err);
    }
}

/// If a plan prices the duration, a record without a duration is suspended, even if it has other
/// measures.
#[test]
fn a_lost_duration_is_never_rated_as_zero() {
    let dir = tempfile::tempdir().unwrap();
    let rated = |name: &str, text: &str| {
        let usage = dir.path().join(name);
        std::fs::write(&usage, text).unwrap();
        let plan = file("tests/data/reading/flat.xml");
        run(&["rate", "--plan", &plan, "--usage", &usage.display().to_string()])
    };
    let start = "2026-11-05T01:00:00Z";
    let csv = |columns: &str, cells: &str| {
        let header = format!("record_id,account_number,usage_type,start_time,{columns}\n");
        rated("u.csv", &format!("{header}r1,1,call,{start},{cells}\n"))
    };
    let json = |more: &str| {
        let first = "\"record_id\":\"r1\",\"account_number\":1,\"usage_type\":\"call\"";
        rated("u.jsonl", &format!("{{{first},\"start_time\":\"{start}\",{more}}}\n"))
    };
    for ran in [
        csv("quantity,length", "5,3600"),
        csv("measure:Duration,quantity", "3600,5"),
        csv("measure:billsec", "3600"),
        csv("measure:octets,end_time", "5,"),
        csv("quantity,end_time", "5,"),
        csv("quantity,duration", "5,"),
        json("\"quantity\":5,\"attributes\":{\"duration\":3600}"),
        json("\"measures\":{\"billsec\":3600}"),
        json("\"quantity\":5,\"duration\":null"),
    ] {
        assert_eq!((ran.code, lines(&ran)), (3, 0), "{}", ran.err);
        let said = "record r1: suspended, missing-input: record.duration";
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    // A call with a duration of zero costs nothing. A measure that the plan reads causes no
    // warning, even if its name resembles `duration`.
    for ran in [
        csv("quantity,duration", "5,0"),
        csv("quantity,end_time", &format!("5,{start}")),
        json("\"quantity\":5,\"duration_us\":0"),
    ] {
        assert_eq!((ran.code, lines(&ran)), (0, 0), "{}", ran.err);
    }
    // No line states a duration that the record does not state.
    let counted = |cells: &str| {
        let plan = std::fs::read_to_string(file("tests/data/reading/flat.xml")).unwrap();
        let plan = plan.replace("record.duration", "record.quantity").replace("1 h", "1");
        let (file, usage) = (dir.path().join("c.xml"), dir.path().join("c.csv"));
        std::fs::write(&file, plan).unwrap();
        let header = "record_id,account_number,usage_type,start_time,quantity,duration";
        std::fs::write(&usage, format!("{header}\nr1,1,call,{start},{cells}\n")).unwrap();
        let [file, usage] = [file, usage].map(|path| path.display().to_string());
        let ran = run(&["rate", "--plan", &file, "--usage", &usage, "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let line: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        line["duration_us"].clone()
    };
    assert_eq!(counted("5,"), serde_json::Value::Null);
    assert_eq!(counted("5,0"), 0);
    assert_eq!(counted("5,1"), 1_000_000);
    let plan = std::fs::read_to_string(file("tests/data/reading/flat.xml")).unwrap();
    let plan = plan.replace("record.duration", "record.billsec").replace("1 h", "3600");
    let (file, usage) = (dir.path().join("p.xml"), dir.path().join("b.csv"));
    std::fs::write(&file, plan).unwrap();
    let header = "record_id,account_number,usage_type,start_time,measure:billsec";
    std::fs::write(&usage, format!("{header}\nr1,1,call,{start},1800\n")).unwrap();
    let [file, usage] = [file, usage].map(|path| path.display().to_string());
    let ran = run(&["rate", "--plan", &file, "--usage", &usage]);
    assert_eq!((ran.code, lines(&ran)), (0, 1), "{}", ran.err);
    assert!(ran.err.contains("EUR 0.30") && !ran.err.contains("warning"), "{}", ran.err);
}

#[test]
fn an_attribute_that_the_plan_reads_is_accepted_without_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let plan = path(
        "plan.xml",
        "<plan xmlns=\"urn:turnpike:plan:1\" id=\"c\" version=\"1\" starts=\"2026-01-01\" currency=\"EUR\">\
         <graph><UsageTypeClassifier id=\"sort\" in=\"record.quantity\" default=\"other\">\
         <rule as=\"minute\" attribute=\"billsec\" is=\"60\"/></UsageTypeClassifier>\
         <StepRater id=\"t\" in=\"sort.out\"><step id=\"t\" price=\"1.00\" per=\"1\"/></StepRater>\
         <AccountFinalizer id=\"post\" in=\"t.charge\"/></graph></plan>",
    );
    let usage = path(
        "usage.csv",
        "record_id,account_number,usage_type,start_time,quantity,billsec\n\
         r1,1,call,2026-01-05T10:00:00Z,1,60\n",
    );
    let ran = run(&["rate", "--plan", &plan, "--usage", &usage]);
    assert!(!ran.err.contains("column billsec"), "{}", ran.err);
    assert!(ran.err.contains("records rated"), "the plan is sound: {}", ran.err);
}

#[test]
fn the_samples_of_the_page_of_formats_are_read() {
    let page = std::fs::read_to_string(file("../../docs/formats.md")).unwrap();
    let samples: Vec<(&str, &str)> = page
        .split("\n```")
        .filter_map(|part| part.split_once('\n'))
        .filter(|(kind, _)| ["csv", "jsonl", ""].contains(kind))
        .collect();
    let of = |kind: &str, word: &str| {
        let mut samples = samples.iter().filter(|(k, text)| *k == kind && text.contains(word));
        samples
            .next()
            .unwrap_or_else(|| panic!("no sample {kind} with {word}"))
            .1
            .as_bytes()
            .to_vec()
    };
    let csv = of("csv", "record_id");
    let rows = turnpike_collect::UsageCsv::new("sample", csv.as_slice()).unwrap();
    let csv: Vec<_> = rows.map(|row| row.unwrap().content).collect();
    let json = of("jsonl", "record_id");
    let rows = turnpike_collect::UsageJsonl::new("sample", json.as_slice());
    let json: Vec<_> = rows.map(|row| row.unwrap().content).collect();
    assert_eq!((csv.len(), &csv), (2, &json));
    let accounts = of("csv", "zone");
    let rows = turnpike_collect::AccountsCsv::new("sample", accounts.as_slice()).unwrap();
    assert_eq!(rows.map(Result::unwrap).count(), 2);
    let log = of("", "Lantern");
    let rows =
        turnpike_collect::AccessLog::new("s", "s", log.as_slice(), Default::default()).unwrap();
    let identities: Vec<_> = rows.map(|row| row.unwrap().content.identity).collect();
    assert_eq!(identities, ["ip:192.0.2.10", "ip:198.51.100.7"]);
}
