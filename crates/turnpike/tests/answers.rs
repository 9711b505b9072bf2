//! The messages of commands about common mistakes, on a cluster of one node.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;
use std::path::Path;

use support::cluster::UpCluster;
use support::{Ran, file, run};

fn started() -> UpCluster {
    UpCluster::start(&["--nodes", "1", "--partitions", "1", "--accept-since", "1999-01-01"])
}

fn says(ran: &Ran, words: &[&str]) {
    let text = format!("{}{}", ran.out, ran.err);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
}

const PRICED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="priced" version="1" starts="2000-01-01" currency="USD">
  <parameter id="price" type="money" value="1.00"/>
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="unit" price="$price" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#;

const ACCOUNTS: &str = "account_number,zone,currency,plan,plan_from,identities,parameter:price\n\
                        1,UTC,USD,points,2000-01-01,,\n\
                        2,UTC,USD,pointz,2000-01-01,user:two,\n\
                        3,UTC,USD,priced,2000-01-01,user:three,cheap\n\
                        4,UTC,EUR,priced,2000-01-01,,2.00\n\
                        5,UTC,USD,priced,1999-12-31,,2.00\n\
                        6,UTC,USD,priced,2000-01-01,,2.00\n";

const USAGE: &str = "record_id,account_number,usage_type,start_time,quantity,function\n\
                     a1,1,function,2000-06-09T15:14:01Z,1,Place Order\n\
                     a2,1,function,2000-06-09T15:14:02Z,1,Dance\n\
                     a3,1,connect-time,2000-06-09T15:14:03Z,1,\n";

fn first_line(path: &Path) -> String {
    fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned()
}

#[test]
fn everyday_mistakes_are_reported_with_their_cause() {
    let cluster = started();
    let plans = [file("tests/data/points.xml"), cluster.write("priced.xml", PRICED)];
    let published = cluster.run(&["plan", "publish", &plans[0], &plans[1]]);
    assert_eq!(published.code, 0, "{}", published.err);
    let accounts = cluster.write("accounts.csv", ACCOUNTS);
    let imported = cluster.run(&["account", "import", &accounts]);
    assert_eq!(imported.code, 3, "{}{}", imported.out, imported.err);
    says(
        &imported,
        &[
            "account 2: nothing of the row is imported: plan \"pointz\" is not published",
            "did you mean \"points\"?",
            "account 3: nothing of the row is imported: plan \"priced\" version 1 can't have",
            "posts in USD, and the account is billed in EUR",
            "version 1 starts on 2000-01-01",
        ],
    );
    for (account, code) in [("1", 0), ("2", 1), ("3", 1), ("4", 1), ("5", 1), ("6", 0)] {
        let shown = cluster.run(&["account", "show", account]);
        assert_eq!(shown.code, code, "account {account}: {}{}", shown.out, shown.err);
    }
    let refused =
        cluster.run(&["account", "subscribe", "1", "--plan", "pricd", "--from", "2001-01-01"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    says(&refused, &["did you mean \"priced\"?"]);
    usage_waits_with_its_cause(&cluster);
    messages_about_the_cluster(&cluster);
    a_load_leaves_the_accounts_of_others_alone(&cluster);
    a_further_version_says_what_subscribed_accounts_lose(&cluster);
}

fn a_further_version_says_what_subscribed_accounts_lose(cluster: &UpCluster) {
    let further = PRICED.replace("version=\"1\" starts=\"2000", "version=\"2\" starts=\"2199");
    let euro = cluster.write("euro.xml", &further.replace("USD", "EUR"));
    let refused = cluster.run(&["plan", "publish", &euro]);
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    let words =
        ["euro.xml was not published", "posts in EUR", "currency-mismatch", "under another id"];
    says(&refused, &words);
    let fixed = further.replace("$price", "1.00");
    let (before, rest) = fixed.split_once("  <parameter").unwrap();
    let fixed = [before, rest.split_once("/>").unwrap().1].concat();
    let fixed = cluster.write("fixed.xml", &fixed);
    let diff = cluster.run(&["plan", "diff", "priced@1", &fixed]);
    let published = cluster.run(&["plan", "publish", &fixed]);
    for ran in [diff, published] {
        assert_eq!(ran.code, 0, "{}", ran.err);
        let words =
            "version 2 has no parameter \"price\", and version 1 has it: from 2199-01-01 on";
        says(&ran, &["warning: ", words, "unknown-plan"]);
    }
}

/// `load --setup` opens no account if one of the accounts is open with other settings.
fn a_load_leaves_the_accounts_of_others_alone(cluster: &UpCluster) {
    let theirs = cluster.run(&["account", "open", "990007", "--currency", "EUR"]);
    assert_eq!(theirs.code, 0, "{}", theirs.err);
    let load = |first: &str| {
        let load = ["load", "--setup", "--first-account", first, "--account-count", "10"];
        cluster.run(&[&load[..], &["--records", "20"]].concat())
    };
    let refused = load("990001");
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    says(&refused, &["other settings", "990007", "Nothing was changed", "--first-account"]);
    assert_eq!(cluster.run(&["account", "show", "990001"]).code, 1);
    assert_eq!(cluster.run(&["plan", "list", "--plan", "fig6b"]).code, 1);
    for _ in 0..2 {
        let done = load("990008");
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    }
    assert_eq!(cluster.run(&["account", "show", "990017"]).code, 0);
}

/// Sending the file again has the same result, because its records are still suspended.
fn usage_waits_with_its_cause(cluster: &UpCluster) {
    let usage = cluster.write("usage.csv", USAGE);
    for time in ["first", "second"] {
        let sent = cluster.run(&["ingest", &usage]);
        assert_eq!(sent.code, 3, "the {time} time: {}{}", sent.out, sent.err);
        says(
            &sent,
            &[
                "record a2: suspended, no-weight: record.function \"Dance\"",
                "record a3: suspended, not-accepted: usage type \"connect-time\"",
            ],
        );
    }
    let listed = cluster.run(&["suspense", "list"]);
    says(&listed, &["no-weight: record.function \"Dance\""]);
    suspense_lists_the_requested_records_or_reports_the_limit(cluster);
}

fn suspense_lists_the_requested_records_or_reports_the_limit(cluster: &UpCluster) {
    let rows = |ran: &Ran| ran.out.lines().count();
    let all = cluster.run(&["suspense", "list", "--json"]);
    let count = rows(&all);
    assert!(count >= 2, "{}", all.out);
    assert!(!all.err.contains("only the first"), "{}", all.err);
    let exactly = cluster.run(&["suspense", "list", "--json", "--max", &count.to_string()]);
    assert_eq!((rows(&exactly), exactly.err.as_str()), (count, ""));
    let first = cluster.run(&["suspense", "list", "--json", "--max", "1"]);
    assert_eq!((first.code, rows(&first)), (0, 1), "{}", first.err);
    says(&first, &["only the first 1 records are listed; --max N lists more"]);
    let some = cluster.run(&["suspense", "recycle", "--max", "1"]);
    assert_eq!(some.code, 3, "{}", some.err);
    says(&some, &["at most 1 records were tried, and more are in suspense"]);
    let each = cluster.run(&["suspense", "recycle"]);
    assert!(!each.err.contains("were tried"), "{}", each.err);
    // An account that was never opened may have records in suspense. If it has none, the command
    // fails.
    for command in ["list", "recycle"] {
        let none = cluster.run(&["suspense", command, "--account", "77"]);
        assert_eq!(none.code, 1, "{command}: {}{}", none.out, none.err);
        says(&none, &["no record of account 77 is in suspense", "account 77 was never opened"]);
    }
    let stray = cluster.write(
        "stray.csv",
        "record_id,account_number,usage_type,start_time,quantity\n\
         s1,77,function,2001-05-04T09:00:00Z,1\n",
    );
    says(&cluster.run(&["ingest", &stray]), &["suspended, unknown-account"]);
    let listed = cluster.run(&["suspense", "list", "--account", "77"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    says(&listed, &["s1", "unknown-account"]);
    // An account that is open and has no record in suspense has an empty list.
    let empty = cluster.run(&["suspense", "list", "--account", "6"]);
    assert_eq!(empty.code, 0, "{}", empty.err);
    says(&empty, &["no records are in suspense"]);
    for (catalogue, option) in [("plan", "--plan"), ("table", "--table")] {
        let none = cluster.run(&[catalogue, "list", option, "nosuch"]);
        assert_eq!(none.code, 1, "{}{}", none.out, none.err);
        says(&none, &[&format!("the catalogue has no {catalogue} nosuch")]);
        assert_eq!(cluster.run(&[catalogue, "list"]).code, 0);
    }
    assert_eq!(cluster.run(&["plan", "list", "--plan", "points"]).code, 0);
}

fn messages_about_the_cluster(cluster: &UpCluster) {
    let lines = cluster.dir().join("lines.csv");
    let output = lines.display().to_string();
    let pulled = cluster.run(&["pull", "--consumer", "me", "--output", &output]);
    assert_eq!(pulled.code, 0, "{}", pulled.err);
    let (plan, usage) = (file("tests/data/points.xml"), cluster.write("usage.csv", USAGE));
    let rated = run(&["rate", "--plan", &plan, "--usage", &usage]);
    assert_eq!(rated.out.lines().next().unwrap(), first_line(&lines));
    says(&rated, &["record a2: suspended, no-weight: record.function \"Dance\""]);
    let version = run(&["--version"]);
    let zones = version.out.split("time-zone database ").nth(1).unwrap().trim_end_matches(")\n");
    says(&cluster.run(&["plan", "list"]), &["TZ DATABASE", zones]);
    says(&cluster.run(&["plan", "show", "points"]), &[&format!("time-zone database {zones}")]);
    let status = cluster.run(&["status"]);
    assert!(!status.out.contains("-1)") && !status.out.contains("warm, -"), "{}", status.out);
    let json: serde_json::Value =
        serde_json::from_str(&cluster.run(&["status", "--json"]).out).unwrap();
    assert!(json["at"].as_str().unwrap().ends_with('Z'), "{json}");
}

/// A cluster with three charge lines of one account.
fn cluster_with_lines() -> UpCluster {
    let cluster = started();
    let published = cluster.run(&["plan", "publish", &file("tests/data/points.xml")]);
    assert_eq!(published.code, 0, "{}", published.err);
    let accounts = "account_number,zone,currency,plan,plan_from\n1,UTC,USD,points,2000-01-01\n";
    let accounts = cluster.write("one.csv", accounts);
    let imported = cluster.run(&["account", "import", &accounts]);
    assert_eq!(imported.code, 0, "{}{}", imported.out, imported.err);
    let usage = "record_id,account_number,usage_type,start_time,quantity,function\n\
                 b1,1,function,2000-06-09T15:14:01Z,1,Place Order\n\
                 b2,1,function,2000-06-09T15:14:02Z,1,Place Order\n\
                 b3,1,function,2000-06-09T15:14:03Z,1,Place Order\n";
    let sent = cluster.run(&["ingest", &cluster.write("points.csv", usage)]);
    assert_eq!(sent.code, 0, "{}{}", sent.out, sent.err);
    cluster
}

#[test]
fn pull_appends_to_a_file_of_this_feed_and_refuses_any_other() {
    let cluster = cluster_with_lines();
    let pull = |consumer: &str, output: &str, more: &[&str]| {
        cluster.run(&[&["pull", "--consumer", consumer, "--output", output], more].concat())
    };
    let path = |name: &str| cluster.dir().join(name).display().to_string();
    let lines = path("lines.csv");
    let pulled = pull("first", &lines, &[]);
    assert_eq!(pulled.code, 0, "{}", pulled.err);
    let text = fs::read_to_string(&lines).unwrap();
    let count = text.lines().count() - 1;
    assert!(count >= 3, "{text}");

    // Each file is refused and unchanged, and nothing is acknowledged: afterwards the same consumer
    // gets all lines.
    let other_cluster = text.replace(",b2,", ",of another cluster,");
    assert_ne!(other_cluster, text);
    let no_newline = "a diary without a newline".to_owned();
    for (name, content, words) in [
        ("other.csv", other_cluster, &["other.csv:", "another cluster", "--output"][..]),
        ("diary.csv", no_newline.clone(), &["diary.csv:1", "not a line of the feed", "--output"]),
        ("diary.jsonl", no_newline, &["diary.jsonl:1", "not a line of the feed", "--output"]),
    ] {
        let output = cluster.write(name, &content);
        let refused = pull("second", &output, &[]);
        assert_eq!(refused.code, 1, "{name}: {}", refused.err);
        says(&refused, words);
        assert_eq!(fs::read_to_string(&output).unwrap(), content, "{name}");
    }
    let pipe = path("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let directory = cluster.dir().display().to_string();
    for output in ["/dev/full", "/dev/null", &pipe, &directory] {
        let refused = pull("second", output, &[]);
        assert_eq!(refused.code, 1, "{output}: {}", refused.err);
        says(&refused, &[output, "not a regular file", "--output"]);
    }

    let part = path("part.csv");
    let some = pull("second", &part, &["--max", "1", "--json"]);
    assert_eq!(some.code, 0, "{}", some.err);
    let json: serde_json::Value = serde_json::from_str(&some.out).unwrap();
    assert_eq!((&json["lines"], &json["more_lines"]), (&1.into(), &true.into()));
    let some = pull("second", &part, &["--max", "1"]);
    says(&some, &["1 lines, acknowledged", "more lines remain"]);
    let rest = pull("second", &part, &["--max", &(count - 2).to_string()]);
    assert_eq!(rest.code, 0, "{}", rest.err);
    assert!(!rest.err.contains("remain"), "{}", rest.err);
    assert_eq!(fs::read_to_string(&part).unwrap(), text, "each line once");

    // Lines that another consumer wrote are not written again, and a missing last newline is added.
    let unended = cluster.write("unended.csv", text.trim_end());
    let same = pull("third", &unended, &[]);
    assert_eq!(same.code, 0, "{}", same.err);
    says(&same, &["0 lines, acknowledged", &format!("{count} lines were already in the file")]);
    assert_eq!(fs::read_to_string(&unended).unwrap(), text);
    says(&pull("third", "-", &[]), &["0 lines, not acknowledged"]);
}
