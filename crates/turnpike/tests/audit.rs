//! The audit log, as an auditor and as an intruder see it.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::time::Duration;

use support::cluster::UpCluster;
use support::{file, run};
use turnpike_client::Fronts;
use turnpike_proto::cluster::v1::DrainRequest;
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;

/// The entries as JSON, in order.
fn entries(cluster: &UpCluster, options: &[&str]) -> Vec<serde_json::Value> {
    let listed = cluster.done(&[&["audit", "list", "--json"], options].concat());
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs SQL on the database file of the cluster, as somebody with its file would.
fn intrude(cluster: &UpCluster, sql: &str) {
    let database = cluster.dir().join("data/turnpike.db");
    let database = on_file(&database.display().to_string(), sql);
    assert!(database.is_ok(), "{database:?}");
}

fn on_file(path: &str, sql: &str) -> Result<(), String> {
    use sqlx::{AssertSqlSafe, ConnectOptions as _, raw_sql};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let options = options.busy_timeout(std::time::Duration::from_secs(20));
        let mut raw = options.connect().await.map_err(|error| error.to_string())?;
        let done = raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut raw).await;
        done.map(|_| ()).map_err(|error| error.to_string())
    })
}

#[test]
fn each_change_has_its_intent_and_outcome_and_an_intruder_is_found() {
    let cluster = UpCluster::start(&[]);
    cluster.done(&["plan", "publish", &file("plans/fig6b.xml")]);
    cluster.done(&["account", "open", "7"]);
    let refused = cluster.run(&["drain", "nobody", "--no-wait"]);
    assert_eq!(refused.code, 1);
    let refused = cluster.run(&["forget", "node-1"]);
    assert_eq!(refused.code, 1);
    let all = entries(&cluster, &[]);
    let of = |action: &str| -> Vec<(String, String)> {
        let text = |entry: &serde_json::Value, key: &str| {
            entry.get(key).map(|text| text.as_str().unwrap().to_owned())
        };
        let found = all.iter().filter(|entry| entry["action"] == action);
        found
            .map(|entry| {
                (text(entry, "target").unwrap(), text(entry, "outcome").unwrap_or_default())
            })
            .collect()
    };
    let both = |target: &str, outcome: &str| {
        vec![(target.to_owned(), String::new()), (target.to_owned(), outcome.to_owned())]
    };
    assert_eq!(of("plan.publish"), both("plan fig6b version 1", "applied"));
    assert_eq!(of("account.apply"), both("account 7", "applied"));
    assert_eq!(of("node.drain"), [], "nothing would be changed");
    assert_eq!(of("node.forget"), both("node node-1", "refused"));
    let who = |entry: &serde_json::Value| {
        let request = entry["request_id"].as_str().unwrap().len();
        let principal = entry["principal"].as_str().unwrap();
        request == 16 && (principal == "anonymous" || principal.starts_with("local"))
    };
    assert!(all.iter().all(who), "{all:?}");
    assert_eq!(of("partition.create"), both("4 partitions", "applied"));
    assert_eq!(entries(&cluster, &["--account", "7"]).len(), 2);
    assert!(entries(&cluster, &["--account", "8"]).is_empty());
    assert_eq!(entries(&cluster, &["--action", "node.forget", "--since", "2020-01-01"]).len(), 2);
    assert!(entries(&cluster, &["--until", "2020-01-01"]).is_empty());

    let verified = cluster.done(&["audit", "verify"]);
    let anchor = verified.lines().last().unwrap().strip_prefix("--anchor ").unwrap().to_owned();
    let export = cluster.dir().join("audit.jsonl").display().to_string();
    cluster.done(&["audit", "export", "--output", &export]);
    let read = run(&["audit", "verify", "--file", &export, "--anchor", &anchor]);
    assert_eq!(read.code, 0, "{}", read.err);
    let again = cluster.run(&["audit", "export", "--output", &export]);
    assert_eq!(again.code, 1, "an existing export is not overwritten");
    let forged = std::fs::read_to_string(&export).unwrap().replace("anonymous", "anonymouse");
    let forged = cluster.write("forged.jsonl", &forged);
    assert_eq!(run(&["audit", "verify", "--file", &forged]).code, 1);

    intrude(&cluster, "UPDATE audit SET body = zeroblob(3) WHERE sequence = 3");
    let found = cluster.run(&["audit", "verify"]);
    assert_eq!(found.code, 1);
    assert!(found.err.contains("entry 3 was changed"), "{}", found.err);
    intrude(&cluster, "DELETE FROM audit WHERE sequence IN (3, 4)");
    let found = cluster.run(&["audit", "verify", "--anchor", &anchor]);
    assert_eq!(found.code, 1);
    assert!(found.err.contains("entries 3 to 4 are missing"), "{}", found.err);
}

/// The log is trimmed only by what an export holds, and stays verifiable afterwards.
#[test]
fn a_trimmed_log_stays_verifiable() {
    let cluster = UpCluster::start(&[]);
    for account in ["1", "2", "3"] {
        cluster.done(&["account", "open", account]);
    }
    let export = cluster.dir().join("audit.jsonl").display().to_string();
    let database = format!("sqlite:{}", cluster.dir().join("data/turnpike.db").display());
    cluster.done(&["audit", "export", "--output", &export]);
    let trim = ["audit", "trim", "--exported", &export, "--database", &database];
    let trimmed = run(&trim);
    assert_eq!(trimmed.code, 0, "{}", trimmed.err);
    assert!(trimmed.out.contains("7 entries up to 7 were deleted"), "{}", trimmed.out);
    let left: Vec<u64> =
        entries(&cluster, &[]).iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert_eq!(left, [8, 9]);
    cluster.done(&["audit", "verify"]);
    let again = run(&trim);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("an earlier trimming has deleted them"), "{}", again.err);
}

/// A file that lacks its end, or whose lines are those of a list, is no export: neither is it verified
/// as whole, nor is the log trimmed by it.
#[test]
fn an_export_that_was_cut_is_found() {
    let cluster = UpCluster::start(&[]);
    cluster.done(&["account", "open", "1"]);
    let export = cluster.dir().join("audit.jsonl").display().to_string();
    cluster.done(&["audit", "export", "--output", &export]);
    let whole = std::fs::read_to_string(&export).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let (entries, end) = lines.split_at(lines.len() - 1);
    let listed = cluster.done(&["audit", "list", "--json"]);
    let database = format!("sqlite:{}", cluster.dir().join("data/turnpike.db").display());
    for (what, text) in [
        ("empty", String::new()),
        ("without its last line", entries.join("\n")),
        ("without its last entry", [&entries[..entries.len() - 1], end].concat().join("\n")),
        ("without its first entry", [&entries[1..], end].concat().join("\n")),
        ("a list", listed),
    ] {
        let file = cluster.write("cut.jsonl", &text);
        let read = run(&["audit", "verify", "--file", &file]);
        assert_eq!(read.code, 1, "{what}: {}{}", read.out, read.err);
        let trimmed = run(&["audit", "trim", "--exported", &file, "--database", &database]);
        assert_eq!(trimmed.code, 1, "{what}: {}", trimmed.out);
        assert!(trimmed.err.contains("nothing was trimmed"), "{what}: {}", trimmed.err);
    }
    assert_eq!(run(&["audit", "verify", "--file", &export]).code, 0);
}

/// A file without line breaks is read up to the length of a line, and a file of empty lines does not fill
/// the memory with faults.
#[test]
fn an_export_that_never_ends_is_refused() {
    let long = run(&["audit", "verify", "--file", "/dev/zero"]);
    assert_eq!(long.code, 1, "{}{}", long.out, long.err);
    assert!(long.err.contains("/dev/zero line 1 has more than "), "{}", long.err);

    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.jsonl");
    std::fs::write(&empty, "\n".repeat(100_000)).unwrap();
    let empty = run(&["audit", "verify", "--file", &empty.display().to_string()]);
    assert_eq!(empty.code, 1, "{}", empty.out);
    assert!(empty.err.lines().count() < 200, "{} lines", empty.err.lines().count());
    assert!(empty.err.contains("100001 faults"), "{}", empty.err);
}

/// The id that a command prints with an error is the one of the server's log and of the audit log.
#[test]
fn an_error_names_the_id_of_its_request() {
    let cluster = UpCluster::start(&[]);
    let refused = cluster.run(&["forget", "node-1"]);
    let id = refused.err.split("request ").nth(1).unwrap();
    let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
    let all = entries(&cluster, &["--action", "node.forget"]);
    assert_eq!(all[0]["request_id"], id, "{}", refused.err);
}

/// However early a client lets its request time out: the change is made and recorded as made, or there
/// is no entry.
#[test]
fn a_time_out_of_a_client_never_leaves_a_change_half_recorded() {
    let cluster = UpCluster::start(&[]);
    let url = cluster.url.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timed_out = runtime.block_on(async {
        let fronts = Fronts::connect(vec![url], Duration::from_secs(30)).await.unwrap();
        let mut service = ClusterServiceClient::new(fronts.channel());
        let mut timed_out = 0;
        for step in 0..60 {
            let node = "node-1".to_owned();
            let mut request = tonic::Request::new(DrainRequest { node, drained: step % 2 == 0 });
            let timeout = format!("{}u", 1 << (step / 4));
            request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
            timed_out += u32::from(service.drain(request).await.is_err());
        }
        timed_out
    });
    assert!(timed_out >= 10, "{timed_out} requests timed out");
    let mut last = 0;
    let all = loop {
        // Changes that have begun end by themselves.
        let all = entries(&cluster, &["--action", "node.drain"]);
        if all.len() == last && last % 2 == 0 {
            break all;
        }
        last = all.len();
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(200)).await });
    };
    let applied = all.iter().filter(|entry| entry["outcome"] == "applied").count();
    assert!(applied >= 10 && applied * 2 == all.len(), "{all:?}");
    let verified = cluster.done(&["audit", "verify"]);
    assert!(!verified.contains("may or may not"), "{verified}");
}
