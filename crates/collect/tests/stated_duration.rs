//! A stated duration of zero differs from a missing duration: a record with the first costs
//! nothing, and a record with the second must not be rated.
#![allow(clippy::unwrap_used, missing_docs)]

use turnpike_collect::{UsageCsv, UsageJsonl};
use turnpike_types::{UsageRecord, ZERO_DURATION};

const START: &str = "2026-11-30T01:00:00Z";

/// Reads the only record of a CSV file with these additional columns.
fn csv(columns: &str, cells: &str) -> UsageRecord {
    let text = format!(
        "record_id,account_number,usage_type,start_time{columns}\nr1,1,call,{START}{cells}\n"
    );
    UsageCsv::new("usage.csv", text.as_bytes()).unwrap().next().unwrap().unwrap().content
}

fn jsonl(fields: &str) -> UsageRecord {
    let text = format!(
        "{{\"record_id\":\"r1\",\"account_number\":1,\"usage_type\":\"call\",\"start_time\":\"{START}\"{fields}}}\n"
    );
    UsageJsonl::new("usage.jsonl", text.as_bytes()).next().unwrap().unwrap().content
}

fn states_zero(record: &UsageRecord) -> bool {
    assert_eq!(record.duration_us, 0);
    record.measures.get(ZERO_DURATION) == Some(&0)
}

#[test]
fn a_stated_zero_is_kept_whatever_else_is_measured() {
    let end = format!(",{START}");
    for record in [
        csv(",duration", ",0"),
        csv(",duration", ",0s"),
        csv(",duration_us", ",0"),
        csv(",end_time", &end),
        csv(",duration,quantity", ",0,5"),
        csv(",duration,measure:octets", ",0,5"),
        jsonl(",\"duration\":\"0s\""),
        jsonl(",\"duration_us\":0"),
        jsonl(",\"duration_us\":0,\"quantity\":5"),
        jsonl(",\"measures\":{\"duration\":0}"),
        jsonl(&format!(",\"end_time\":\"{START}\"")),
    ] {
        assert!(states_zero(&record), "{record:?}");
    }
}

#[test]
fn an_unstated_zero_duration_is_not_invented() {
    for record in [
        csv("", ""),
        csv(",attribute:billsec", ",3600"),
        csv(",attribute:Duration", ",3600"),
        csv(",duration", ","),
        csv(",quantity,length", ",5,3600"),
        csv(",measure:Duration", ",3600"),
        csv(",measure:billsec", ",3600"),
        csv(",quantity,end_time", ",5,"),
        jsonl(""),
        jsonl(",\"attributes\":{\"billsec\":\"3600\"}"),
        jsonl(",\"attributes\":{\"duration\":3600}"),
        jsonl(",\"measures\":{\"billsec\":3600}"),
        jsonl(",\"quantity\":5"),
    ] {
        assert!(!states_zero(&record), "{record:?}");
    }
}

#[test]
fn the_same_record_is_the_same_in_both_forms() {
    assert_eq!(csv(",duration", ",0s"), jsonl(",\"duration\":\"0s\""));
    assert_eq!(csv(",quantity", ",5"), jsonl(",\"quantity\":5"));
}
