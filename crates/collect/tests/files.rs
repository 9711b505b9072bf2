//! Tests of each reader with a complete file.

#![allow(clippy::unwrap_used)]

use turnpike_collect::{
    AccessLog, AccessLogOptions, AccountRow, AccountsCsv, Fault, Row, UsageCsv, UsageJsonl,
    parse_instant,
};
use turnpike_types::{AccountNumber, UsageRecord};

const USAGE_CSV: &str = include_str!("data/usage.csv");
const USAGE_JSONL: &str = include_str!("data/usage.jsonl");
const ACCOUNTS_CSV: &str = include_str!("data/accounts.csv");
const ACCESS_LOG: &str = include_str!("data/access.log");

fn split<T>(rows: impl Iterator<Item = Result<Row<T>, Fault>>) -> (Vec<Row<T>>, Vec<Fault>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for row in rows {
        match row {
            Ok(row) => good.push(row),
            Err(fault) => bad.push(fault),
        }
    }
    (good, bad)
}

/// Asserts the faults as (line, column, a part of the message).
fn assert_faults(faults: &[Fault], expected: &[(u64, &str, &str)]) {
    for (fault, &(line, column, word)) in faults.iter().zip(expected) {
        let said = fault.to_string();
        assert_eq!((fault.line, fault.column.as_deref().unwrap_or("")), (line, column), "{said}");
        assert!(said.contains(word), "{said:?} lacks {word:?}");
        assert!(!fault.remedy.is_empty() && !fault.is_fatal());
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn usage_csv_gives_records_and_names_each_bad_row() {
    let (rows, faults) = split(UsageCsv::new("usage.csv", USAGE_CSV.as_bytes()).unwrap());
    let ids: Vec<_> = rows.iter().map(|row| (row.line, row.content.record_id.as_str())).collect();
    assert_eq!(ids, [(2, "u1"), (3, "u2"), (10, "u9")]);
    let u1 = &rows[0].content;
    assert_eq!((u1.account, u1.duration_us), (AccountNumber(42), 3_600_000_000));
    assert_eq!(u1.quantity, None);
    assert!(u1.attributes.is_empty() && u1.measures.is_empty());
    let u2 = &rows[1].content;
    assert_eq!((u2.account, u2.identity.as_str()), (AccountNumber(0), "ip:192.0.2.1"));
    assert_eq!((u2.duration_us, u2.quantity), (90_000_000, Some(512)));
    assert_eq!(u2.attributes["function"], "search, wide");
    assert_eq!(u2.measures["packets"], 3);
    assert_eq!(rows[2].content.quantity, Some(i64::MAX));
    assert_faults(
        &faults,
        &[
            (4, "start_time", "RFC 3339"),
            (5, "quantity", "negative"),
            (6, "account_number", "not an account number"),
            (7, "", "both an account and an identity"),
            (8, "end_time", "before the start"),
            (9, "", "4 fields"),
        ],
    );
    assert!(faults[0].to_string().starts_with("usage.csv:4, column start_time: \"yesterday\""));
}

#[test]
fn an_unusable_header_of_usage_csv_is_refused_with_the_missing_columns() {
    for (header, word) in [
        ("", "record_id"),
        ("account_number,usage_type,start_time", "record_id"),
        ("record_id,usage_type,start_time", "account_number (or identity)"),
        ("record_id,account_number,usage_type", "start_time"),
        ("record_id,account_number,usage_type,start_time,zone,zone", "twice"),
        ("record_id,account_number,usage_type,start_time,", "no name"),
    ] {
        let fault = UsageCsv::new("f.csv", header.as_bytes()).unwrap_err();
        assert!(fault.is_fatal() && fault.line == 1, "{fault}");
        assert!(fault.to_string().contains(word), "{fault}");
    }
    // A byte order mark and spaces around names are accepted.
    let spread = "\u{feff}record_id, account_number ,usage_type,start_us\nr,1,t,5\n";
    let (rows, faults) = split(UsageCsv::new("f.csv", spread.as_bytes()).unwrap());
    assert_eq!((rows.len(), faults.len()), (1, 0));
}

#[test]
fn usage_jsonl_gives_records_and_names_each_bad_line() {
    let (rows, faults) = split(UsageJsonl::new("u.jsonl", USAGE_JSONL.as_bytes()));
    let ids: Vec<_> = rows.iter().map(|row| (row.line, row.content.record_id.as_str())).collect();
    assert_eq!(ids, [(1, "j1"), (3, "j2"), (7, "j6")]);
    assert_eq!(rows[0].content.attributes["function"], "search");
    assert_eq!(rows[0].content.measures["packets"], 3);
    let j2 = &rows[1].content;
    assert_eq!(j2.start, parse_instant("2026-01-05T15:00:00Z").unwrap());
    assert_eq!((j2.identity.as_str(), j2.duration_us), ("user:alice", 500_000));
    assert_eq!(rows[2].content.duration_us, 5_400_000_000);
    assert_faults(
        &faults,
        &[(4, "", "unknown field `colour`"), (5, "", "EOF"), (6, "packets", "negative")],
    );
}

#[test]
fn accounts_csv_gives_accounts_and_names_each_bad_row() {
    let (rows, faults) = split(AccountsCsv::new("a.csv", ACCOUNTS_CSV.as_bytes()).unwrap());
    assert_eq!(rows.len(), 2);
    let first: &AccountRow = &rows[0].content;
    assert_eq!((first.account, first.cycle_day), (AccountNumber(42), 1));
    assert_eq!(first.plans, ["fig6b", "octets"]);
    assert_eq!(first.plan_from, Some(parse_instant("2026-01-01T05:00:00Z").unwrap()));
    assert_eq!(first.identities, ["ip:192.0.2.1", "user:alice"]);
    assert_eq!(first.attributes["service-level"], "gold");
    assert_eq!(first.parameters["peak-price"], "0.90");
    let second = &rows[1].content;
    assert_eq!((second.cycle_day, second.plan_from), (31, None), "1970 is no default");
    assert!(second.plans.is_empty() && second.attributes.is_empty());
    assert_faults(
        &faults,
        &[
            (4, "zone", "IANA"),
            (5, "cycle_day", "1 to 31"),
            (6, "currency", "ISO 4217"),
            (7, "plan_from", "2026-01-05"),
            (8, "identities", "user:NAME"),
        ],
    );
    let unknown = AccountsCsv::new("a.csv", &b"account_number,zone,currency,colour\n"[..]);
    assert!(unknown.unwrap_err().to_string().contains("column colour: no such column"));
}

#[test]
fn a_plan_that_an_account_names_twice_is_a_bad_row() {
    let text = "account_number,zone,currency,plan\n\
                1,UTC,USD,flat;octets;flat\n\
                2,UTC,USD,flat;octets\n";
    let (rows, faults) = split(AccountsCsv::new("a.csv", text.as_bytes()).unwrap());
    assert_eq!(rows.iter().map(|row| row.content.account.0).collect::<Vec<_>>(), [2]);
    assert_faults(&faults, &[(2, "plan", "names \"flat\" twice")]);
}

/// The cell of a list is read like a cell in a file of usage: within quotes every character is part
/// of the value, even a blank.
#[test]
fn a_quoted_list_of_an_account_is_taken_as_it_is_written() {
    let text = "account_number,zone,currency,plan,identities\n\
                1,UTC,EUR,\"a;b\",\"user: ada ;user:bob\"\n\
                2,UTC,EUR, a ; b , user:cy ; user:di \n\
                3,UTC,EUR,,\" user:eve\"\n\
                4,UTC,EUR,,\"user:\"\"fay\"\"\"\n";
    let ab = || vec!["a".to_owned(), "b".to_owned()];
    let (rows, faults) = split(AccountsCsv::new("a.csv", text.as_bytes()).unwrap());
    let identities: Vec<_> = rows.iter().map(|row| row.content.identities.clone()).collect();
    assert_eq!(identities[0], ["user: ada ", "user:bob"]);
    assert_eq!(identities[1], ["user:cy", "user:di"]);
    assert_eq!(identities[2], ["user:\"fay\""]);
    assert_eq!((&rows[0].content.plans, &rows[1].content.plans), (&ab(), &ab()));
    assert_faults(&faults, &[(4, "identities", "\" user:eve\"")]);
}

/// Without a plan there is no subscription that would use these values, so they would be lost
/// silently.
#[test]
fn parameters_and_a_start_without_a_plan_are_bad_rows() {
    let text = "account_number,zone,currency,plan,plan_from,parameter:price\n\
                1,UTC,EUR,a,2026-01-01,0.90\n\
                2,UTC,EUR,,,\n\
                3,UTC,EUR,,2026-01-01,\n\
                4,UTC,EUR,,,0.90\n";
    let (rows, faults) = split(AccountsCsv::new("a.csv", text.as_bytes()).unwrap());
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 3]);
    let expected = [(4, "plan_from", "has no plan"), (5, "parameter:price", "has no plan")];
    assert_faults(&faults, &expected);
}

#[test]
fn an_access_log_gives_charged_failed_and_uncharged_octets() {
    let read = || {
        let format = Some("combined".parse().unwrap());
        let options = AccessLogOptions { format, hostnames: true, path: false };
        split(AccessLog::new("a.log", "web-1", ACCESS_LOG.as_bytes(), options).unwrap())
    };
    let (rows, faults) = read();
    assert_eq!((rows.len(), faults.len(), faults[0].line), (9, 1, 8));
    let octets = |usage_type: &str| -> (usize, i64) {
        let of_type = || rows.iter().filter(|row| row.content.usage_type == usage_type);
        (of_type().count(), of_type().filter_map(|row| row.content.quantity).sum())
    };
    assert_eq!(octets("octets"), (6, 1200 * 3 + 800 + 65536));
    assert_eq!(octets("octets-failed"), (2, 321 + 77));
    assert_eq!(octets("octets-uncharged"), (1, 0));
    let ids = |rows: &[Row<UsageRecord>]| -> Vec<String> {
        rows.iter().map(|row| row.content.record_id.clone()).collect()
    };
    let mut distinct = ids(&rows);
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 9, "the repeated line is a separate access");
    assert_eq!(ids(&rows), ids(&read().0), "a second run gives the same ids");
    assert!(!rows[0].content.attributes.contains_key("path"));
}
