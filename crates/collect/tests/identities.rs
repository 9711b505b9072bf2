//! Identities in files: each has one canonical spelling, and invalid ones are refused with their
//! line.
#![allow(clippy::unwrap_used)]

use turnpike_collect::{AccessLog, AccessLogOptions, AccountsCsv, UsageCsv, UsageJsonl};

const ACCOUNTS: &str = "account_number,zone,currency,plan,identities
5001,UTC,EUR,octets,ip:2001:DB8:0:0::77
5003,UTC,EUR,octets,ip:::ffff:198.51.100.8;tel:+41 44 123 45 67
5004,UTC,EUR,octets,ip:not-an-address
5005,UTC,EUR,octets,ip:198.51.100.9/32
5006,UTC,EUR,octets,user:Alice;ip:198.51.100.16/29
5007,UTC,EUR,octets,ip:198.51.100.17/29
5008,UTC,EUR,octets,ip:fe80::1%eth0
";

#[test]
fn accounts_are_imported_with_the_canonical_spelling_of_each_identity() {
    let (mut identities, mut faults) = (Vec::new(), Vec::new());
    for row in AccountsCsv::new("accounts.csv", ACCOUNTS.as_bytes()).unwrap() {
        match row {
            Ok(row) => identities.extend(row.content.identities),
            Err(fault) => faults.push((fault.line, fault.to_string())),
        }
    }
    let expected = [
        "ip:2001:db8::77",
        "ip:198.51.100.8",
        "tel:+41441234567",
        "ip:198.51.100.9",
        "user:Alice",
        "ip:198.51.100.16/29",
    ];
    assert_eq!(identities, expected);
    let lines: Vec<u64> = faults.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 7, 8]);
    for ((_, said), word) in faults.iter().zip(["user:NAME", "ip:198.51.100.16/29", "%ZONE"]) {
        assert!(said.contains(word) && said.contains("identities"), "{said}");
    }
}

const SPELLINGS: [(&str, Option<&str>); 6] = [
    ("ip:2001:DB8:0:0::77", Some("ip:2001:db8::77")),
    ("ip:::ffff:198.51.100.7", Some("ip:198.51.100.7")),
    ("ip:198.51.100.9/32", Some("ip:198.51.100.9")),
    ("tel:+41-44-1", Some("tel:+41441")),
    ("ip:not-an-address", None),
    // A record belongs to a single address, so a prefix is refused.
    ("ip:198.51.100.8/29", None),
];

#[test]
fn every_form_of_usage_gives_the_canonical_spelling() {
    for (spelling, expected) in SPELLINGS {
        let csv = format!(
            "record_id,identity,usage_type,start_time,quantity\n\
             i1,{spelling},octets,2026-11-30T09:01:00Z,5\n"
        );
        let jsonl = format!(
            "{{\"record_id\":\"i1\",\"identity\":\"{spelling}\",\"usage_type\":\"octets\",\
             \"start_time\":\"2026-11-30T09:01:00Z\",\"quantity\":5}}\n"
        );
        let csv = UsageCsv::new("u.csv", csv.as_bytes()).unwrap().next().unwrap();
        let jsonl = UsageJsonl::new("u.jsonl", jsonl.as_bytes()).next().unwrap();
        for row in [csv, jsonl] {
            let found = row.map(|row| row.content.identity);
            assert_eq!(found.as_deref().ok(), expected, "{spelling}: {found:?}");
        }
    }
}

#[test]
fn a_log_names_requesters_by_the_same_spelling() {
    let log = "2001:DB8:0::77 - - [30/Nov/2026:09:01:00 +0000] \"GET /a HTTP/1.1\" 200 1\n\
               ::ffff:198.51.100.7 - - [30/Nov/2026:09:02:00 +0000] \"GET /b HTTP/1.1\" 200 1\n";
    let log = AccessLog::new("a.log", "web", log.as_bytes(), AccessLogOptions::default()).unwrap();
    let found: Vec<String> = log.map(|row| row.unwrap().content.identity).collect();
    assert_eq!(found, ["ip:2001:db8::77", "ip:198.51.100.7"]);
}
