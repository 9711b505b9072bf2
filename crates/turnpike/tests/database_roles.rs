//! A whole cluster on PostgreSQL whose processes have roles of their own.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::server::Server;
use support::{file, run};
use turnpike_harness::postgres::PostgresServer;

#[test]
fn a_cluster_with_separate_roles_rates_and_is_audited() {
    let server = PostgresServer::shared().unwrap();
    let url = server.create_database().unwrap();
    let name = url.split(['/', '?']).nth(3).unwrap().to_owned();
    let roles = run(&["database", "roles"]);
    assert_eq!(roles.code, 0, "{}", roles.err);
    server.psql_in(&name, &roles.out).unwrap();
    let of = |role: &str| url.replace("user=postgres", &format!("user=turnpike_{role}"));
    let [migrate, node, front] = ["migrate", "node", "front"].map(of);

    let early = run(&["front", "--database", &front, "--listen", "127.0.0.1:0"]);
    assert_eq!(early.code, 1);
    assert!(early.err.contains("run `turnpike database migrate`"), "{}", early.err);
    let done = |arguments: &[&str]| {
        let ran = run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran.out
    };
    done(&["database", "migrate", "--database", &migrate]);
    let init = ["partition", "init", "--count", "2", "--accounts", "1-1000", "--members", "a,b"];
    done(&[&init[..], &["--database", &migrate]].concat());
    let refused = run(&[&init[..], &["--first-id", "9", "--database", &node]].concat());
    assert_eq!(refused.code, 1, "a node's role creates no partitions");
    assert!(refused.err.contains("permission denied"), "{}", refused.err);

    let start =
        |arguments: &[&str]| Server::start(&[arguments, &["--listen", "127.0.0.1:0"]].concat());
    let mut nodes = ["a", "b"].map(|name| start(&["node", "--name", name, "--database", &node]));
    let mut gate = start(&["front", "--database", &front]);
    for server in &mut nodes {
        server.until("listens on");
    }
    let address = format!("http://{}", gate.address());
    let on = |arguments: &[&str]| done(&[arguments, &["--front", &address]].concat());
    on(&["plan", "publish", &file("plans/fig6b.xml")]);
    on(&["account", "open", "7"]);
    on(&["account", "bind", "7", "--identity", "user:anna"]);
    on(&["handover", "1", "--to", "b", "--no-wait"]);
    on(&["suspense", "list"]);
    let dir = tempfile::tempdir().unwrap();
    let lines = dir.path().join("lines.csv").display().to_string();
    on(&["pull", "--consumer", "bills", "--output", &lines]);
    let listed = on(&["audit", "list"]);
    for action in
        ["partition.create", "plan.publish", "account.apply", "partition.pin", "consumer.register"]
    {
        assert!(listed.contains(action), "{action}: {listed}");
    }
    on(&["audit", "verify"]);
    let export = dir.path().join("audit.jsonl").display().to_string();
    on(&["audit", "export", "--output", &export]);
    let trim = |role: &str| run(&["audit", "trim", "--exported", &export, "--database", &of(role)]);
    for other in ["node", "feed"] {
        let refused = trim(other);
        assert_eq!(refused.code, 1, "{other} trims nothing: {}", refused.out);
        assert!(refused.err.contains("permission denied"), "{}", refused.err);
    }
    let trimmed = trim("trim");
    assert_eq!(trimmed.code, 0, "{}", trimmed.err);
    on(&["audit", "verify"]);
}
