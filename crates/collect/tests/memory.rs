//! The memory of a reader is bounded by the longest line, for any file.

#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write as _};

use allocation_counter::measure;
use turnpike_collect::{AccessLog, AccessLogOptions, AccountsCsv, UsageCsv, UsageJsonl};

const MIB: u64 = 1 << 20;
/// The bound: the buffers, a line of 256 KiB in a buffer that grew by doubling, and gzip's window.
const BYTES_MAX: u64 = 2 * MIB;
const LONG: u64 = 32 * MIB;

const CSV_HEADER: &str = "record_id,account_number,usage_type,start_time,note\n";
const CSV_ROW: &str = "\nr1,1,octets,2026-01-05T10:00:00Z,x\n";
const JSON_ROW: &str =
    "\n{\"record_id\":\"r1\",\"account_number\":1,\"usage_type\":\"octets\",\"start_us\":0}\n";
const LOG_ROW: &str = "192.0.2.1 - - [05/Jan/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5\n";
const ACCOUNTS: &str = "account_number,zone,currency\n";

/// A reader of `before`, then [`LONG`] repetitions of one byte, then `after`.
fn long(before: &'static str, byte: u8, after: &'static str) -> impl Read {
    before.as_bytes().chain(io::repeat(byte).take(LONG)).chain(after.as_bytes())
}

/// Reads all rows. Returns the number of good rows, the faults, and the peak of allocated bytes.
fn read<T, E: std::fmt::Display>(
    rows: impl FnOnce() -> Box<dyn Iterator<Item = Result<T, E>>>,
) -> (usize, Vec<String>, u64) {
    let (mut good, mut told) = (0, Vec::new());
    let info = measure(|| {
        for row in rows() {
            match row {
                Ok(_) => good += 1,
                Err(fault) => told.push(fault.to_string()),
            }
        }
    });
    (good, told, info.bytes_max)
}

fn log(reader: impl Read + 'static) -> (usize, Vec<String>, u64) {
    read(|| Box::new(AccessLog::new("f", "web", reader, AccessLogOptions::default()).unwrap()))
}

fn csv(reader: impl Read + 'static) -> (usize, Vec<String>, u64) {
    read(|| Box::new(UsageCsv::new("f", reader).unwrap()))
}

#[test]
fn nul_bytes_before_a_line_cost_nothing_and_the_line_is_read() {
    let (good, told, bytes) = log(long(LOG_ROW, 0, LOG_ROW));
    assert_eq!((good, told.len()), (2, 0), "{told:?}");
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
}

#[test]
fn a_line_without_end_is_one_fault_and_the_lines_after_it_are_read() {
    let after = &*format!("\n{LOG_ROW}").leak();
    let read: [(usize, Vec<String>, u64); 4] = [
        log(long("", b'x', after)),
        csv(long(CSV_HEADER, b'"', CSV_ROW)),
        read(|| Box::new(UsageJsonl::new("f", long("", b'{', JSON_ROW)))),
        read(|| {
            let rows = long(ACCOUNTS, b',', "\n1,UTC,EUR\n");
            Box::new(AccountsCsv::new("f", rows).unwrap())
        }),
    ];
    for (good, told, bytes) in read {
        assert_eq!((good, told.len()), (1, 1), "{told:?}");
        assert!(told[0].contains(&format!("the line has {LONG} bytes")), "{told:?}");
        assert!(bytes < BYTES_MAX, "{bytes} bytes");
    }
}

#[test]
fn a_header_without_end_is_a_fault_that_ends_the_file() {
    let mut fault = None;
    let info = measure(|| fault = UsageCsv::new("f", long("", b'x', CSV_ROW)).err());
    assert!(fault.unwrap().is_fatal());
    assert!(info.bytes_max < BYTES_MAX, "{} bytes", info.bytes_max);
}

#[test]
fn highly_compressed_input_is_unpacked_while_it_is_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(CSV_HEADER.as_bytes()).unwrap();
    io::copy(&mut io::repeat(b'x').take(LONG), &mut gzip).unwrap();
    gzip.write_all(CSV_ROW.as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    assert!((packed.len() as u64) < LONG / 100);
    let (good, told, bytes) = csv(io::Cursor::new(packed));
    assert_eq!((good, told.len()), (1, 1), "{told:?}");
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
}

#[test]
fn a_header_of_very_many_columns_is_a_fault_with_the_limit() {
    let columns: String = (0..30_000).map(|n| format!(",c{n}")).collect();
    let header = format!("record_id,account_number,usage_type,start_time{columns}\n");
    let mut fault = None;
    let info = measure(|| fault = UsageCsv::new("f", io::Cursor::new(header)).err());
    let told = fault.unwrap().to_string();
    assert!(told.contains("30004 columns") && told.contains("at most 1024"), "{told}");
    assert!(told.len() < 300 && info.bytes_max < 2 * BYTES_MAX, "{} bytes", info.bytes_max);
}
