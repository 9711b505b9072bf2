//! Clusters with certificates, as an operator makes, runs and rotates them.

use crate::support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use support::server::Server;
use support::{Ran, free_port, run};
use tempfile::TempDir;

/// A directory with an authority and, later, certificates.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        done(&["cert", "ca", "--cluster", "prod", "--dir", &place.path("ca")]);
        place.copy("ca/ca.crt", "ca.crt");
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    fn issue(&self, kind: &str, name: &str) {
        let (ca, out) = (self.path("ca"), self.path("certs"));
        done(&["cert", "issue", kind, name, "--ca-dir", &ca, "--out", &out]);
    }

    /// The options of TLS with the certificate of `who`, such as `node-a`.
    fn tls(&self, who: &str) -> [String; 6] {
        let [certificate, key] = ["crt", "key"].map(|end| self.path(&format!("certs/{who}.{end}")));
        ["--certificate", &certificate, "--key", &key, "--ca", &self.path("ca.crt")]
            .map(str::to_owned)
    }

    fn database(&self) -> String {
        let url = format!("sqlite:{}", self.path("turnpike.db"));
        let init = ["partition", "init", "--database", &url, "--count", "2"];
        done(&[&init[..], &["--accounts", "1-1000", "--members", "a,b"]].concat());
        url
    }

    /// Runs a command at `front` with the certificate of `who`.
    fn command(&self, who: &str, front: &str, words: &[&str]) -> Ran {
        let tls = self.tls(who);
        let tls = tls.each_ref().map(String::as_str);
        run(&[words, &["--front", front], &tls[..]].concat())
    }

    /// Grants roles, as the administrator alice.
    #[track_caller]
    fn grant(&self, front: &str, principal: &str, roles: &[&str]) {
        for role in roles {
            let ran = self.command("admin-alice", front, &["access", "grant", principal, role]);
            assert_eq!(ran.code, 0, "{role}: {}{}", ran.out, ran.err);
        }
    }
}

#[track_caller]
fn done(words: &[&str]) -> String {
    let ran = run(words);
    assert_eq!(ran.code, 0, "{words:?}\n{}{}", ran.out, ran.err);
    ran.out
}

#[track_caller]
fn refused(words: &[&str], told: &[&str]) {
    let ran = run(words);
    assert_eq!(ran.code, 2, "{words:?}\n{}{}", ran.out, ran.err);
    for word in told {
        assert!(ran.err.contains(word), "{words:?}: {word:?} is not in {}", ran.err);
    }
}

fn start(words: &[&str], more: &[String]) -> Server {
    Server::start(&[words, &more.iter().map(String::as_str).collect::<Vec<_>>()].concat())
}

fn mode(file: &str) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_secret_and_nothing_is_overwritten_unasked() {
    let place = Place::new();
    let (ca, out) = (place.path("ca"), place.path("certs"));
    place.issue("node", "a");
    for key in ["ca/ca.key", "certs/node-a.key"] {
        assert_eq!(mode(&place.path(key)), 0o600, "{key}");
    }
    for directory in [&ca, &out] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
    let before = ["ca/ca.key", "ca/ca.crt", "certs/node-a.key", "certs/node-a.crt"]
        .map(|file| place.text(file));
    let again = ["cert", "issue", "node", "a", "--ca-dir", &ca, "--out", &out];
    refused(&again, &["node-a.key exists", "--force"]);
    refused(&["cert", "ca", "--cluster", "prod", "--dir", &ca], &["ca.key exists", "--force"]);
    // One of the two files is enough for a refusal, and the other is not written.
    std::fs::remove_file(place.path("certs/node-a.key")).unwrap();
    refused(&again, &["node-a.crt exists", "--force"]);
    assert!(!Path::new(&place.path("certs/node-a.key")).exists());
    std::fs::write(place.path("certs/node-a.key"), &before[2]).unwrap();
    let after = ["ca/ca.key", "ca/ca.crt", "certs/node-a.key", "certs/node-a.crt"]
        .map(|file| place.text(file));
    assert_eq!(before, after);
    done(&[&again[..], &["--force"]].concat());
    assert_ne!(place.text("certs/node-a.key"), before[2]);
}

#[test]
fn a_certificate_is_shown_and_renewed_for_the_same_holder_with_a_new_key() {
    let place = Place::new();
    let (ca, out) = (place.path("ca"), place.path("certs"));
    let issue = ["cert", "issue", "front", "f1", "--ca-dir", &ca, "--out", &out];
    let soon = ["--host", "front.example.net", "--host", "10.0.0.1", "--valid-for", "10d"];
    done(&[&issue[..], &soon].concat());
    let file = place.path("certs/front-f1.crt");
    let shown = run(&["cert", "show", &file]);
    assert_eq!(shown.code, 3, "it ends within 14 days: {}{}", shown.out, shown.err);
    for words in ["spiffe://prod/front/f1", "front.example.net, 10.0.0.1", "authority   no"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    assert!(shown.err.contains("it ends in"), "{}", shown.err);
    let key = place.text("certs/front-f1.key");
    done(&["cert", "renew", &file, "--ca-dir", &ca]);
    let renewed = done(&["cert", "show", &file]);
    assert!(renewed.contains("front.example.net, 10.0.0.1"), "{renewed}");
    assert_ne!(place.text("certs/front-f1.key"), key);
    assert_eq!(mode(&place.path("certs/front-f1.key")), 0o600);
    // A certificate of another cluster is not renewed, and neither is one whose key is elsewhere.
    let other = place.path("other");
    done(&["cert", "ca", "--cluster", "test", "--dir", &other]);
    refused(&["cert", "renew", &file, "--ca-dir", &other], &["spiffe://prod/front/f1", "test"]);
    std::fs::remove_file(place.path("certs/front-f1.key")).unwrap();
    refused(&["cert", "renew", &file, "--ca-dir", &ca], &["front-f1.key is not there"]);
}

#[test]
fn what_cannot_be_issued_is_refused_with_the_reason() {
    let place = Place::new();
    let (ca, out) = (place.path("ca"), place.path("certs"));
    let of = |kind: &'static str, name: &'static str, more: [&'static str; 2]| {
        let words = ["cert", "issue", kind, name, "--ca-dir", &ca, "--out", &out];
        [&words[..], &more].concat().iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    for (words, told) in [
        (of("root", "a", ["--valid-for", "1d"]), "node, front, client or admin"),
        (of("node", "a/b", ["--valid-for", "1d"]), "can't be the name of a node"),
        (of("node", "a", ["--valid-for", "90"]), "\"90\" has no unit"),
        (of("node", "a", ["--host", "https://x"]), "neither the name nor the address of a host"),
        (of("node", "a", ["--ca-dir", "no/such"]), "cannot be used multiple times"),
    ] {
        refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[told]);
    }
    refused(
        &["cert", "issue", "node", "a", "--ca-dir", "no/such"],
        &["turnpike cert ca --cluster"],
    );
    assert!(!Path::new(&out).exists(), "refused commands leave nothing behind");
}

#[test]
fn a_server_refuses_to_start_without_tls_on_an_address_that_others_reach() {
    let place = Place::new();
    let url = place.database();
    let front = ["front", "--database", &url, "--listen", "0.0.0.0:0"];
    let node = ["node", "--name", "a", "--database", &url, "--listen", "0.0.0.0:0"];
    let node = [&node[..], &["--advertise", "127.0.0.1:1"]].concat();
    for server in [&front[..], &node] {
        refused(server, &["turnpike cert --help", "--insecure-plaintext", "127.0.0.1"]);
        let mut open = Server::start(&[server, &["--insecure-plaintext"]].concat());
        open.until("--insecure-plaintext: everybody who reaches the port");
        open.until("listens on ");
    }
    let data = place.path("data");
    refused(&["up", "--data", &data, "--listen", "0.0.0.0:0"], &["--insecure-plaintext"]);
    assert!(!Path::new(&data).exists());
}

#[test]
fn certificates_that_a_server_cannot_use_are_named_before_it_waits_for_anything() {
    let place = Place::new();
    place.issue("node", "b");
    place.issue("front", "f1");
    let nowhere = "postgres://turnpike@127.0.0.1:1/turnpike";
    let node = ["node", "--name", "a", "--database", nowhere, "--listen", "127.0.0.1:0"];
    let with = |who: &str| [node.map(str::to_owned).to_vec(), place.tls(who).to_vec()].concat();
    for (who, told) in [("node-b", "cert issue node a"), ("front-f1", "cert issue node a")] {
        let words = with(who);
        refused(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[who, told]);
    }
    let certificate = place.path("certs/node-b.crt");
    let part = [&node[..], &["--certificate", &certificate]].concat();
    refused(&part, &["--key FILE"]);
    refused(&["status", "--front", "https://127.0.0.1:1"], &["--ca FILE"]);
    let ca = place.path("ca.crt");
    refused(&["status", "--front", "http://127.0.0.1:1", "--ca", &ca], &["write https://"]);
}

/// A node and a front of the cluster with certificates.
fn servers(place: &Place, url: &str) -> ([Server; 2], Server) {
    let nodes = ["a", "b"].map(|name| {
        let node = ["node", "--name", name, "--database", url, "--listen", "127.0.0.1:0"];
        start(&node, &place.tls(&format!("node-{name}")))
    });
    let front = ["front", "--database", url, "--listen", "127.0.0.1:0"];
    (nodes, start(&front, &place.tls("front-f1")))
}

/// Waits until both partitions are served.
#[expect(clippy::disallowed_methods, reason = "other processes follow no virtual time")]
#[track_caller]
fn served(mut status: impl FnMut() -> Ran) {
    for _ in 0..300 {
        if status().code == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let last = status();
    panic!("the cluster does not serve: {}{}", last.out, last.err);
}

/// Waits until each server has reported `count` changes of its certificates.
#[expect(clippy::disallowed_methods, reason = "other processes follow no virtual time")]
#[track_caller]
fn reloaded(servers: &mut [&mut Server], count: usize) {
    for server in servers {
        let changes =
            |server: &mut Server| server.log().matches("changed certificates are in force").count();
        let in_time = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            changes(server) >= count
        });
        assert!(in_time, "{}", server.log());
    }
}

/// The number of records in pulled lines. Each is in one segment: none was rated twice.
#[track_caller]
fn segments_of_records(lines: &str) -> usize {
    let mut segments = BTreeMap::new();
    for line in lines.lines().skip(1) {
        let mut columns = line.split(',');
        let segment = (columns.next().unwrap(), columns.next().unwrap());
        let record = columns.nth(1).unwrap();
        assert_eq!(*segments.entry(record).or_insert(segment), segment, "{record} is rated twice");
    }
    segments.len()
}

#[test]
fn certificates_and_the_authority_rotate_under_load_without_a_failed_request() {
    let place = Place::new();
    for (kind, name) in [("node", "a"), ("node", "b"), ("front", "f1"), ("admin", "alice")] {
        place.issue(kind, name);
    }
    let url = place.database();
    let ([mut a, mut b], mut front) = servers(&place, &url);
    let address = format!("https://{}", front.address());
    let status = || place.command("admin-alice", &address, &["status"]);
    let roles = ["operator", "pricing", "support", "collector"];
    place.grant(&address, "spiffe://prod/admin/alice", &roles);
    served(status);
    let load = ["load", "--setup", "--first-account", "1", "--account-count", "100", "--json"];
    let load =
        [&load[..], &["--seconds", "40", "--kind", "octets", "--batch", "50", "--window", "2"]]
            .concat();
    let load = [&load[..], &["--streams", "2", "--front", &address]].concat();
    let load = start(&load, &place.tls("admin-alice"));
    let ca = place.path("ca-2");
    done(&["cert", "ca", "--cluster", "prod", "--dir", &ca]);
    std::fs::write(place.path("ca.crt"), place.text("ca/ca.crt") + &place.text("ca-2/ca.crt"))
        .unwrap();
    reloaded(&mut [&mut a, &mut b, &mut front], 1);
    assert_eq!(status().code, 0);
    for who in ["node-a", "node-b", "front-f1", "admin-alice"] {
        done(&["cert", "renew", &place.path(&format!("certs/{who}.crt")), "--ca-dir", &ca]);
        assert_eq!(status().code, 0, "after the renewal of {who}");
    }
    reloaded(&mut [&mut a, &mut b, &mut front], 2);
    place.copy("ca-2/ca.crt", "ca.crt");
    reloaded(&mut [&mut a, &mut b, &mut front], 3);
    assert_eq!(status().code, 0);
    // Certificates alone, again and again.
    for round in 4..6 {
        for who in ["node-a", "node-b", "front-f1", "admin-alice"] {
            done(&["cert", "renew", &place.path(&format!("certs/{who}.crt")), "--ca-dir", &ca]);
            assert_eq!(status().code, 0, "round {round}, after the renewal of {who}");
        }
        reloaded(&mut [&mut a, &mut b, &mut front], round);
    }
    // New connections between members, too: a new process of node b.
    b.signal("-TERM");
    b.ended();
    let node = ["node", "--name", "b", "--database", &url, "--listen", "127.0.0.1:0"];
    let mut b = start(&node, &place.tls("node-b"));
    b.until("listens on ");
    served(status);
    let (code, report) = load.ended();
    assert_eq!(code, Some(0), "{report}");
    let report = &report[report.find('{').unwrap()..=report.rfind('}').unwrap()];
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let [accepted, sent] = ["accepted", "sent"].map(|key| report[key].as_u64().unwrap());
    assert!(accepted > 1_000, "{report}");
    // A record whose answer was lost is sent again, and is a duplicate then; no other is.
    let duplicates = report["duplicates"].as_u64().unwrap();
    assert!(sent == accepted + duplicates && duplicates <= 400, "{report}");
    // The feed has each record once, also those whose first answer was lost.
    let consumer = ["access", "grant", "spiffe://prod/admin/alice", "consumer", "--consumer", "c"];
    let granted = place.command("admin-alice", &address, &consumer);
    assert_eq!(granted.code, 0, "{}", granted.err);
    let pulled = place.command("admin-alice", &address, &["pull", "--consumer", "c", "--no-ack"]);
    assert_eq!(segments_of_records(&pulled.out) as u64, sent, "{}", pulled.err);
    for server in [&mut a, &mut b, &mut front] {
        assert!(!server.log().contains("was refused"), "{}", server.log());
    }
}

#[test]
fn strangers_are_refused_and_the_log_says_why() {
    let place = Place::new();
    for (kind, name) in [("node", "a"), ("node", "b"), ("front", "f1")] {
        place.issue(kind, name);
    }
    for (kind, name) in [("client", "c1"), ("client", "c2"), ("admin", "alice")] {
        place.issue(kind, name);
    }
    let url = place.database();
    let ([mut a, _b], mut front) = servers(&place, &url);
    let (node, front_url) = (a.address(), format!("https://{}", front.address()));
    // A front without certificates does not reach the nodes.
    let plain = ["front", "--database", &url, "--listen", &format!("127.0.0.1:{}", free_port())];
    let mut plain = Server::start(&plain);
    let plain_url = format!("http://{}", plain.address());
    served(|| run(&["status", "--front", &plain_url]));
    let load = ["load", "--setup", "--first-account", "1", "--account-count", "1"];
    let load = [&load[..], &["--records", "1", "--timeout", "3s", "--front", &plain_url]].concat();
    assert_eq!(run(&load).code, 1);
    // A certificate of the cluster may do what was granted to it.
    place.grant(&front_url, "spiffe://prod/client/c1", &["operator"]);
    let told = place.command("client-c2", &front_url, &["status"]);
    assert!(told.code != 0 && told.err.contains("it needs one of the roles"), "{}", told.err);
    served(|| place.command("client-c1", &front_url, &["status"]));
    // A client's certificate at a node's port.
    let told = place.command("client-c1", &format!("https://{node}"), &["status"]);
    assert!(told.code != 0 && told.err.contains("is not a front"), "{}", told.err);
    // A certificate of another authority, under the same names.
    let other = Place::new();
    other.issue("client", "c1");
    let stolen = other.tls("client-c1");
    let trusting = ["--ca".to_owned(), place.path("ca.crt")];
    let words: Vec<String> = ["status", "--front", &front_url, "--timeout", "5s"]
        .map(str::to_owned)
        .into_iter()
        .chain(stolen[..4].to_vec())
        .chain(trusting)
        .collect();
    let ran = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ran.code, 2, "the client notices first: {}{}", ran.out, ran.err);
    // Plaintext at a port with TLS.
    let ran = run(&["status", "--front", &front_url.replace("https", "http"), "--timeout", "2s"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    // The grant has switched access control on, for the front without certificates too.
    let ran = run(&["status", "--front", &plain_url]);
    assert!(ran.code != 0 && ran.err.contains("who sends this"), "{}{}", ran.out, ran.err);
}

#[test]
fn an_authority_whose_key_others_can_read_issues_nothing() {
    let place = Place::new();
    let key = place.path("ca/ca.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (ca, out) = (place.path("ca"), place.path("certs"));
    refused(
        &["cert", "issue", "node", "a", "--ca-dir", &ca, "--out", &out],
        &["ca.key", "others can read this key", "chmod 600"],
    );
}

/// Also that of an administrator, who has its rights without a grant.
#[test]
fn a_revoked_certificate_is_refused_within_seconds_until_it_is_restored() {
    let place = Place::new();
    for (kind, name) in [("node", "a"), ("node", "b"), ("front", "f1")] {
        place.issue(kind, name);
    }
    for name in ["alice", "ben"] {
        place.issue("admin", name);
    }
    let url = place.database();
    let (mut nodes, mut front) = servers(&place, &url);
    let front_url = format!("https://{}", front.address());
    let command = |who: &str, words: &[&str]| place.command(who, &front_url, words);
    let certificate = |verb: &str, name: &str| {
        let ran = command("admin-alice", &["access", "certificate", verb, name]);
        assert_eq!(ran.code, 0, "{verb} {name}: {}{}", ran.out, ran.err);
        ran.out
    };
    place.grant(&front_url, "spiffe://prod/admin/alice", &["operator", "support"]);
    served(|| command("admin-alice", &["status"]));
    let shown = done(&["cert", "show", &place.path("certs/admin-ben.crt")]);
    let serial = shown.lines().find(|line| line.contains("serial")).unwrap();
    let serial = serial.split_whitespace().last().unwrap();
    for name in ["spiffe://prod/admin/ben", serial] {
        served(|| command("admin-ben", &["access", "list"]));
        assert!(certificate("revoke", name).contains("is revoked;"));
        assert!(certificate("revoke", name).contains("already"));
        let listed = command("admin-alice", &["access", "certificate", "list"]);
        assert!(listed.out.contains(name), "{}{}", listed.out, listed.err);
        let refused = command("admin-ben", &["access", "list"]);
        assert!(refused.code != 0 && refused.err.contains("who sends this"), "{}", refused.err);
        assert!(certificate("restore", name).contains("no longer revoked"));
    }
    let own =
        command("admin-alice", &["access", "certificate", "revoke", "spiffe://prod/admin/alice"]);
    assert!(own.code == 1 && own.err.contains("another administrator"), "{}", own.err);
    // A front that is revoked reaches no node, and the nodes' logs say why.
    certificate("revoke", "spiffe://prod/front/f1");
    let told = "revoked-certificate";
    #[expect(clippy::disallowed_methods, reason = "other processes follow no virtual time")]
    let in_time = (0..100).any(|_| {
        command("admin-alice", &["account", "show", "7", "--timeout", "1s"]);
        std::thread::sleep(Duration::from_millis(100));
        nodes.iter_mut().any(|node| node.log().contains(told))
    });
    assert!(in_time, "{}", nodes[0].log());
}

#[test]
fn a_cluster_changes_from_plaintext_to_tls_one_process_at_a_time() {
    let place = Place::new();
    for (kind, name) in [("node", "a"), ("node", "b"), ("front", "f1")] {
        place.issue(kind, name);
    }
    for (kind, name) in [("client", "c1"), ("admin", "alice")] {
        place.issue(kind, name);
    }
    let url = place.database();
    let ports = [free_port(), free_port(), free_port()];
    let start_one = |which: usize, more: &[String]| {
        let listen = format!("127.0.0.1:{}", ports[which]);
        let mut server = match ["a", "b", "front"][which] {
            "front" => start(&["front", "--database", &url, "--listen", &listen], more),
            name => start(&["node", "--name", name, "--database", &url, "--listen", &listen], more),
        };
        server.until("listens on ");
        server
    };
    let tls = ["node-a", "node-b", "front-f1"].map(|who| place.tls(who).to_vec());
    let both = tls.clone().map(|tls| [tls, vec!["--insecure-plaintext".to_owned()]].concat());
    let plain_url = format!("http://127.0.0.1:{}", ports[2]);
    let tls_url = plain_url.replace("http", "https");
    let load = |is_tls: bool| {
        let words = ["load", "--setup", "--first-account", "1", "--account-count", "20"];
        let words = [&words[..], &["--records", "2000", "--batch", "100", "--timeout", "20s"]];
        let ran = match is_tls {
            false => run(&[&words.concat()[..], &["--front", &plain_url]].concat()),
            true => place.command("client-c1", &tls_url, &words.concat()),
        };
        assert_eq!(ran.code, 0, "TLS: {is_tls}\n{}{}", ran.out, ran.err);
    };
    let mut servers = [0, 1, 2].map(|which| Some(start_one(which, &[])));
    load(false);
    for options in [&both, &tls] {
        if std::ptr::eq(options, &tls) {
            let roles = ["pricing", "support", "collector"];
            place.grant(&tls_url, "spiffe://prod/client/c1", &roles);
        }
        for which in [2, 0, 1] {
            let old = servers[which].take().unwrap();
            old.signal("-TERM");
            assert_eq!(old.ended().0, Some(0));
            servers[which] = Some(start_one(which, &options[which]));
            let front_has_tls_only = std::ptr::eq(options, &tls);
            if !front_has_tls_only {
                load(false);
            }
            if front_has_tls_only || which != 2 {
                load(true);
            }
        }
    }
    let ran = run(&["status", "--front", &plain_url, "--timeout", "2s"]);
    assert_eq!(ran.code, 1, "plaintext is over: {}{}", ran.out, ran.err);
}
