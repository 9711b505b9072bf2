//! `turnpike rate`: amounts are compared to the last decimal.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use support::{Ran, file, ran, run, turnpike};

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

/// The sums of units and nanos over the lines of each record and component.
fn sums(ran: &Ran) -> BTreeMap<(String, String), (i128, i128)> {
    let mut sums = BTreeMap::new();
    for row in rows(&ran.out) {
        let key = (row["record_id"].clone(), row["component"].clone());
        let (units, amount) = sums.entry(key).or_insert((0, 0));
        *units += row["units"].parse::<i128>().unwrap();
        *amount += nanos(&row["amount"]);
    }
    sums
}

#[test]
fn fig_6b_is_rated_exactly() {
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
    // Each line states its price and levels: r02 uses the last five free hours of January.
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
fn weighted_functions_are_priced_by_weight() {
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
        *points += row["units"].parse::<i128>().unwrap();
        *amount += nanos(&row["amount"]);
    }
    let expected = [("1", 22, "1.100000000"), ("2", 6, "0.300000000"), ("3", 24, "1.200000000")];
    for (account, points, amount) in expected {
        assert_eq!(accounts[account], (points, nanos(amount)), "account {account}");
    }
}

/// The year 0 is a valid time. It is before every version of the plan, and the message says so.
#[test]
fn usage_before_the_first_version_of_a_plan_is_reported_with_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let usage = dir.path().join("usage.csv");
    let text = "record_id,account_number,usage_type,start_time,quantity\n\
                r1,1,octets,0000-01-01T00:00:00Z,5\n";
    std::fs::write(&usage, text).unwrap();
    let usage = usage.display().to_string();
    let ran = run(&["rate", "--plan", &file("tests/data/points.xml"), "--usage", &usage]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let said = "record r1: suspended, unknown-plan: points: its first version starts on 2000-01-01";
    assert!(ran.err.contains(said), "{}", ran.err);
}

#[test]
fn a_record_that_cannot_be_rated_is_reported_with_its_reason_and_affects_no_other() {
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
    // With --json, the same lines are printed as JSON.
    let json = mixed(&["--json"]);
    let lines: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((json.code, lines.len()), (3, 2));
    assert_eq!(lines[1]["record_id"], "m4");
    assert_eq!(lines[1]["amount"], "0.550000000");
}

/// A directory with a plan that has a fee in advance and prices calls by a dial plan, and with
/// usage.
fn calls() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "calls.xml",
        r#"<plan xmlns="urn:turnpike:plan:1" id="calls" version="1" starts="2026-01-01" currency="GBP">
  <graph>
    <MonthlyRecurringCharge id="fee" amount="5.00"/>
    <UsageTypeSelector id="talk" in="record.duration" types="call"/>
    <E164DialPlanRater id="dial" in="talk.pass" table="world" country-code="44" international-prefix="00" national-prefix="0"/>
    <AccountFinalizer id="post" in="fee.charge dial.charge"/>
  </graph>
  <example name="a minute" since="2026-02-01">
    <record id="r1" type="call" start="2026-02-10T09:00:00Z" duration="1 min" attribute.called="0039 06 698 1234"/>
    <expect due="2026-02-01" component="fee" amount="5.00"/>
    <expect record="r1" component="call" quantity="1 min" amount="0.03"/>
  </example>
</plan>"#,
    );
    write(
        "world.csv",
        "# turnpike-table id=world kind=dial-plan version=1 starts=2026-01-01\n\
         prefix,destination,price,per\n39,Italy,0.03,1 min\n44,United Kingdom,0.02,1 min\n",
    );
    write(
        "usage.csv",
        "record_id,account_number,usage_type,start_time,duration,called\n\
         r1,7,call,2026-01-10T09:00:00Z,2min,020 7946 0000\n\
         r2,7,call,2026-02-10T09:00:00Z,1min,0039 06 698 1234\n",
    );
    dir
}

fn rate_calls(more: &[&str]) -> Ran {
    let dir = calls();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (plan, usage, table) = (path("calls.xml"), path("usage.csv"), path("world.csv"));
    let mut line = vec!["rate", "--plan", &plan, "--usage", &usage, "--table", &table];
    line.extend(more);
    run(&line)
}

#[test]
fn due_charges_come_before_the_record_and_time_advances_to_a_date() {
    let ran = rate_calls(&["--until", "2026-04-01"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told: Vec<String> = rows(&ran.out)
        .iter()
        .map(|row| {
            let told = ["record_id", "component", "amount", "table_row", "posting", "posted_to"];
            told.map(|column| row[column].as_str()).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "due:2026-01-01 fee 5.000000000  account 7",
            "r1 call 0.040000000 1 account 7",
            "due:2026-02-01 fee 5.000000000  account 7",
            "r2 call 0.030000000 0 account 7",
            "due:2026-03-01 fee 5.000000000  account 7",
            "due:2026-04-01 fee 5.000000000  account 7",
        ]
    );
    assert!(ran.err.contains("GBP 20.07"), "{}", ran.err);
}

fn run_with_stdin(arguments: &[&str], input: &str) -> Ran {
    let mut child = turnpike(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    ran(child.wait_with_output().unwrap())
}

/// The usage of one month, and a plan that began long before: the fees of the earlier months are
/// not part of a trial of this file.
#[test]
fn fees_begin_with_the_billing_cycle_of_the_earliest_record() {
    let dir = calls();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let november = "record_id,account_number,usage_type,start_time,duration,called\n\
                    r2,7,call,2026-11-12T09:00:00Z,1min,0039 06 698 1234\n\
                    r1,7,call,2026-11-10T09:00:00Z,2min,020 7946 0000\n\
                    r3,7,call,2026-11-09T09:00:00Z,noon,020 7946 0000\n";
    std::fs::write(path("november.csv"), november).unwrap();
    let (plan, usage, table) = (path("calls.xml"), path("november.csv"), path("world.csv"));
    let rate = ["rate", "--plan", &plan, "--table", &table, "--usage"];
    let ran = run(&[&rate[..], &[&usage, "--until", "2026-11-30"]].concat());
    assert_eq!(ran.code, 3, "one row is not a record: {}", ran.err);
    assert!(ran.err.contains("GBP 5.07"), "{}", ran.err);
    let said = "every account is subscribed from 2026-11-01 (UTC), the start of the billing cycle \
                of the earliest record (r1); --plan-from";
    assert_eq!(ran.err.matches(said).count(), 1, "{}", ran.err);
    // A pipe can be read once only.
    let piped = run_with_stdin(&[&rate[..], &["-", "--format", "csv"]].concat(), november);
    assert!(piped.err.contains("GBP 5.07") && piped.err.contains(said), "{}", piped.err);
    let cycle = run(&[&rate[..], &[&usage, "--cycle-day", "11"]].concat());
    assert!(cycle.err.contains("subscribed from 2026-10-11"), "{}", cycle.err);
    let since = run(&[&rate[..], &[&usage, "--plan-from", "2026-09-01"]].concat());
    assert!(since.err.contains("GBP 15.07"), "{}", since.err);
    assert!(!since.err.contains("subscribed from"), "{}", since.err);
    let never = run(&[&rate[..], &[&usage, "--plan-from", "soon"]].concat());
    assert_eq!(never.code, 2, "{}", never.err);
    assert!(never.err.contains("--plan-from"), "{}", never.err);
}

/// Nothing falls due by an allowance, and still the start of the subscription decides what rolls
/// over: 6 of 6 GB are free with the unused grant of the month before, and 3 without it.
#[test]
fn an_allowance_does_not_roll_over_from_cycles_before_the_usage() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let plan = path(
        "data.xml",
        r#"<plan xmlns="urn:turnpike:plan:1" id="data" version="1" starts="2026-01-01" currency="EUR">
  <graph>
    <UsageTypeSelector id="data" in="record.octets" types="data"/>
    <Allowance id="included" in="data.pass"><bucket id="month" grant="3 GB" every="month" rollover="1"/></Allowance>
    <StepRater id="more" in="included.rest"><step id="gb" price="3.00" per="1 GB"/></StepRater>
    <AccountFinalizer id="post" in="more.charge"/>
  </graph>
</plan>"#,
    );
    let usage = path(
        "usage.csv",
        "record_id,account_number,usage_type,start_time,measure:octets\n\
         r1,7,data,2026-03-10T09:00:00Z,6000000000\n",
    );
    let rate = ["rate", "--plan", &plan, "--usage", &usage];
    let ran = run(&rate);
    assert!(ran.err.contains("EUR 9.00"), "{}", ran.err);
    assert!(ran.err.contains("subscribed from 2026-03-01 (UTC)"), "{}", ran.err);
    let since = run(&[&rate[..], &["--plan-from", "2026-01-01"]].concat());
    assert!(!since.err.contains("EUR 9.00"), "{}", since.err);
}

#[test]
fn an_end_before_the_last_record_is_refused_with_both_times() {
    for more in [&[][..], &["--plan-from", "2026-01-01"]] {
        let ran = rate_calls(&[&["--until", "2026-02-10"][..], more].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        for word in ["--until 2026-02-10", "r2", "2026-02-10T09:00:00Z"] {
            assert!(ran.err.contains(word), "{word}: {}", ran.err);
        }
        let ran = rate_calls(&[&["--until", "2026-02-11"][..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
}

#[test]
fn a_plan_or_a_table_that_is_given_twice_is_refused() {
    let dir = calls();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (plan, table, usage) = (path("calls.xml"), path("world.csv"), path("usage.csv"));
    let (other_plan, other_table) = (path("other.xml"), path("other.csv"));
    let dearer = std::fs::read_to_string(&plan).unwrap().replace("\"5.00\"", "\"7.00\"");
    std::fs::write(&other_plan, dearer).unwrap();
    let dearer = std::fs::read_to_string(&table).unwrap().replace(",0.02,", ",0.20,");
    std::fs::write(&other_table, dearer).unwrap();
    let rate = ["rate", "--usage", &usage, "--plan", &plan, "--table", &table];
    assert_eq!(run(&rate).code, 0);
    for (option, file, what) in [
        ("--plan", &other_plan, "version 1 of plan calls"),
        ("--plan", &plan, "version 1 of plan calls"),
        ("--table", &other_table, "version 1 of table world"),
    ] {
        let ran = run(&[&rate[..], &[option, file]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        for word in [what, file, "give each version once"] {
            assert!(ran.err.contains(word), "{word:?} is not in\n{}", ran.err);
        }
    }
}

#[test]
fn a_plan_is_tested_with_the_tables_that_it_reads() {
    let dir = calls();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let with = run(&["plan", "test", &path("calls.xml"), "--table", &path("world.csv")]);
    assert_eq!(with.code, 0, "{}{}", with.out, with.err);
    let without = run(&["plan", "test", &path("calls.xml")]);
    assert_eq!(without.code, 1);
    assert!(without.out.contains("found suspended, no-table"), "{}", without.out);
}

#[test]
fn each_record_is_stepped_through_the_primitives() {
    let all = rate_calls(&["--step"]);
    assert_eq!(all.code, 0, "{}", all.err);
    for told in [
        "account 7, charge due 2026-01-01\n  books fee: 5.000000000 GBP",
        "record r1 through plan calls version 1\nfee (MonthlyRecurringCharge, line 3)",
        "talk (UsageTypeSelector, line 4)\n  takes in: 120 s from 2026-01-10T09:00:00+00:00",
        "  books line 0: dial/call, usage, 120 s at",
        "record r1: rated, 1 line\n",
    ] {
        assert!(all.out.contains(told), "{told:?} is not in\n{}", all.out);
    }
    let some = rate_calls(&["--step", "--break", "E164DialPlanRater"]);
    assert!(!some.out.contains("UsageTypeSelector") && some.out.contains("dial ("), "{}", some.out);
    let json = rate_calls(&["--step", "--json", "--break", "dial"]);
    let steps: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[1]["booked"][0]["amount"], "0.030000000");
    let unknown = rate_calls(&["--step", "--break", "dail"]);
    assert_eq!(unknown.code, 2, "{}", unknown.err);
    assert!(unknown.err.contains("--break dail: no plan has"), "{}", unknown.err);
}

fn alternative(dir: &std::path::Path, id: &str, price: &str, fee: &str) -> String {
    let path = dir.join(format!("{id}.xml"));
    let xml = format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <BillingCycleRecurringCharge id="cycle" amount="{fee}"/>
    <StepRater id="calls" in="record.quantity"><step id="call" price="{price}" per="1"/></StepRater>
    <Adder id="sum" in="cycle.charge calls.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#
    );
    std::fs::write(&path, xml).unwrap();
    path.to_string_lossy().into_owned()
}

const CALLS: &str = "record_id,account_number,usage_type,start_time,quantity\n\
                     r1,7,call,2026-01-10T12:00:00Z,100\n";

/// Rates a hundred calls of January by the plans `small` (0.10 for a call, 1.00 for a month) and
/// `large` (0.01 for a call, 5.00 for a month).
fn rate_two(extra: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let small = alternative(dir.path(), "small", "0.10", "1.00");
    let large = alternative(dir.path(), "large", "0.01", "5.00");
    let usage = dir.path().join("usage.csv");
    std::fs::write(&usage, CALLS).unwrap();
    let usage = usage.to_string_lossy().into_owned();
    let rate = ["rate", "--plan", &small, "--plan", &large, "--usage", &usage];
    run(&[&rate[..], extra].concat())
}

/// docs/plan-semantics.md section 6: when the cycle closes, the cheapest alternative is billed,
/// together with the fee of the option.
#[test]
fn an_option_is_billed_by_the_cheapest_plan() {
    let option = ["--option", "phone=small,large", "--option-fee", "phone=0.50"];
    let ran = rate_two(&[&option[..], &["--until", "2026-02-04"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows = rows(&ran.out);
    let billed = rows.iter().filter(|row| row["plan"] == "large" && row["posting"] == "account");
    let mut amounts: Vec<i128> = billed.map(|row| nanos(&row["amount"])).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [500_000_000, 6_000_000_000], "5.00 and 1.00 of calls, and the fee");
    assert!(rows.iter().all(|row| row["plan"] == "large" || row["posting"] == "trial"));
}

#[test]
fn an_option_that_cannot_be_offered_is_refused_by_its_name() {
    for (extra, why) in [
        (&["--option", "phone=small"][..], "two or more"),
        (&["--option", "phone=small,huge"], "\"huge\""),
        (&["--option", "a=small,large", "--option", "b=small,large"], "offered already"),
        (&["--option", "phone=small,large", "--option-fee", "tv=1"], "no --option tv"),
        (&["--option", "phone=small,large", "--option-fee", "phone=-1"], "an amount"),
    ] {
        let ran = rate_two(extra);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains(why), "{}", ran.err);
    }
}

#[test]
fn due_charges_are_stepped_through_the_primitives_with_an_effect() {
    let ran = rate_two(&["--step", "--json", "--until", "2026-02-01"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let steps =
        ran.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let due = steps.filter(|step| step["record"].as_str().unwrap().starts_with("due:"));
    let shown: Vec<String> = due
        .map(|step| {
            let text = |name: &str| step[name].as_str().unwrap().to_owned();
            let amount = step["booked"][0]["amount"].as_str().unwrap();
            format!("{} {} {} {amount}", text("record"), text("plan"), text("primitive"))
        })
        .collect();
    let expected = [
        "due:2026-01-01 small cycle 1.000000000",
        "due:2026-01-01 large cycle 5.000000000",
        "due:2026-02-01 small cycle 1.000000000",
        "due:2026-02-01 large cycle 5.000000000",
    ];
    assert_eq!(shown, expected);
}
