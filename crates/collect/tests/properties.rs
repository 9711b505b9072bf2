//! Properties of every file: no panic, each line gives one record or one fault, and a record is the
//! same in every form of a file.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use turnpike_collect::{
    AccessLog, AccessLogOptions, AccountsCsv, Fault, Row, UsageCsv, UsageJsonl,
};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

type Read = Vec<Result<Row<UsageRecord>, Fault>>;

fn csv(bytes: &[u8]) -> Read {
    match UsageCsv::new("u.csv", bytes) {
        Ok(rows) => rows.collect(),
        Err(fault) => vec![Err(fault)],
    }
}

fn jsonl(bytes: &[u8]) -> Read {
    UsageJsonl::new("u.jsonl", bytes).collect()
}

fn log(bytes: &[u8]) -> Read {
    AccessLog::new("a.log", "web", bytes, AccessLogOptions::default()).unwrap().collect()
}

/// Text of one line that both a CSV file and JSON lines can hold.
fn text() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        Just(" x ".to_owned()),
        Just("\"".to_owned()),
        Just(",;\t|".to_owned()),
        Just("\\n".to_owned()),
        Just("\u{feff}é😀".to_owned()),
        Just("#".to_owned()),
        Just("=1+1".to_owned()),
    ];
    prop_oneof![3 => "[ -~äé日]{1,20}", 1 => odd]
}

fn record() -> impl Strategy<Value = UsageRecord> {
    let owner = prop_oneof![
        (1..=u64::MAX).prop_map(|number| (AccountNumber(number), String::new())),
        text().prop_map(|name| {
            // A name holds no control characters.
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            (AccountNumber(0), format!("user:{name}"))
        }),
    ];
    let time = (-1_000_000_000_000_000..4_000_000_000_000_000i64, 0..1_000_000_000_000i64);
    let quantity = proptest::option::of(0..=i64::MAX);
    let name = "[a-z][a-z -]{0,8}[a-z]";
    let measures = btree_map(name, 0..=i64::MAX, 0..3);
    let attributes = btree_map(name, text(), 0..4);
    (text(), owner, "[a-z-]{1,20}", time, quantity, measures, attributes).prop_map(
        |(record_id, (account, identity), usage_type, (start, duration_us), quantity, m, a)| {
            UsageRecord {
                record_id,
                account,
                identity,
                usage_type,
                start: Timestamp(start),
                duration_us,
                quantity,
                measures: m,
                attributes: a,
            }
        },
    )
}

/// The columns of a record; an absent value is an empty cell.
fn cells(record: &UsageRecord) -> Vec<(String, String)> {
    let account = match record.account.0 {
        0 => String::new(),
        number => number.to_string(),
    };
    let mut cells = vec![
        ("record_id".to_owned(), record.record_id.clone()),
        ("account_number".to_owned(), account),
        ("identity".to_owned(), record.identity.clone()),
        ("usage_type".to_owned(), record.usage_type.clone()),
        ("start_us".to_owned(), record.start.0.to_string()),
        ("duration_us".to_owned(), record.duration_us.to_string()),
        ("quantity".to_owned(), record.quantity.map(|q| q.to_string()).unwrap_or_default()),
    ];
    cells
        .extend(record.measures.iter().map(|(name, q)| (format!("measure:{name}"), q.to_string())));
    cells.extend(
        record.attributes.iter().map(|(name, text)| (format!("attribute:{name}"), text.clone())),
    );
    cells
}

fn as_csv(record: &UsageRecord, separator: char) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
    let cells = cells(record);
    let line = |texts: Vec<String>| texts.join(&separator.to_string());
    let header = line(cells.iter().map(|(name, _)| quoted(name)).collect());
    format!("{header}\n{}\n", line(cells.iter().map(|(_, text)| quoted(text)).collect()))
}

fn as_jsonl(record: &UsageRecord) -> String {
    let mut object = serde_json::json!({
        "record_id": record.record_id,
        "usage_type": record.usage_type,
        "start_us": record.start.0,
        "duration_us": record.duration_us,
        "quantity": record.quantity,
        "measures": record.measures,
        "attributes": record.attributes,
    });
    match record.account.0 {
        0 => object["identity"] = record.identity.clone().into(),
        number => object["account_number"] = number.into(),
    }
    object.to_string()
}

fn only(read: Read) -> UsageRecord {
    assert_eq!(read.len(), 1, "{read:?}");
    read.into_iter().next().unwrap().unwrap().content
}

/// Generates the lines of a file, each with whether it is a valid record.
fn lines_of(
    good: &'static str,
    bad: &'static [&'static str],
) -> impl Strategy<Value = Vec<(String, bool)>> {
    let line = prop_oneof![
        3 => (0..1_000_000u32).prop_map(move |id| (good.replace("ID", &id.to_string()), true)),
        1 => proptest::sample::select(bad).prop_map(|bad| (bad.to_owned(), false)),
    ];
    vec(line, 0..40)
}

const CSV_HEADER: &str = "record_id,account_number,usage_type,start_time,quantity,note\n";
const CSV_GOOD: &str = "ID,1,octets,2026-01-05T10:00:00Z,5,a \"note\" of 19\"";
const CSV_BAD: &[&str] = &[
    "x",
    "x,1,octets,soon,5,",
    "x,1,octets,2026-01-05T10:00:00Z,5,\"a\"b",
    "x,1,octets,2026-01-05T10:00:00Z,5,a,b",
    ",,,,,",
    "x,1,octets,2026-01-05T10:00:00Z,5,\u{0}y",
    "{}",
];
const JSON_GOOD: &str =
    "{\"record_id\":\"ID\",\"account_number\":1,\"usage_type\":\"octets\",\"start_us\":0}";
const JSON_BAD: &[&str] = &["{}", "{\"a\":", "[]", "1", "null", "{\"record_id\":1}", "\"\"", "}{"];
const LOG_GOOD: &str = "192.0.2.1 - - [05/Jan/2026:10:00:00 +0000] \"GET /ID HTTP/1.1\" 200 5";
const LOG_BAD: &[&str] = &[
    "x",
    "www.example.net - - [05/Jan/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5",
    "192.0.2.1 - - [05/Jan/2026:10:00:00] \"GET / HTTP/1.1\" 200 5",
    "192.0.2.1 - - [05/Jan/2026:10:00:00 +0000] \"GET / HTTP/1.1\" OK",
    "\" \" \" [] []",
];

fn assert_each_line_once(read: &Read, lines: &[(String, bool)], before: u64) {
    let found: Vec<_> = read
        .iter()
        .map(|row| match row {
            Ok(row) => (row.line, true),
            Err(fault) => (fault.line, false),
        })
        .collect();
    let expected: Vec<_> =
        (before + 1..).zip(lines).map(|(line, (_, good))| (line, *good)).collect();
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(test_cases::cases(400))]

    #[test]
    fn a_record_is_the_same_as_csv_and_as_json_lines(record in record()) {
        let from_csv = only(csv(as_csv(&record, ',').as_bytes()));
        let from_json = only(jsonl(as_jsonl(&record).as_bytes()));
        prop_assert_eq!(&from_csv, &record);
        prop_assert_eq!(&from_json, &record);
    }

    #[test]
    fn a_record_is_the_same_in_every_encoding_and_separator(
        record in record(),
        which in 0..6usize,
    ) {
        let text = match which {
            0 => as_csv(&record, ';'),
            1 => as_csv(&record, '\t'),
            2 => as_csv(&record, '|'),
            3 => format!("sep=,\n{}", as_csv(&record, ',')),
            4 => as_csv(&record, ',').replace('\n', "\r\n"),
            _ => format!("\u{feff}{}", as_csv(&record, ',')),
        };
        prop_assert_eq!(&only(csv(text.as_bytes())), &record);
        let marked = text.trim_start_matches('\u{feff}');
        let utf16: Vec<u8> = std::iter::once(0xfeff).chain(marked.encode_utf16())
            .flat_map(u16::to_be_bytes).collect();
        prop_assert_eq!(&only(csv(&utf16)), &record);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&utf16).unwrap();
        prop_assert_eq!(&only(csv(&gzip.finish().unwrap())), &record);
    }

    #[test]
    fn each_line_of_csv_is_a_record_or_a_fault(lines in lines_of(CSV_GOOD, CSV_BAD)) {
        let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        assert_each_line_once(&csv(format!("{CSV_HEADER}{text}").as_bytes()), &lines, 1);
    }

    #[test]
    fn each_line_of_json_lines_is_a_record_or_a_fault(lines in lines_of(JSON_GOOD, JSON_BAD)) {
        // The first line is a record: if it began with `[`, the reader would refuse the whole file
        // as an array.
        let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        let text = format!("{JSON_GOOD}\n{text}");
        assert_each_line_once(&jsonl(text.as_bytes())[1..].to_vec(), &lines, 1);
    }

    #[test]
    fn each_line_of_a_log_is_an_access_or_a_fault(lines in lines_of(LOG_GOOD, LOG_BAD)) {
        let text: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
        assert_each_line_once(&log(text.as_bytes()), &lines, 0);
    }

    #[test]
    fn an_open_quote_ends_the_file_and_says_how_much_was_left(
        before in 0..20usize,
        after in 0..20usize,
        tail in prop_oneof![Just("\"open"), Just("\"open\"\""), Just(" \"o,p"), Just("\"")],
    ) {
        let open = format!("x,1,octets,2026-01-05T10:00:00Z,5,{tail}\n");
        let good = format!("{}\n", CSV_GOOD.replace("ID", "r"));
        let text = format!("{CSV_HEADER}{}{open}{}", good.repeat(before), good.repeat(after));
        let read = csv(text.as_bytes());
        prop_assert_eq!(read.len(), before + 1);
        let fault = read[before].as_ref().unwrap_err();
        prop_assert!(fault.is_fatal());
        prop_assert_eq!(fault.line, before as u64 + 2);
        let said = match after {
            0 => String::new(),
            1 => "the line after it was not read".to_owned(),
            more => format!("the {more} lines after it were not read"),
        };
        prop_assert!(fault.problem.ends_with(&said), "{}", fault);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in vec(prop_oneof![3 => any::<u8>(), 2 => proptest::sample::select(b"\",;\n\r\0[] %{}".to_vec())], 0..300),
        seed in 0..4usize,
        at in any::<prop::sample::Index>(),
    ) {
        let seeds = [
            format!("{CSV_HEADER}{CSV_GOOD}\n{CSV_GOOD}\n"),
            format!("{JSON_GOOD}\n{JSON_GOOD}\n"),
            format!("{LOG_GOOD}\n{LOG_GOOD}\n"),
            "account_number,zone,currency,plan\n1,UTC,EUR,a;b\n".to_owned(),
        ];
        let mut mixed = seeds[seed].clone().into_bytes();
        let at = at.index(mixed.len());
        mixed.splice(at..at, bytes.iter().copied());
        for bytes in [&bytes, &mixed] {
            let lines = bytes.split(|&byte| byte == b'\n' || byte == b'\r').count();
            for read in [csv(bytes), jsonl(bytes), log(bytes)] {
                prop_assert!(read.len() <= lines);
            }
            if let Ok(rows) = AccountsCsv::new("a.csv", bytes.as_slice()) {
                prop_assert!(rows.count() <= lines);
            }
        }
    }

    #[test]
    fn a_log_format_is_parsed_or_refused_and_then_reads_without_a_panic(
        pattern in "(%[{}a-zA-Z<>!,0-9^%]{0,4}| |\"|\\\\|x|é){0,12}",
        line in "[ \"\\[\\]0-9a-z:/+é-]{0,80}",
    ) {
        let pattern = format!("%h %t %>s %b{pattern}");
        if let Ok(format) = pattern.parse() {
            let options = AccessLogOptions { format: Some(format), ..AccessLogOptions::default() };
            let good = format!("192.0.2.1 [05/Jan/2026:10:00:00 +0000] 200 5{line}\n{line}");
            let rows = AccessLog::new("a.log", "web", good.as_bytes(), options).unwrap();
            prop_assert!(rows.count() <= 2);
        }
    }
}

#[test]
fn the_good_lines_of_these_tests_are_good() {
    let csv = csv(format!("{CSV_HEADER}{CSV_GOOD}\n").as_bytes());
    for read in [csv, jsonl(JSON_GOOD.as_bytes()), log(LOG_GOOD.as_bytes())] {
        assert!(matches!(read.as_slice(), [Ok(_)]), "{read:?}");
    }
}
