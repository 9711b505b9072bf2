//! Account commands through a cluster of this program: dates, identities, settings.

// Processes of the real binary run on the real clock.
#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;

use support::Ran;
use support::cluster::UpCluster;

const PLAN: &str = include_str!("../../node/tests/support/octets.xml");

/// A cluster with the accounts 1 to 10,000 that accepts records since 2026-01-01.
struct Up(UpCluster);

impl Up {
    fn start() -> Self {
        let options = ["--nodes", "1", "--partitions", "2", "--accounts", "1-10000"];
        let cluster = UpCluster::start(&[&options[..], &["--accept-since", "2026-01-01"]].concat());
        let plan = cluster.write("octets.xml", &PLAN.replace("USD", "EUR"));
        cluster.done(&["plan", "publish", &plan]);
        Self(cluster)
    }

    fn file(&self, name: &str, text: &str) -> String {
        self.0.write(name, text)
    }

    fn run(&self, line: &[&str]) -> Ran {
        self.0.run(line)
    }

    #[track_caller]
    fn done(&self, line: &[&str]) -> String {
        self.0.done(line)
    }

    #[track_caller]
    fn refused(&self, line: &[&str], words: &[&str]) {
        let ran = self.run(line);
        assert_ne!(ran.code, 0, "{line:?}\n{}", ran.out);
        for word in words {
            assert!(ran.err.contains(word), "{line:?}: {word:?} is not in\n{}", ran.err);
        }
    }

    /// An account as `account show --json` shows it.
    fn shown(&self, account: &str) -> serde_json::Value {
        serde_json::from_str(&self.done(&["account", "show", account, "--json"])).unwrap()
    }
}

fn dates_and_settings(up: &Up) {
    let zone = ["--zone", "Europe/Zurich", "--currency", "EUR", "--attribute", "level=gold"];
    up.done(&[&["account", "open", "42", "--identity", "user:anna"], &zone[..]].concat());
    // Each command reads a date in the account's zone.
    let said = up.done(&["account", "subscribe", "42", "--plan", "octets", "--from", "2026-11-01"]);
    assert!(said.contains("as of 2026-11-01T00:00:00+01:00[Europe/Zurich]"), "{said}");
    let begins = up.shown("42")["subscriptions"][0]["from"].clone();
    assert_eq!(begins, "2026-10-31T23:00:00Z");
    let said = up.done(&["account", "cancel", "42", "--plan", "octets", "--at", "2027-07-01"]);
    assert!(said.contains("2027-07-01T00:00:00+02:00"), "{said}");
    assert_eq!(up.shown("42")["subscriptions"][0]["until"], "2027-06-30T22:00:00Z");
    // Without --from, a subscription begins now, and not in 1970.
    up.done(&["account", "subscribe", "42", "--plan", "octets", "--from", "2027-07-01"]);
    up.done(&["account", "open", "43", "--currency", "EUR"]);
    up.done(&["account", "subscribe", "43", "--plan", "octets"]);
    let begins = up.shown("43")["subscriptions"][0]["from"].as_str().unwrap().to_owned();
    let now = jiff_now();
    assert!(begins[..10] == now[..10] || begins < now, "{begins} is not today, {now}");
    assert!(!begins.starts_with("1970"), "{begins}");
    // Settings that the command does not name stay as they are.
    up.done(&["account", "change", "42", "--from", "2026-12-01", "--cycle-day", "15"]);
    let settings = up.shown("42")["settings"][1].clone();
    let expected = ["Europe/Zurich", "EUR", "gold"];
    let attribute = &settings["attributes"]["level"];
    for (found, expected) in
        [&settings["zone"], &settings["currency"], attribute].iter().zip(expected)
    {
        assert_eq!(found.as_str(), Some(expected), "{settings}");
    }
    assert_eq!(
        (&settings["cycle_day"], &settings["from"]),
        (&15.into(), &"2026-11-30T23:00:00Z".into())
    );
    up.refused(&["account", "change", "42", "--from", "2026-12-01"], &["--zone"]);
    up.refused(
        &["account", "change", "42", "--from", "2026-11-01", "--cycle-day", "3"],
        &["2026-11-30T23:00:00Z"],
    );
    // A typing error in the year would prevent every change until then.
    let beyond = ["account", "change", "43", "--from", "2062-12-01", "--cycle-day", "3"];
    up.refused(&[&beyond[..], &["--far-future"]].concat(), &["more than ten years ahead"]);
    let far = ["account", "change", "43", "--from", "2034-12-01", "--cycle-day", "3"];
    up.refused(&far, &["more than 400 days ahead", "--far-future"]);
    let instant = ["account", "change", "43", "--from", "2034-12-01T00:00:00Z", "--cycle-day", "3"];
    up.refused(&instant, &["--far-future"]);
    assert_eq!(up.shown("43")["settings"].as_array().unwrap().len(), 1);
    up.done(&[&far[..], &["--far-future"]].concat());
    assert_eq!(up.shown("43")["settings"][1]["from"], "2034-12-01T00:00:00Z");
}

/// Every command refuses an account, a plan or an identity that does not exist.
fn missing_objects(up: &Up) {
    let date = "2026-11-01";
    for line in [
        &["account", "subscribe", "99", "--plan", "octets", "--from", date][..],
        &["account", "subscribe", "99", "--plan", "octets"],
        &["account", "cancel", "99", "--plan", "octets", "--at", date],
        &["account", "change", "99", "--from", date, "--cycle-day", "3"],
        &["account", "change", "99", "--from", "2026-11-01T00:00:00Z", "--cycle-day", "3"],
        &["account", "offer", "99", "--option", "o", "--plan", "a", "--plan", "b", "--from", date],
        &["account", "pick", "99", "--option", "o", "--plan", "a", "--cycle", date],
        &["account", "opt-out", "99", "--option", "o", "--plan", "a", "--at", date],
        &["account", "bind", "99", "--identity", "user:new"],
        &["account", "bind", "99", "--identity", "user:new", "--from", date],
        &["account", "unbind", "99", "--identity", "user:new"],
        &["account", "show", "99"],
    ] {
        up.refused(line, &["account 99"]);
    }
    up.refused(&["account", "cancel", "42", "--plan", "unheard-of", "--at", date], &["unheard-of"]);
    up.refused(&["account", "unbind", "42", "--identity", "user:nobody"], &["does not hold"]);
}

fn identities(up: &Up) {
    let said = up.done(&[
        "account",
        "bind",
        "43",
        "--identity",
        "user:anna",
        "--from",
        "2026-11-15",
        "--move",
    ]);
    assert!(
        said.contains("account 42 no longer holds user:anna from 2026-11-15T00:00:00Z"),
        "{said}"
    );
    let taken = ["account", "bind", "42", "--identity", "user:anna", "--from", "2026-11-20"];
    up.refused(&taken, &["account 43 holds user:anna from 2026-11-15T00:00:00Z on", "--move"]);
    up.done(&["account", "unbind", "43", "--identity", "user:anna", "--from", "2026-11-20"]);
    let bindings = up.shown("43")["bindings"].clone();
    assert_eq!(bindings[0]["until"], "2026-11-20T00:00:00Z", "{bindings}");
    assert_eq!(up.shown("42")["bindings"][0]["from"], "always");
    let shown = up.done(&["account", "show", "43"]);
    assert!(shown.contains("IDENTITY") && shown.contains("user:anna"), "{shown}");
    let early = ["account", "unbind", "42", "--identity", "user:anna", "--from", "2025-06-01"];
    up.refused(&early, &["are final", "2026-01-01T00:00:00Z"]);
    let backwards = ["--from", "2026-11-02", "--until", "2026-11-01"];
    up.refused(
        &[&["account", "bind", "42", "--identity", "user:b"], &backwards[..]].concat(),
        &["--until 2026-11-01", "is not after"],
    );
    up.refused(
        &["account", "open", "44", "--identity", "ip:198.51.100.9/29"],
        &["ip:198.51.100.8/29"],
    );
    too_short_prefixes(up);
}

/// A prefix that holds most addresses can not be bound: it is not the prefix of one customer.
fn too_short_prefixes(up: &Up) {
    for (wide, least) in [("ip:0.0.0.0/0", "/8"), ("ip:::/0", "/16"), ("ip:128.0.0.0/1", "/8")] {
        let words = [wide, "too many addresses", least];
        up.refused(&["account", "open", "44", "--identity", wide], &words);
        up.refused(&["account", "bind", "42", "--identity", wide], &words);
        let row = format!("44,UTC,EUR,octets,2026-01-01,{wide}\n");
        let head = "account_number,zone,currency,plan,plan_from,identities\n";
        let rows = up.file("wide.csv", &format!("{head}{row}"));
        let import = up.run(&["account", "import", &rows]);
        assert_ne!(import.code, 0, "{}", import.out);
        assert!(words.iter().all(|word| import.err.contains(word)), "{}", import.err);
    }
    assert_ne!(up.run(&["account", "show", "44"]).code, 0, "no account was opened");
    // A prefix that an earlier release bound can be released. No account holds it here.
    let unbind = ["account", "unbind", "42", "--identity", "ip:0.0.0.0/0", "--from", "2026-11-20"];
    assert!(!up.run(&unbind).err.contains("too many addresses"));
}

/// A record that arrived before its identity was bound has no account: `--account` does not select
/// it, and says so.
fn waits_under_an_identity(up: &Up) {
    let usage = "record_id,identity,usage_type,start_time,quantity\n\
                 early,user:late,octets,2026-02-05T12:00:00Z,1000000\n";
    let ran = up.run(&["ingest", &up.file("early.csv", usage)]);
    assert!(ran.out.contains("1 suspended"), "{}\n{}", ran.out, ran.err);
    up.done(&["account", "bind", "61", "--identity", "user:late", "--from", "2026-02-01"]);
    let words = ["1 records wait under an identity of account 61", "user:late", "--reason unbound"];
    let listed = up.run(&["suspense", "list", "--account", "61"]);
    let recycled = up.run(&["suspense", "recycle", "--account", "61"]);
    assert_eq!((listed.code, recycled.code), (0, 3), "{}{}", listed.err, recycled.err);
    for ran in [listed, recycled] {
        assert!(words.iter().all(|word| ran.err.contains(word)), "{}", ran.err);
        assert!(!ran.err.contains("no records are in suspense"), "{}", ran.err);
    }
    for other in [&["--account", "62"][..], &["--account", "61", "--reason", "no-plan"]] {
        let ran = up.run(&[&["suspense", "list"], other].concat());
        assert!(ran.err.contains("no records are in suspense"), "{}", ran.err);
    }
    let said = up.done(&["suspense", "recycle", "--reason", "unbound-identity"]);
    assert!(said.contains("1 rated"), "{said}");
}

/// I2, P28: a file that is sent again after its identity was moved, with an instant in the past, is
/// billed once. New usage from that instant on is billed to the account that got the identity.
fn moved_identities(up: &Up) {
    let usage = |name: &str, rows: &[(&str, &str)]| {
        let head = "record_id,identity,usage_type,start_time,quantity\n".to_owned();
        let row = |(id, day): &(&str, &str)| {
            format!("{id},user:mover,octets,2026-02-{day}T12:00:00Z,1000000\n")
        };
        up.file(name, &(head + &rows.iter().map(row).collect::<String>()))
    };
    for account in ["61", "62"] {
        up.done(&["account", "open", account, "--currency", "EUR", "--zone", "UTC"]);
        let from = ["--from", "2026-02-01"];
        let subscribe = ["account", "subscribe", account, "--plan", "octets"];
        up.done(&[&subscribe[..], &from].concat());
    }
    let bind = |account: &str, more: &[&str]| {
        let bind = ["account", "bind", account, "--identity", "user:mover"];
        up.done(&[&bind[..], more].concat());
    };
    let octets = |account: &str| {
        let variables = up.shown(account)["variables"].clone();
        let all = variables.as_array().unwrap().iter();
        all.filter_map(|one| one["value"].as_str()?.parse::<i64>().ok()).sum::<i64>()
    };
    bind("61", &["--from", "2026-02-01"]);
    let before = usage("before.csv", &[("r1", "05"), ("r2", "15")]);
    let said = up.done(&["ingest", &before]);
    assert!(said.contains("2 accepted"), "{said}");
    bind("62", &["--from", "2026-02-10", "--move"]);
    let both = usage("both.csv", &[("r1", "05"), ("r2", "15"), ("r3", "09"), ("r4", "16")]);
    let said = up.done(&["ingest", &both]);
    assert!(said.contains("2 accepted, 2 duplicates"), "{said}");
    assert_eq!((octets("61"), octets("62")), (3_000_000, 1_000_000));
    // The identity is unbound, the file is sent again with a new record, and the identity is bound
    // to the first account again.
    up.done(&["account", "unbind", "62", "--identity", "user:mover", "--from", "2026-02-10"]);
    let more = usage("more.csv", &[("r2", "15"), ("r4", "16"), ("r5", "17")]);
    let ran = up.run(&["ingest", &more]);
    assert_eq!(ran.code, 3, "a record waits: {}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("0 accepted, 2 duplicates, 1 suspended"), "{}", ran.out);
    bind("61", &["--from", "2026-02-10"]);
    let said = up.done(&["suspense", "recycle"]);
    assert!(said.contains("1 rated"), "{said}");
    let said = up.done(&["ingest", &both]);
    assert!(said.contains("0 accepted, 4 duplicates"), "{said}");
    assert_eq!((octets("61"), octets("62")), (4_000_000, 1_000_000));
}

/// Accounts and records may spell an address differently: each record finds its account.
fn spellings(up: &Up) {
    let accounts = up.file(
        "accounts.csv",
        "account_number,zone,currency,plan,plan_from,identities\n\
         5001,UTC,EUR,octets,2026-01-01,ip:2001:DB8:0:0::77\n\
         5002,UTC,EUR,octets,2026-01-01,ip:198.51.100.7\n\
         5003,UTC,EUR,octets,2026-01-01,ip:::ffff:198.51.100.8\n\
         5004,UTC,EUR,octets,2026-01-01,ip:not-an-address\n\
         5005,UTC,EUR,octets,2026-01-01,ip:198.51.100.9/32\n\
         5006,UTC,EUR,octets,2026-01-01,ip:198.51.100.16/29\n",
    );
    let ran = up.run(&["account", "import", &accounts]);
    assert!(ran.code != 0 && ran.err.contains("not-an-address"), "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("6 accounts: 5 applied, 0 already in effect, 1 refused"),
        "{}",
        ran.out
    );
    let usage = up.file(
        "usage.csv",
        "record_id,identity,usage_type,start_time,quantity\n\
         i1,ip:2001:DB8:0:0::77,octets,2026-11-30T09:01:00Z,1000000\n\
         i2,ip:2001:db8::77,octets,2026-11-30T09:01:00Z,1000000\n\
         i3,ip:::ffff:198.51.100.7,octets,2026-11-30T09:01:00Z,1000000\n\
         i4,ip:198.51.100.7,octets,2026-11-30T09:01:00Z,1000000\n\
         i5,ip:198.51.100.8,octets,2026-11-30T09:01:00Z,1000000\n\
         i6,ip:198.51.100.9,octets,2026-11-30T09:01:00Z,1000000\n\
         i7,ip:198.51.100.23,octets,2026-11-30T09:01:00Z,1000000\n",
    );
    up.done(&["ingest", &usage]);
    let waiting = up.done(&["suspense", "list"]);
    assert!(!waiting.contains("unbound-identity"), "{waiting}");
}

/// A plan without plan_from begins when it is imported. Importing the same file again changes
/// nothing.
fn plans_without_a_start(up: &Up) {
    let accounts = up.file(
        "no-start.csv",
        "account_number,zone,currency,plan,plan_from\n\
         6001,UTC,EUR,octets,\n\
         6002,UTC,EUR,octets,2026-01-01\n\
         6003,UTC,EUR,,\n",
    );
    let before = jiff_now();
    let first = up.run(&["account", "import", &accounts]);
    assert_eq!(first.code, 0, "{}{}", first.out, first.err);
    for word in ["1 row", "no plan_from", "begin now", "no-plan"] {
        assert!(first.err.contains(word), "{word:?} is not in\n{}", first.err);
    }
    let begins = |account| {
        let shown = up.shown(account)["subscriptions"][0]["from"].clone();
        shown.as_str().unwrap().to_owned()
    };
    let begun = begins("6001");
    assert!(begun[..19] >= before[..19], "{begun} is before the import, {before}");
    assert_eq!(begins("6002"), "2026-01-01T00:00:00Z");
    let again = up.run(&["account", "import", &accounts]);
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert!(again.out.contains("subscriptions: 0 applied, 2 already in effect"), "{}", again.out);
    assert!(!again.err.contains("begin now"), "{}", again.err);
    assert_eq!(begins("6001"), begun);
    // If a plan was cancelled in the meantime, importing the file again does not begin it again.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    up.done(&["account", "cancel", "6001", "--plan", "octets", "--at", &jiff_now()]);
    up.done(&["account", "import", &accounts]);
    let subscriptions = up.shown("6001")["subscriptions"].clone();
    assert_eq!(subscriptions.as_array().unwrap().len(), 1, "{subscriptions}");
    let unused = up.file(
        "unused.csv",
        "account_number,zone,currency,plan,plan_from,parameter:price\n\
         6004,UTC,EUR,,2026-01-01,\n\
         6005,UTC,EUR,,,0.90\n\
         6006,UTC,ZZZ,,,\n",
    );
    let ran = up.run(&["account", "import", &unused]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    let faults = ["unused.csv:2, column plan_from", "unused.csv:3, column parameter:price"];
    for word in faults.iter().chain(&["has no plan", "unused.csv:4, column currency", "ISO 4217"]) {
        assert!(ran.err.contains(word), "{word:?} is not in\n{}", ran.err);
    }
    for account in ["6004", "6005", "6006"] {
        up.refused(&["account", "show", account], &["never opened"]);
    }
}

/// Nothing of a row is imported if another account holds one of its identities. The corrected row
/// can then be imported.
fn identities_that_others_hold(up: &Up) {
    up.done(&["account", "open", "7000", "--currency", "EUR", "--identity", "user:held"]);
    let row =
        |account: u64, identity: &str| format!("{account},UTC,EUR,octets,2026-01-01,{identity}\n");
    let header = "account_number,zone,currency,plan,plan_from,identities\n";
    let taken = [row(7001, "user:held"), row(7002, "user:two"), row(7003, "user:two")];
    let taken = up.file("taken.csv", &(header.to_owned() + &taken.concat()));
    let ran = up.run(&["account", "import", &taken]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    for word in [
        "account 7001: nothing of the row is imported",
        "account 7000 holds user:held at all times",
        "account 7003: nothing of the row is imported",
        "user:two",
    ] {
        assert!(ran.err.contains(word), "{word:?} is not in\n{}", ran.err);
    }
    for account in ["7001", "7003"] {
        up.refused(&["account", "show", account], &["never opened"]);
    }
    up.refused(
        &["account", "open", "7001", "--currency", "EUR", "--identity", "user:held"],
        &["account 7000 holds user:held at all times", "nothing is done"],
    );
    up.refused(&["account", "show", "7001"], &["never opened"]);
    let mended = [row(7001, "user:one"), row(7002, "user:two"), row(7003, "user:three")];
    up.done(&[
        "account",
        "import",
        &up.file("mended.csv", &(header.to_owned() + &mended.concat())),
    ]);
    for account in ["7001", "7002", "7003"] {
        assert_eq!(up.shown(account)["subscriptions"][0]["plan"], "octets", "{account}");
    }
}

/// A change that would leave usage without a price is refused, and so is one that changes nothing.
fn changes_that_can_not_be(up: &Up) {
    up.done(&["account", "open", "8001", "--currency", "EUR", "--attribute", "level=gold"]);
    up.done(&["account", "subscribe", "8001", "--plan", "octets", "--from", "2026-01-01"]);
    let francs = ["account", "change", "8001", "--from", "2026-12-01", "--currency", "CHF"];
    up.refused(&francs, &["octets", "posts in EUR", "CHF", "cancel"]);
    up.done(&["account", "cancel", "8001", "--plan", "octets", "--at", "2026-12-01"]);
    up.done(&francs);
    let remove = ["account", "change", "8001", "--from", "2026-12-02", "--remove-attribute"];
    let ran = up.run(&[&remove[..], &["levle"]].concat());
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    for word in ["no attribute levle", "level"] {
        assert!(ran.err.contains(word), "{word:?} is not in\n{}", ran.err);
    }
    up.done(&[&remove[..], &["level"]].concat());
    let again = up.done(&[&remove[..], &["level"]].concat());
    assert!(again.contains("already in effect"), "{again}");
}

/// Each wrong date is corrected by the command that the refusal names.
fn dates_are_corrected(up: &Up) {
    let account = ["account", "subscribe", "8101", "--plan", "octets", "--from"];
    let subscribe = |from| [&account[..], &[from]].concat();
    up.done(&["account", "open", "8101", "--currency", "EUR", "--zone", "Europe/Zurich"]);
    up.done(&subscribe("2026-06-15"));
    let make_room = "account cancel 8101 --plan octets --at 2026-06-14T22:00:00Z";
    up.refused(&subscribe("2026-06-01"), &[make_room]);
    let cancel = ["account", "cancel", "8101", "--plan", "octets", "--at"];
    let cancel = |at| [&cancel[..], &[at]].concat();
    up.refused(&cancel("2026-06-10"), &[make_room]);
    up.done(&make_room.split(' ').collect::<Vec<_>>());
    up.done(&subscribe("2026-06-01"));
    // A repeated cancellation names what goes on.
    up.done(&["account", "open", "8102", "--currency", "EUR"]);
    let of = |verb: &'static str, at: &'static str, date: &'static str| {
        ["account", verb, "8102", "--plan", "octets", at, date]
    };
    up.done(&of("subscribe", "--from", "2026-05-01"));
    let said = up.done(&of("cancel", "--at", "2026-06-01"));
    for word in ["done", "usage that was rated", "stay", "2026-06-01T00:00:00Z"] {
        assert!(said.contains(word), "{word:?} is not in\n{said}");
    }
    up.done(&of("subscribe", "--from", "2026-06-01"));
    let again = up.done(&of("cancel", "--at", "2026-06-01"));
    for word in [
        "already in effect",
        "another subscription to octets, from 2026-06-01T00:00:00Z on",
        "00:01:00Z",
    ] {
        assert!(again.contains(word), "{word:?} is not in\n{again}");
    }
    // The end moves to an earlier date, not to a later one.
    up.done(&cancel("2026-12-01"));
    up.done(&cancel("2026-11-01"));
    let again = up.done(&cancel("2026-11-01"));
    assert!(again.contains("already in effect"), "{again}");
    let renew = "account subscribe 8101 --plan octets --from 2026-10-31T23:00:00Z";
    up.refused(&cancel("2026-12-01"), &["ended at 2026-10-31T23:00:00Z", renew]);
    let shown = up.shown("8101")["subscriptions"].clone();
    let dates = |place: usize| (shown[place]["from"].clone(), shown[place]["until"].clone());
    assert_eq!(dates(0), ("2026-05-31T22:00:00Z".into(), "2026-10-31T23:00:00Z".into()));
    assert_eq!(dates(1), ("2026-06-14T22:00:00Z".into(), "2026-06-14T22:00:00Z".into()));
    up.done(&renew.split(' ').collect::<Vec<_>>());
}

/// Of a row with a subscription that is refused, nothing is imported: no account, no identity, and
/// none of its other plans.
fn rows_with_a_refused_subscription(up: &Up) {
    let flat = PLAN.replace("USD", "EUR").replace("id=\"octets\"", "id=\"flat\"");
    up.done(&["plan", "publish", &up.file("flat.xml", &flat)]);
    up.done(&["account", "open", "8201", "--currency", "EUR"]);
    up.done(&["account", "subscribe", "8201", "--plan", "flat", "--from", "2026-03-01"]);
    let rows = up.file(
        "refused.csv",
        "account_number,zone,currency,plan,plan_from,identities\n\
         8201,UTC,EUR,octets;flat,2026-02-01,user:refused\n\
         8202,UTC,EUR,flat;flat,2026-02-01,\n\
         8203,UTC,EUR,octets;flat,2026-02-01,user:taken\n\
         8203,UTC,EUR,flat,2026-02-02,user:second\n",
    );
    let ran = up.run(&["account", "import", &rows]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    for word in [
        "account 8201: nothing of the row is imported",
        "a subscription to flat from 2026-03-01T00:00:00Z on",
        "refused.csv:3, column plan",
        "names \"flat\" twice",
        "account 8203: nothing of the row is imported",
        "a subscription to flat from 2026-02-01T00:00:00Z on",
    ] {
        assert!(ran.err.contains(word), "{word:?} is not in\n{}", ran.err);
    }
    up.refused(&["account", "show", "8202"], &["never opened"]);
    let plans = |account: &str| {
        let subscriptions = up.shown(account)["subscriptions"].clone();
        let plans = subscriptions.as_array().unwrap().iter();
        plans.map(|one| one["plan"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let bound = |account: &str| {
        let bindings = up.shown(account)["bindings"].clone();
        let bindings = bindings.as_array().unwrap().iter();
        bindings.map(|one| one["identity"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((plans("8201"), bound("8201")), (vec!["flat".to_owned()], vec![]));
    let both = ["octets", "flat"].map(str::to_owned).to_vec();
    assert_eq!((plans("8203"), bound("8203")), (both.clone(), vec!["user:taken".to_owned()]));
    // A subscription that was cancelled at its start does not begin again by the same row. With
    // other terms, nothing of the row is imported.
    let row = |plans: &str, identity: &str| {
        let header = "account_number,zone,currency,plan,plan_from,identities\n";
        up.file("again.csv", &format!("{header}8205,UTC,EUR,{plans},2026-02-01,{identity}\n"))
    };
    up.done(&["account", "import", &row("octets", "")]);
    up.done(&["account", "cancel", "8205", "--plan", "octets", "--at", "2026-02-01"]);
    let again = up.done(&["account", "import", &row("octets", "")]);
    assert_eq!(again.matches("0 applied, 1 already in effect").count(), 2, "{again}");
    assert_eq!(up.shown("8205")["subscriptions"].as_array().unwrap().len(), 1);
    let ran = up.run(&["account", "import", &row("octets;flat", "user:again")]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    let words = ["account 8205: nothing of the row is imported", "cancelled at its start"];
    assert!(words.iter().all(|word| ran.err.contains(word)), "{}", ran.err);
    assert_eq!(up.shown("8205")["subscriptions"].as_array().unwrap().len(), 1);
    assert_eq!(bound("8205"), Vec::<String>::new());
    // The corrected row is imported whole, and again without effect.
    let corrected = up.file(
        "corrected.csv",
        "account_number,zone,currency,plan,plan_from,identities\n\
         8204,UTC,EUR,octets;flat,2026-02-01,user:refused\n",
    );
    up.done(&["account", "import", &corrected]);
    assert_eq!((plans("8204"), bound("8204")), (both, vec!["user:refused".to_owned()]));
    let again = up.done(&["account", "import", &corrected]);
    for word in ["0 applied, 1 already in effect", "0 applied, 2 already in effect"] {
        assert!(again.contains(word), "{word:?} is not in\n{again}");
    }
}

/// The same file is imported again after a subscription of it was cancelled and another one began.
fn rows_of_past_subscriptions(up: &Up) {
    let row = |number: &str, from: &str| {
        let header = "account_number,zone,currency,plan,plan_from\n";
        up.file("past.csv", &format!("{header}{number},UTC,EUR,octets,{from}\n"))
    };
    up.done(&["account", "import", &row("8301", "2026-02-01")]);
    up.done(&["account", "cancel", "8301", "--plan", "octets", "--at", "2026-03-01"]);
    up.done(&["account", "subscribe", "8301", "--plan", "octets", "--from", "2026-04-01"]);
    let again = up.done(&["account", "import", &row("8301", "2026-02-01")]);
    assert_eq!(again.matches("0 applied, 1 already in effect").count(), 2, "{again}");
    let ends: Vec<_> = up.shown("8301")["subscriptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["until"].clone())
        .collect();
    assert_eq!(ends, ["2026-03-01T00:00:00Z".into(), serde_json::Value::Null]);
    // Another start is refused, without a command that would end what the row does not name.
    let ran = up.run(&["account", "import", &row("8301", "2026-03-15")]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("subscription to octets from 2026-04-01T00:00:00Z on"), "{}", ran.err);
    assert!(!ran.err.contains("account cancel"), "{}", ran.err);
    assert!(
        ran.out.contains("1 accounts: 0 applied, 0 already in effect, 1 refused"),
        "{}",
        ran.out
    );
    // Each row of which nothing is imported counts as refused.
    let rows = up.file(
        "counts.csv",
        "account_number,zone,currency,plan,plan_from\n\
         8302,UTC,EUR,octets,2026-02-01\n8303,UTC,EUR,nosuch,2026-02-01\n8304,Nowhere,EUR,,\n",
    );
    let ran = up.run(&["account", "import", &rows, "--json"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["accounts"], &report["opened"]["refused"]), (&3.into(), &2.into()));
    assert_eq!(
        (&report["opened"]["applied"], &report["subscribed"]["applied"]),
        (&1.into(), &1.into())
    );
    let ran = up.run(&["account", "import", &rows]);
    assert!(
        ran.out.contains("3 accounts: 0 applied, 1 already in effect, 2 refused"),
        "{}",
        ran.out
    );
}

/// A call without its duration waits, and nothing that shows it states a duration of zero: sent
/// again with the zero, it would cost nothing.
fn waiting_without_a_duration(up: &Up) {
    let flat = fs::read_to_string(crate::support::file("tests/data/reading/flat.xml")).unwrap();
    let flat = flat.replace("id=\"flat\"", "id=\"calls\"");
    up.done(&["plan", "publish", &up.file("calls.xml", &flat)]);
    up.done(&["account", "open", "8401", "--currency", "EUR"]);
    up.done(&["account", "subscribe", "8401", "--plan", "calls", "--from", "2026-03-01"]);
    let usage = up.file(
        "calls.csv",
        "record_id,account_number,usage_type,start_time,quantity\n\
         lost,8401,call,2026-03-02T08:00:00Z,1\n",
    );
    let sent = up.run(&["ingest", &usage]);
    assert_eq!(sent.code, 3, "{}{}", sent.out, sent.err);
    let listed = up.done(&["suspense", "list", "--account", "8401", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["reason"], "missing-input");
    assert_eq!(listed["duration_us"], serde_json::Value::Null, "{listed}");
}

/// The present time, in the form in which the program shows instants.
fn jiff_now() -> String {
    let now = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(now.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn account_commands_change_the_cluster_as_requested() {
    let up = Up::start();
    dates_and_settings(&up);
    missing_objects(&up);
    identities(&up);
    moved_identities(&up);
    waits_under_an_identity(&up);
    spellings(&up);
    plans_without_a_start(&up);
    identities_that_others_hold(&up);
    changes_that_can_not_be(&up);
    dates_are_corrected(&up);
    rows_with_a_refused_subscription(&up);
    rows_of_past_subscriptions(&up);
    waiting_without_a_duration(&up);
}
