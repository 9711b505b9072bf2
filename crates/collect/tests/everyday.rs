//! Files as common programs write them: each row gives one correct record, or a fault.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write as _;

use turnpike_collect::{
    AccessLog, AccessLogOptions, AccountsCsv, Fault, Row, UsageCsv, UsageJsonl, parse_duration_us,
    parse_instant, read_text,
};
use turnpike_types::UsageRecord;

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

fn log_as(bytes: &[u8], options: AccessLogOptions) -> Read {
    AccessLog::new("a.log", "web", bytes, options).unwrap().collect()
}

fn log(bytes: &[u8]) -> Read {
    log_as(bytes, AccessLogOptions::default())
}

fn format(name: &str, hostnames: bool) -> AccessLogOptions {
    let format = Some(name.parse().unwrap());
    AccessLogOptions { format, hostnames, ..AccessLogOptions::default() }
}

fn records(read: &Read) -> Vec<&UsageRecord> {
    read.iter().filter_map(|row| row.as_ref().ok()).map(|row| &row.content).collect()
}

fn faults(read: &Read) -> Vec<String> {
    read.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect()
}

fn ids(read: &Read) -> Vec<&str> {
    records(read).iter().map(|record| record.record_id.as_str()).collect()
}

fn identities(read: &Read) -> Vec<&str> {
    records(read).iter().map(|record| record.identity.as_str()).collect()
}

/// Asserts that the faults are as many as the entries of `expected`, and that each message contains
/// the texts of its entry.
fn assert_reported(read: &Read, expected: &[&[&str]]) {
    let told = faults(read);
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, words) in told.iter().zip(expected) {
        words.iter().for_each(|word| assert!(told.contains(word), "{word:?} not in {told:?}"));
    }
}

const HEADER: &str = "record_id,account_number,usage_type,start_time,duration,note\n";

fn row(id: &str, note: &str) -> String {
    format!("{id},1,call,2026-11-01T01:00:00Z,60,{note}\n")
}

// ---- quotes

#[test]
fn a_quote_left_open_is_reported_with_its_line_and_the_size_of_the_unread_rest() {
    let read = csv(include_bytes!("data/everyday/quote-left-open.csv"));
    assert_eq!(ids(&read), ["r1"]);
    assert_reported(&read, &[&["u.csv:3, column note", "4 lines after it were not read", "close"]]);
    assert!(read[1].as_ref().unwrap_err().is_fatal());
}

#[test]
fn a_quote_that_closes_rows_later_is_reported_where_it_opens() {
    let rows = [row("r1", "a"), row("r2", "\"b"), row("r3", "c"), row("r4", "d\""), row("r5", "e")];
    let read = csv(format!("{HEADER}{}", rows.concat()).as_bytes());
    assert_eq!(ids(&read), ["r1"]);
    assert_reported(&read, &[&["u.csv:3, column note", "3 lines after it were not read"]]);
}

#[test]
fn rows_hidden_in_a_field_with_line_breaks_are_not_rated() {
    // The note is untrusted text, correctly quoted over three lines.
    let hidden = row("forged", "x");
    let text = format!("{HEADER}{}{}", row("r1", &format!("\"hi\n{hidden}bye\"")), row("r2", "b"));
    let read = csv(text.as_bytes());
    assert!(ids(&read).is_empty(), "{read:?}");
    assert_reported(&read, &[&["u.csv:2", "3 lines after it were not read"]]);
}

#[test]
fn text_behind_a_closing_quote_costs_only_its_row() {
    let text = format!("{HEADER}{}{}", row("r1", "\"a\"b"), row("r2", "\"a \"\"b\"\"\""));
    let read = csv(text.as_bytes());
    assert_eq!(ids(&read), ["r2"]);
    assert_eq!(records(&read)[0].attributes["note"], "a \"b\"");
    assert_reported(&read, &[&["u.csv:2, column note", "follows the closing quote"]]);
}

#[test]
fn a_quote_within_an_unquoted_field_is_an_ordinary_character() {
    let read = csv(format!("{HEADER}{}{}", row("r1", "19\" rack"), row("r2", "5\"")).as_bytes());
    assert_eq!(ids(&read), ["r1", "r2"]);
    assert_eq!(records(&read)[0].attributes["note"], "19\" rack");
}

#[test]
fn an_account_file_with_an_open_quote_is_reported_too() {
    let text = "account_number,zone,currency,plan\n1,UTC,EUR,\"a\n2,UTC,EUR,b\n3,UTC,EUR,\"c\n";
    let rows: Vec<_> = AccountsCsv::new("a.csv", text.as_bytes()).unwrap().collect();
    let [Err(fault)] = rows.as_slice() else { panic!("{rows:?}") };
    let told = fault.to_string();
    assert!(told.contains("a.csv:2, column plan") && told.contains("2 lines after"), "{told}");
}

#[test]
fn a_header_with_an_open_quote_is_refused() {
    let text = format!("\"{HEADER}{}", row("r1", "a"));
    assert_reported(&csv(text.as_bytes()), &[&["u.csv:1", "not closed"]]);
}

// ---- one record, one key

#[test]
fn an_id_with_a_blank_is_one_record_as_csv_and_as_json_lines() {
    let one = csv(include_bytes!("data/everyday/blank-in-the-id.csv"));
    let other = jsonl(include_bytes!("data/everyday/blank-in-the-id.jsonl"));
    assert_eq!(ids(&one), ["w1 "]);
    assert_eq!(records(&one), records(&other));
}

#[test]
fn unquoted_fields_are_trimmed_and_quoted_fields_are_verbatim() {
    let text = format!("{HEADER} w1 ,1,call,2026-11-01T01:00:00Z,60,\" x\t\"\n");
    let read = csv(text.as_bytes());
    assert_eq!(ids(&read), ["w1"]);
    assert_eq!(records(&read)[0].attributes["note"], " x\t");
}

#[test]
fn an_empty_or_null_json_value_is_absent_like_an_empty_cell() {
    let line = br#"{"record_id":"r1","account_number":"1","identity":null,"usage_type":"call",
        "start_time":"2026-11-01T01:00:00Z","end_time":"","duration":60.0,"quantity":null,
        "attributes":{"note":"","region":null},"measures":{"packets":null}}"#;
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').collect();
    let read = jsonl(&line);
    assert_reported(&read, &[]);
    assert_eq!(records(&read), records(&csv(format!("{HEADER}{}", row("r1", "")).as_bytes())));
}

#[test]
fn equal_keys_of_an_object_are_refused() {
    let line = |more: &str| {
        format!(
            "{{\"record_id\":\"r\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0{more}}}"
        )
    };
    for more in [
        ",\"quantity\":1,\"quantity\":2",
        ",\"measures\":{\"a\":1,\"a\":2}",
        ",\"attributes\":{\"a\":\"x\",\"a\":\"y\"}",
    ] {
        assert_reported(&jsonl(line(more).as_bytes()), &[&["duplicate field"]]);
    }
}

// ---- columns that resemble a known column

#[test]
fn a_column_like_a_known_one_that_is_missing_is_refused_by_name() {
    for (bytes, column, meant) in [
        (&include_bytes!("data/everyday/column-Duration.csv")[..], "Duration", "duration"),
        (include_bytes!("data/everyday/column-billsec.csv"), "billsec", "duration"),
        (include_bytes!("data/everyday/column-duration_ms.csv"), "duration_ms", "duration"),
        (include_bytes!("data/everyday/column-end_timestamp.csv"), "end_timestamp", "end_time"),
    ] {
        let read = csv(bytes);
        assert!(records(&read).is_empty());
        assert_reported(&read, &[&["u.csv:1", column, &format!("like {meant}, which is missing")]]);
        let attribute = format!("attribute:{column}");
        assert!(faults(&read)[0].contains(&attribute), "the fault names the remedy: {read:?}");
    }
}

#[test]
fn a_required_column_in_another_spelling_is_reported_with_the_known_one() {
    for (header, column) in [
        ("recordid,account_number,usage_type,start_time", "recordid"),
        ("record_id,account_number,Usage_Type,start_time", "Usage_Type"),
        ("record_id,AccountNumber,usage_type,start_time", "AccountNumber"),
        ("record_id,account_number,usage_type,StartTime", "StartTime"),
    ] {
        let expected = format!("{column} seems to mean it");
        assert_reported(&csv(header.as_bytes()), &[&["the header has no column", &expected]]);
    }
}

#[test]
fn a_column_like_a_known_one_that_is_there_is_an_attribute_with_a_warning() {
    let text = "record_id,account_number,usage_type,start_time,duration,billsec\n\
                r1,1,call,2026-11-01T01:00:00Z,60,55\n";
    let rows = UsageCsv::new("u.csv", text.as_bytes()).unwrap();
    let [warning] = rows.warnings() else { panic!("{:?}", rows.warnings()) };
    assert!(warning.contains("u.csv:1, column billsec: warning"), "{warning}");
    let rows: Read = rows.collect();
    assert_eq!(records(&rows)[0].attributes["billsec"], "55");
}

#[test]
fn attributes_that_are_declared_or_unlike_any_known_name_are_accepted_without_a_message() {
    let rows = "r1,1,call,2026-11-01T01:00:00Z,55\n";
    let header = "record_id,account_number,usage_type,start_time";
    let declared: BTreeSet<String> = ["billsec".to_owned()].into();
    for column in ["attribute:billsec", "note", "called", "service-level", "quality", "send_time"] {
        let text = format!("{header},{column}\n{rows}");
        let read = UsageCsv::with_attributes("u.csv", text.as_bytes(), &declared).unwrap();
        assert!(read.warnings().is_empty(), "{:?}", read.warnings());
        let read: Read = read.collect();
        let name = column.trim_start_matches("attribute:");
        assert_eq!(records(&read)[0].attributes[name], "55");
    }
    let text = format!("{header},billsec\n{rows}");
    let read = UsageCsv::with_attributes("u.csv", text.as_bytes(), &declared).unwrap();
    assert!(read.warnings().is_empty());
    for column in ["Measure:packets", "measures:packets", "measure:", "Attribute:x"] {
        let text = format!("{header},{column}\n{rows}");
        assert_reported(&csv(text.as_bytes()), &[&["neither measure:NAME nor attribute:NAME"]]);
    }
}

/// A measure or an attribute with a name like that of the duration column leaves the record without
/// a duration.
#[test]
fn a_measure_or_an_attribute_named_like_a_known_column_that_is_missing_is_reported() {
    let warnings = |columns: &str, cells: &str| {
        let header = "record_id,account_number,usage_type,start_time";
        let text = format!("{header},{columns}\nr1,1,call,2026-11-01T01:00:00Z,{cells}\n");
        let read = UsageCsv::new("u.csv", text.as_bytes()).unwrap();
        let warnings = read.warnings().to_vec();
        assert_eq!(records(&read.collect()).len(), 1, "{columns}");
        warnings
    };
    for (columns, column, meant) in [
        ("measure:Duration,quantity", "measure:Duration", "like duration"),
        ("measure:billsec,quantity", "measure:billsec", "like duration"),
        ("quantity,attribute:duration", "attribute:duration", "is that of duration"),
        ("quantity,attribute:billsec", "attribute:billsec", "like duration"),
        ("quantity,measure:end_time", "measure:end_time", "is that of end_time"),
        ("duration,attribute:quantity", "attribute:quantity", "is that of quantity"),
        ("duration,measure:qty", "measure:qty", "like quantity"),
    ] {
        let told = warnings(columns, "5,60");
        let [warning] = told.as_slice() else { panic!("{columns}: {told:?}") };
        assert!(warning.contains(&format!("u.csv:1, column {column}: warning")), "{warning}");
        assert!(warning.contains(&format!("{meant}, which is missing")), "{warning}");
    }
    for columns in
        ["duration,measure:billsec", "quantity,measure:octets", "quantity,attribute:path"]
    {
        assert_eq!(warnings(columns, "5,60"), Vec::<String>::new(), "{columns}");
    }
    // A plan can't read measures with these names: `record.duration` and `record.quantity` are the
    // duration and the quantity of the record itself.
    for (column, own) in [("measure:duration", "duration"), ("measure: quantity", "quantity")] {
        let text = format!("record_id,account_number,usage_type,start_time,{column}\n");
        assert_reported(&csv(text.as_bytes()), &[&["u.csv:1", column, &format!("name it {own}")]]);
    }
}

#[test]
fn a_member_of_a_json_line_named_like_a_missing_one_is_reported_once() {
    let line = |id: u32, more: &str| {
        format!(
            "{{\"record_id\":\"r{id}\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0,{more}}}\n"
        )
    };
    let read = |text: &str, declared: &[&str]| {
        let declared = declared.iter().map(|name| (*name).to_owned()).collect();
        let mut rows = UsageJsonl::with_attributes("u.jsonl", text.as_bytes(), declared);
        let read: Read = rows.by_ref().collect();
        (read, rows.take_warnings())
    };
    for (more, member, meant) in [
        ("\"attributes\":{\"duration\":\"60\"}", "attributes.duration", "is that of duration"),
        (
            "\"attributes\":{\"duration\":60},\"quantity\":5",
            "attributes.duration",
            "is that of duration",
        ),
        ("\"attributes\":{\"billsec\":60}", "attributes.billsec", "like duration"),
        ("\"measures\":{\"billsec\":60}", "measures.billsec", "like duration"),
        ("\"measures\":{\"Duration\":60}", "measures.Duration", "like duration"),
        ("\"measures\":{\"end_us\":60}", "measures.end_us", "is that of end_us"),
    ] {
        let twice = [line(1, more), line(2, more)].concat();
        let (rows, told) = read(&twice, &[]);
        assert_eq!(records(&rows).len(), 2, "{rows:?}");
        let [warning] = told.as_slice() else { panic!("{more}: {told:?}") };
        assert!(warning.contains(&format!("u.jsonl:1, column {member}: warning")), "{warning}");
        assert!(warning.contains(&format!("{meant}, which is missing")), "{warning}");
    }
    let (_, told) = read(&line(1, "\"attributes\":{\"billsec\":60}"), &["billsec"]);
    assert_eq!(told, Vec::<String>::new(), "it is declared");
    let (_, told) = read(&line(1, "\"duration\":9,\"measures\":{\"billsec\":60}"), &[]);
    assert_eq!(told, Vec::<String>::new(), "the duration is there");
    // A plan can't read measures with these names. A measure `duration` of 0 is accepted: it states
    // a duration of zero.
    let (rows, told) = read(&line(1, "\"measures\":{\"duration\":60}"), &[]);
    assert_reported(&rows, &[&["u.jsonl:1, column measures", "\"duration\" beside"]]);
    assert_eq!(told, Vec::<String>::new());
    let (rows, _) = read(&line(1, "\"measures\":{\"quantity\":0}"), &[]);
    assert_reported(&rows, &[&["u.jsonl:1, column measures", "\"quantity\" beside"]]);
    let (rows, told) = read(&line(1, "\"measures\":{\"duration\":0}"), &[]);
    assert_eq!((records(&rows)[0].measures["duration"], told), (0, Vec::new()));
}

/// A line of CSV with a NUL byte is a bad row. A line of JSON with a NUL character in a text is one
/// too.
#[test]
fn a_nul_character_is_refused_in_every_form_of_a_file() {
    let line = |id: &str, more: &str| {
        format!(
            "{{\"record_id\":\"{id}\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0{more}}}\n"
        )
    };
    for (id, more, column) in [
        ("r\\u0000", "", "record_id"),
        ("r", ",\"attributes\":{\"a\":\"\\u0000\"}", "attributes"),
        ("r", ",\"attributes\":{\"a\\u0000\":\"x\"}", "attributes"),
        ("r", ",\"measures\":{\"a\\u0000\":1}", "measures"),
        ("r", ",\"duration\":\"\\u00001\"", "duration"),
    ] {
        assert_reported(&jsonl(line(id, more).as_bytes()), &[&[column, "NUL"]]);
    }
    let text = "record_id,account_number,usage_type,start_us\nr\0x,1,t,0\n";
    assert_reported(&csv(text.as_bytes()), &[&["u.csv:2", "NUL"]]);
}

/// For years of more than four digits, and days beyond the last instant, the message states the
/// range.
#[test]
fn a_time_outside_the_range_is_reported_with_the_range() {
    for time in [
        "9999-12-31T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "99999-12-31T23:59:59+01:00",
        "-10000-01-01T00:00:00Z",
    ] {
        let text = format!("record_id,account_number,usage_type,start_time\nr1,1,t,{time}\n");
        let range = "-009999-01-02T01:59:59Z to 9999-12-30T22:00:00Z";
        assert_reported(
            &csv(text.as_bytes()),
            &[&["u.csv:2, column start_time", "outside", range]],
        );
    }
}

#[test]
fn a_json_key_that_resembles_a_known_one_is_reported_with_that_one() {
    for (key, known) in
        [("Duration", "duration"), ("billsec", "duration"), ("end_timestamp", "end_time")]
    {
        let line = format!(
            "{{\"record_id\":\"r\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0,\"{key}\":5}}"
        );
        let like = format!("unknown field `{key}`; it is like `{known}`");
        assert_reported(&jsonl(line.as_bytes()), &[&[&like, "\"attributes\""]]);
    }
}

#[test]
fn an_unknown_column_of_accounts_names_the_nearest_one() {
    let fault = AccountsCsv::new("a.csv", &b"account_number,zone,Currency\n"[..]).unwrap_err();
    assert!(fault.to_string().contains("did you mean currency?"), "{fault}");
}

// ---- files in other forms

#[test]
fn a_whole_text_is_read_from_every_encoding_up_to_its_limit() {
    let text = "a;Zürich\n";
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let forms = [
        text.as_bytes().to_vec(),
        [&b"\xef\xbb\xbf"[..], text.as_bytes()].concat(),
        [&b"\xfe\xff"[..], &units].concat(),
        gzip(text.as_bytes()),
    ];
    for bytes in forms {
        assert_eq!(read_text("t.csv", bytes.as_slice(), text.len()).unwrap(), text);
        let told = read_text("t.csv", bytes.as_slice(), text.len() - 1).unwrap_err().to_string();
        assert!(told.contains("t.csv:1: the text has more than 9 bytes"), "{told}");
    }
    // Old spreadsheet programs for the Macintosh end each line with CR.
    assert_eq!(read_text("t.csv", &b"a\rb\r"[..], 100).unwrap(), "a\nb\n");
    assert_eq!(read_text("t.csv", &b"a\r\nb\rc"[..], 100).unwrap(), "a\r\nb\rc");
    let told = read_text("t.csv", &b"a\nb\xff\n"[..], 100).unwrap_err().to_string();
    assert!(told.contains("t.csv:2: the text is not UTF-8"), "{told}");
    let told = read_text("t.csv", &b"PAR1"[..], 100).unwrap_err().to_string();
    assert!(told.contains("a Parquet file"), "{told}");
}

/// A file of three records, the second with a comma and an umlaut in its note.
fn three(separator: &str) -> String {
    let text =
        format!("{HEADER}{}{}{}", row("r1", "a"), row("r2", "\"b, Zürich\""), row("r3", "c"));
    let (before, after) = text.split_once("\"b, ").unwrap();
    [before, after].map(|part| part.replace(',', separator)).join("\"b, ")
}

fn assert_three(read: &Read) {
    assert_reported(read, &[]);
    assert_eq!(ids(read), ["r1", "r2", "r3"]);
    assert_eq!(records(read)[1].attributes["note"], "b, Zürich");
    assert_eq!(records(read)[1].duration_us, 60_000_000);
}

fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    let bytes = units.flat_map(|unit| match big_endian {
        true => unit.to_be_bytes(),
        false => unit.to_le_bytes(),
    });
    bytes.collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn semicolons_tabs_bars_and_a_line_that_names_the_separator_are_read() {
    for separator in [",", ";", "\t", "|"] {
        assert_three(&csv(three(separator).as_bytes()));
        let said = format!("sep={separator}\r\n{}", three(separator));
        let read = csv(said.as_bytes());
        assert_three(&read);
        assert_eq!(
            read[0].as_ref().unwrap().line,
            3,
            "line numbers count from the first line of the file"
        );
    }
    assert_reported(&csv(b"sep=#\na#b\n"), &[&["\"#\" is not a separator"]]);
    assert_reported(&csv(b"sep=;\n"), &[&["no header follows"]]);
}

#[test]
fn line_ends_of_windows_and_of_old_spreadsheets_are_read() {
    assert_three(&csv(three(",").replace('\n', "\r\n").as_bytes()));
    assert_three(&csv(three(",").replace('\n', "\r").as_bytes()));
    let read = csv(three(",").replace('\n', "\n\r\n \n").as_bytes());
    assert_three(&read);
    assert_eq!(read[1].as_ref().unwrap().line, 7);
}

#[test]
fn utf_16_and_gzip_are_read_also_together_and_in_members() {
    let text = three(";");
    for big_endian in [false, true] {
        assert_three(&csv(&utf16(&text, big_endian)));
        assert_three(&csv(&gzip(&utf16(&text, big_endian))));
    }
    assert_three(&csv(&gzip(text.as_bytes())));
    assert_three(&csv(&gzip(format!("\u{feff}{text}").as_bytes())));
    let (first, second) = text.split_at(text.len() / 2);
    assert_three(&csv(&[gzip(first.as_bytes()), gzip(second.as_bytes())].concat()));
    // A surrogate pair can cross the end of the decoder's buffer.
    let many = "😀".repeat(3_000);
    for shift in ["", "x"] {
        let text = format!("{HEADER}{}", row("r1", &format!("{shift}{many}")));
        let read = csv(&utf16(&text, false));
        assert_eq!(records(&read)[0].attributes["note"], format!("{shift}{many}"));
    }
}

#[test]
fn a_damaged_file_yields_its_valid_rows_and_is_reported_as_damaged() {
    let mut text = HEADER.to_owned();
    (0..5_000).for_each(|at| text.push_str(&row(&format!("r{at}"), &format!("{at:x}-{at:o}"))));
    let whole = gzip(text.as_bytes());
    let read = csv(&whole[..whole.len() / 2]);
    assert!(records(&read).len() > 100 && records(&read).len() < 5_000);
    assert_eq!(faults(&read).len(), 1);
    assert!(read.last().unwrap().as_ref().unwrap_err().is_fatal());
    let odd = utf16(&three(","), true);
    assert!(faults(&csv(&odd[..odd.len() - 1]))[0].contains("can't be read any further"));
    let lone = [&utf16(HEADER, false)[..], &[0x00, 0xd8, 0x41, 0x00]].concat();
    assert!(faults(&csv(&lone))[0].contains("half a character"));
}

#[test]
fn files_of_other_formats_are_refused_by_format() {
    let plan = br#"<plan xmlns="urn:turnpike:plan:1" id="m" version="1">"#;
    for (bytes, word) in [
        (&plan[..], "this is XML"),
        (b"  {\"record_id\":\"r1\"}", "this is JSON"),
        (b"[{\"record_id\":\"r1\"}]", "JSON array"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "ZIP archive or an .xlsx"),
        (b"\x28\xb5\x2f\xfd\x04\x58", "zstd"),
        (b"\xff\xfe\0\0r\0\0\0", "UTF-32"),
        (b"r\0e\0c\0o\0r\0d\0_\0i\0d\0", "byte order mark"),
        (b"record_id,account_number,usage_type,start_time,caf\xe9", "not UTF-8"),
    ] {
        assert_reported(&csv(bytes), &[&["u.csv:1", word]]);
        assert!(csv(bytes)[0].as_ref().unwrap_err().is_fatal());
    }
    for (bytes, word) in [
        (&plan[..], "this is XML"),
        (
            b"[\n{\"record_id\":\"r1\"}\n]",
            "this is a JSON array, not JSON lines; the 2 lines after",
        ),
        (b"{\n\"record_id\":\"r1\"\n}", "on several lines"),
        (HEADER.as_bytes(), "this is CSV"),
    ] {
        assert_reported(&jsonl(bytes), &[&["u.jsonl:1", word]]);
    }
    assert_three_jsonl();
}

fn assert_three_jsonl() {
    let line = |id: &str| {
        format!(
            "{{\"record_id\":\"{id}\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0}}\n"
        )
    };
    let text = format!("{}{}{}", line("é1"), line("é2"), line("é3"));
    for bytes in [text.clone().into_bytes(), utf16(&text, true), gzip(text.as_bytes())] {
        assert_eq!(ids(&jsonl(&bytes)), ["é1", "é2", "é3"]);
    }
}

#[test]
fn unambiguous_numbers_are_read_and_ambiguous_ones_are_reported() {
    let header = "record_id;account_number;usage_type;start_time;duration;quantity\n";
    let one = |duration: &str, quantity: &str| {
        csv(format!("{header}r;1;t;2026-11-01T01:00:00Z;{duration};{quantity}\n").as_bytes())
    };
    assert_eq!(records(&one("", "3600.0"))[0].quantity, Some(3600));
    assert_eq!(records(&one("", "3600.00"))[0].quantity, Some(3600));
    for (quantity, word) in [
        ("3,600", "has a comma"),
        ("0,5", "has a comma"),
        ("1.23457E+11", "has an exponent"),
        ("1e6", "has an exponent"),
        ("18446744073709551615", "negative number written as unsigned"),
        ("512.5", "not a quantity"),
        ("512.", "not a quantity"),
        ("12 MB", "not a quantity"),
        ("-1", "negative"),
    ] {
        assert_reported(&one("", quantity), &[&["u.csv:2, column quantity", word]]);
    }
    for (duration, word) in [
        ("0,25", "has a comma"),
        ("3,600", "has a comma"),
        ("18446744073709551516", "negative number written as unsigned"),
        ("1e3", "has an exponent"),
        ("-60", "not a duration"),
    ] {
        assert_reported(&one(duration, ""), &[&["u.csv:2, column duration", word]]);
    }
    // A JSON number is accepted in any notation in which no digits are lost.
    for (number, word) in [("9007199254740993.0", "lost digits"), ("1e30", "lost digits")] {
        let line = format!(
            "{{\"record_id\":\"r\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0,\"quantity\":{number}}}"
        );
        assert_reported(&jsonl(line.as_bytes()), &[&["column quantity", word]]);
    }
    assert_reported(&jsonl(b"{\"record_id\":7}"), &[&["column record_id", "double quotes"]]);
    for (number, quantity) in [("1e6", 1_000_000), ("3600.0", 3_600), ("\"3600\"", 3_600)] {
        let line = format!(
            "{{\"record_id\":\"r\",\"account_number\":1,\"usage_type\":\"t\",\"start_us\":0,\"quantity\":{number}}}"
        );
        assert_eq!(records(&jsonl(line.as_bytes()))[0].quantity, Some(quantity));
    }
}

#[test]
fn an_invalid_time_is_refused_with_the_reason() {
    for (text, word) in [
        ("9999-12-31T23:59:59Z", "outside the years"),
        ("9999-12-31T23:59:59-01:00", "outside the years"),
        ("2026-01-05T10:00:00", "has no offset"),
        ("2026-01-05", "no time of day"),
        ("1767607200", "bare number"),
        ("soon", "is not an instant"),
    ] {
        let error = parse_instant(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!(parse_instant("9999-12-30T00:00:00Z").is_ok());
    assert!(parse_duration_us("0,25").unwrap_err().to_string().contains("comma"));
}

// ---- access logs

#[test]
fn the_client_pays_and_not_the_virtual_host() {
    let read = log(include_bytes!("data/everyday/virtual-host-first.log"));
    assert_reported(&read, &[]);
    assert_eq!(identities(&read), ["ip:192.0.2.1", "ip:192.0.2.2", "ip:192.0.2.3"]);
    let named = format("vhost_combined", false);
    assert_eq!(
        identities(&log_as(include_bytes!("data/everyday/virtual-host-first.log"), named)).len(),
        3
    );
}

#[test]
fn a_port_is_no_part_of_the_client() {
    let read = log(include_bytes!("data/everyday/requester-with-port.log"));
    assert_eq!(identities(&read), ["ip:192.0.2.9"; 3]);
}

const REST: &str = "- - [30/Nov/2026:09:01:00 +0000] \"GET / HTTP/1.1\" 200 7";

#[test]
fn a_word_that_is_no_address_is_reported_and_no_account_pays() {
    let good = format!("192.0.2.1 {REST}\n");
    for first in ["www.example.net", "www.example.net:443", "198.51.100.300", "unix:"] {
        let read = log(format!("{first} {REST}\n{good}").as_bytes());
        assert_eq!(identities(&read), ["ip:192.0.2.1"]);
        assert_reported(&read, &[&["a.log:1, column host", "not an address", "--format"]]);
    }
    // A virtual host without a port before the client can be read only if the caller states the
    // format.
    let two = format!("www.example.net 192.0.2.1 {REST}\n");
    assert_reported(&log(two.as_bytes()), &[&["not an address", "--format"]]);
    let named = format("%v %h %l %u %t \"%r\" %>s %b", false);
    assert_eq!(identities(&log_as(two.as_bytes(), named)), ["ip:192.0.2.1"]);
    // The line has the addresses of a proxy and of a client, and it is unknown which is which.
    let two = format!("192.0.2.1 198.51.100.1 {REST}\n");
    assert_reported(&log(two.as_bytes()), &[&["192.0.2.1", "198.51.100.1", "--format"]]);
}

/// The first line decides the format of a file. A later line that begins with a virtual host is
/// refused, even if the host is an address: the host must not be taken for the client.
#[test]
fn a_virtual_host_behind_lines_without_one_does_not_pay() {
    let good = format!("192.0.2.1 {REST}\n");
    for host in ["[2001:db8::77]:443", "198.51.100.77:80", "198.51.100.77"] {
        let read = log(format!("{good}{host} 192.0.2.132 {REST}\n").as_bytes());
        assert_eq!(identities(&read), ["ip:192.0.2.1"], "{host}");
        assert_reported(&read, &[&["a.log:2", "virtual host", "--format vhost_combined"]]);
    }
}

#[test]
fn host_names_are_charged_only_on_request() {
    let line = format!("proxy.example.net {REST}\n");
    assert_reported(&log(line.as_bytes()), &[&["--hostnames"]]);
    let read = log_as(line.as_bytes(), format("combined", true));
    assert_eq!(identities(&read), ["user:proxy.example.net"]);
    let read = log_as(format!("a.example:443 {line}").as_bytes(), format("combined", true));
    assert_reported(&read, &[&["not an address"]]);
}

#[test]
fn the_format_holds_for_the_whole_file() {
    let vhost = format!("www.example.net:443 192.0.2.1 {REST}\n");
    let combined = format!("192.0.2.2 {REST}\n");
    let read = log(format!("junk\n{vhost}{combined}{vhost}").as_bytes());
    assert_eq!(identities(&read), ["ip:192.0.2.1"; 2]);
    let mixed =
        ["a.log:3", "has the format combined", "first line had vhost_combined", "split the log"];
    assert_reported(&read, &[&["a.log:1"], &mixed]);
    // The message on a line in neither format does not mention the other format.
    let read = log(format!("{vhost}junk\n").as_bytes());
    assert_reported(&read, &[&["a.log:2: \"junk\" is not a line of an access log"]]);
    // If the caller states the format, the message does not compare it with other formats.
    let read = log_as(format!("{vhost}{combined}").as_bytes(), format("vhost_combined", false));
    assert_eq!(identities(&read), ["ip:192.0.2.1"]);
    assert!(!faults(&read)[0].contains("first line"), "{read:?}");
}

#[test]
fn a_byte_order_mark_and_nul_bytes_are_no_part_of_the_client() {
    let read = log(include_bytes!("data/everyday/byte-order-mark.log"));
    assert_eq!(identities(&read), ["ip:192.0.2.1"; 2]);
    let read = log(include_bytes!("data/everyday/nul-bytes-before-a-line.log"));
    assert_eq!(identities(&read), ["ip:192.0.2.1"; 2]);
    assert_reported(&read, &[]);
    // An access has the same id with and without a byte order mark or NUL bytes around its line.
    let line = format!("192.0.2.1 {REST}");
    let plain = log(line.as_bytes());
    for odd in [format!("\0\0\0{line}\0\0\n"), format!("\u{feff}{line}"), format!("\0\n\0\0{line}")]
    {
        assert_eq!(ids(&log(odd.as_bytes())), ids(&plain));
    }
    let within = log(format!("{}\0\0{line}\n{line}", &line[..40]).as_bytes());
    assert_eq!(records(&within).len(), 1);
    assert_reported(&within, &[&["a.log:1", "NUL bytes"]]);
}

#[test]
fn another_control_byte_in_the_address_is_reported_and_makes_no_other_client() {
    let read = log(include_bytes!("data/everyday/control-byte-in-the-address.log"));
    assert_reported(&read, &[&["a.log:1", "not an address"]]);
}

#[test]
fn users_are_read_as_apache_writes_them() {
    let read = log(include_bytes!("data/everyday/odd-users.log"));
    assert_reported(&read, &[]);
    assert_eq!(identities(&read), ["ip:192.0.2.1"; 8]);
    let octets: Vec<_> = records(&read).iter().map(|record| record.quantity.unwrap()).collect();
    assert_eq!(octets, [1_000_000, 1_000_000, 1_000_000, 1_000_000, 0, 157, 1_000_000, 0]);
    assert_eq!(records(&log(include_bytes!("data/everyday/latin-1.log"))).len(), 1);
}
