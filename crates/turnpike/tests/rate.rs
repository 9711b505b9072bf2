//! `turnpike rate`, to the last decimal.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use support::{Ran, file, run};

/// The amount in billionths.
fn nanos(amount: &str) -> i128 {
    let (whole, part) = amount.split_once('.').unwrap();
    assert_eq!(part.len(), 9, "{amount}");
    format!("{whole}{part}").parse().unwrap()
}

/// The rows of CSV output, by column.
fn rows(out: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(out.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

/// (record, component) -> units, nanos; summed over lines.
fn sums(ran: &Ran) -> BTreeMap<(String, String), (i128, i128)> {
    let mut sums = BTreeMap::new();
    for row in rows(&ran.out) {
        let key = (row["record_id"].clone(), row["component"].clone());
        let (units, amount) = sums.entry(key).or_insert((0, 0));
        *units += row["quantity"].parse::<i128>().unwrap();
        *amount += nanos(&row["amount"]);
    }
    sums
}

#[test]
fn fig_6b_comes_out_exactly() {
    let ran = run(&[
        "rate",
        "--plan",
        &file("plans/fig6b.xml"),
        "--usage",
        &file("plans/fig6b_usage.csv"),
        "--zone",
        "America/New_York",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let mut expected = BTreeMap::new();
    for row in std::fs::read_to_string(file("plans/fig6b_bill.csv")).unwrap().lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let key = (cells[0].to_owned(), cells[1].to_owned());
        expected.insert(key, (cells[2].parse::<i128>().unwrap(), nanos(cells[3])));
    }
    assert_eq!(sums(&ran), expected);
    assert!(ran.err.contains("USD 154.291666667"), "{}", ran.err);
    // Each line says why: r02 takes the last five free hours of January.
    let rows = rows(&ran.out);
    let r02 = rows.iter().find(|row| row["record_id"] == "r02").unwrap();
    assert_eq!((r02["price"].as_str(), r02["period"].as_str()), ("0 per 1 h", "2026-01-01"));
    assert_eq!(
        (r02["level_before"].as_str(), r02["level_after"].as_str()),
        ("342000000000", "360000000000")
    );
    assert_eq!((r02["plan"].as_str(), r02["version"].as_str()), ("fig6b", "1"));
}

#[test]
fn weighted_functions_cost_what_they_weigh() {
    let ran = run(&[
        "rate",
        "--plan",
        &file("tests/data/points.xml"),
        "--usage",
        &file("tests/data/points.csv"),
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let mut accounts: BTreeMap<String, (i128, i128)> = BTreeMap::new();
    for row in rows(&ran.out) {
        let (points, amount) = accounts.entry(row["account_number"].clone()).or_default();
        *points += row["quantity"].parse::<i128>().unwrap();
        *amount += nanos(&row["amount"]);
    }
    let expected = [("1", 22, "1.100000000"), ("2", 6, "0.300000000"), ("3", 24, "1.200000000")];
    for (account, points, amount) in expected {
        assert_eq!(accounts[account], (points, nanos(amount)), "account {account}");
    }
}

#[test]
fn what_cannot_be_rated_is_told_with_its_reason_and_costs_nothing_else() {
    let mixed = |more: &[&str]| {
        let (plan, usage) = (file("tests/data/points.xml"), file("tests/data/mixed.csv"));
        let accounts = file("tests/data/accounts.csv");
        let mut line = vec!["rate", "--plan", &plan, "--usage", &usage, "--accounts", &accounts];
        line.extend(more);
        run(&line)
    };
    let ran = mixed(&[]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    for said in [
        "line 3, record m2: suspended, no-weight",
        "line 4, record m3: suspended, unknown-account",
        "line 6, record m5: suspended, unbound-identity",
        "line 7, record m6: suspended, unknown-plan",
        "line 8, record m7: suspended, not-accepted",
        "line 9, record m1: the same as on line 2; counted once",
        "line 10, record m1: rejected, conflict",
        "mixed.csv:11, column start_time: \"noon\"",
        "line 12, record m9: suspended, currency-mismatch",
        "8 rows are left over",
    ] {
        assert!(ran.err.contains(said), "{said:?} is not in\n{}", ran.err);
    }
    let rated: Vec<(String, String)> = rows(&ran.out)
        .into_iter()
        .map(|row| (row["record_id"].clone(), row["account_number"].clone()))
        .collect();
    assert_eq!(rated, [("m1".into(), "1".into()), ("m4".into(), "2".into())]);
    // The same as JSON lines.
    let json = mixed(&["--json"]);
    let lines: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((json.code, lines.len()), (3, 2));
    assert_eq!(lines[1]["record_id"], "m4");
    assert_eq!(lines[1]["amount"], "0.550000000");
}
