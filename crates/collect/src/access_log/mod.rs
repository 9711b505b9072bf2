//! Access logs of web servers, in Apache's formats.
//!
//! ```text
//!  HOST IDENT USER [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "REFERRER" "AGENT"
//!   |                |                            |               |     |
//!  identity        start                        method         status quantity
//!
//!  format.rs     the format: common, combined, vhost_combined, or a LogFormat; fields of a line
//!  fields.rs     parsers of single fields
//!  requester.rs  the client's address or host name -> the identity that is charged
//! ```

mod fields;
mod format;
mod requester;

use std::collections::HashMap;
use std::io::Read;

use turnpike_types::{AccountNumber, UsageRecord, limits};

use crate::fault::{Problem, shown};
use crate::text::Lines;
use crate::{Fault, Row};

use format::{Field, Mismatch, Parts};
use requester::{address, identity};

pub use format::{BadFormat, LogFormat};

/// The longest line, in bytes. Servers limit a request line to much less.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest source name. A record id is SOURCE:HASH:N, with 16 digits of HASH and up to 20 of N.
const SOURCE_BYTES_MAX: usize = limits::RECORD_ID_BYTES_MAX - 16 - 20 - 2;

/// Options for reading a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogOptions {
    /// Keeps the path of each request as the attribute `path`. Off by default, because it makes
    /// records large, and few plans use it.
    pub path: bool,
    /// The format of the lines. If it is `None`, the first line that matches `combined` (which
    /// includes `common`) or `vhost_combined` determines the format of the whole log.
    pub format: Option<LogFormat>,
    /// Accepts host names of clients; their identity is `user:NAME`. Works only if `format` is set,
    /// because otherwise the name of a client cannot be distinguished from that of a virtual host.
    pub hostnames: bool,
}

/// The error of a source name that cannot be part of record ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source name {0:?} can't be used: write 1 to {SOURCE_BYTES_MAX} bytes without spaces")]
pub struct BadSource(pub String);

/// Reads the accesses of a log, one record per line.
///
/// A record's id is `SOURCE:HASH:N`: HASH is the first 64 bits of the line's BLAKE3 hash, and N
/// counts the occurrences of this hash in the file, from 1. So two accesses with identical lines
/// stay two records. Reading the file again gives the same ids, also after lines were appended. Two
/// different lines with the same hash differ in N. The reader keeps one small entry for each
/// distinct line of the file.
#[derive(Debug)]
pub struct AccessLog<R: Read> {
    source: String,
    options: AccessLogOptions,
    /// The formats to try if the caller specified none; the first matching line selects one of
    /// them.
    candidates: Vec<LogFormat>,
    lines: Lines<R>,
    seen: HashMap<u64, u64>,
}

impl<R: Read> AccessLog<R> {
    /// Reads from `reader`. `file` is its name in faults. `source` is the prefix of record ids; use
    /// the same source when a log is rotated to another file name.
    ///
    /// # Errors
    /// [`BadSource`] if `source` cannot be part of record ids.
    pub fn new(
        file: &str,
        source: &str,
        reader: R,
        options: AccessLogOptions,
    ) -> Result<Self, BadSource> {
        let fits = (1..=SOURCE_BYTES_MAX).contains(&source.len());
        if !fits || source.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadSource(source.to_owned()));
        }
        let candidates = match &options.format {
            Some(_) => Vec::new(),
            None => {
                vec![LogFormat::combined(), LogFormat::vhost_combined()]
            }
        };
        Ok(Self {
            source: source.to_owned(),
            options,
            candidates,
            lines: Lines::new(file, reader, LINE_BYTES_MAX),
            seen: HashMap::new(),
        })
    }

    fn record(&mut self) -> Result<UsageRecord, Problem> {
        let line = self.lines.bytes().trim_ascii_end();
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(line).as_bytes()[..8]);
        let hash = u64::from_be_bytes(first);
        let text = String::from_utf8_lossy(line);
        let format = match &self.options.format {
            Some(format) => format,
            None => self.options.format.insert(decided(&self.candidates, &text)?),
        };
        let parts = format.read(&text).map_err(|mismatch| {
            let other = self.candidates.iter().find(|other| fits(other, &text));
            match other {
                Some(other) => mixed(format, other),
                None => wrong(&text, format, mismatch),
            }
        })?;
        if address(parts.ident).is_some() {
            return Err(Problem::row(
                "an address stands where the identd name does, as in a log with virtual hosts",
                "split the log by format; lines with a virtual host need --format vhost_combined",
            ));
        }
        let identity = identity(parts.requester, self.options.hostnames)?;
        let occurrence = self.seen.entry(hash).or_insert(0);
        *occurrence += 1;
        let record_id = format!("{}:{hash:016x}:{occurrence}", self.source);
        record(record_id, identity, &parts, self.options.path)
    }
}

impl<R: Read> Iterator for AccessLog<R> {
    type Item = Result<Row<UsageRecord>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.lines.next_line()? {
            Ok(line) => match self.record() {
                Ok(content) => Ok(Row { line, content }),
                Err(wrong) => Err(self.lines.fault(wrong)),
            },
            Err(fault) => Err(fault),
        })
    }
}

fn fits(format: &LogFormat, line: &str) -> bool {
    let parts = format.read(line);
    parts.is_ok_and(|parts| address(parts.requester).is_some() && address(parts.ident).is_none())
}

/// The fault of a line in another format than the first line of the log.
fn mixed(first: &LogFormat, other: &LogFormat) -> Problem {
    Problem::row(
        format!(
            "the line has the format {}, and the first line had {}",
            other.name(),
            first.name()
        ),
        format!("split the log by format; lines like this one need --format {}", other.name()),
    )
}

/// Determines the format of the log from a line. The requester must be an address, and the field of
/// `identd` must not be one, so that no line matches two formats.
fn decided(candidates: &[LogFormat], line: &str) -> Result<LogFormat, Problem> {
    if let Some(format) = candidates.iter().find(|format| fits(format, line)) {
        return Ok(format.clone());
    }
    let Some(first) = candidates.first() else { return Err(not_a_line(line)) };
    let parts = first.read(line).map_err(|mismatch| wrong(line, first, mismatch))?;
    identity(parts.requester, false)?;
    let problem = format!(
        "the client is {} or {}: the line matches neither combined nor vhost_combined",
        shown(parts.requester),
        shown(parts.ident)
    );
    let remedy = "give the server's LogFormat as --format, such as '%v %h %l %u %t \"%r\" %>s %b'";
    Err(Problem::field("host", problem, remedy))
}

fn record(
    record_id: String,
    identity: String,
    parts: &Parts<'_>,
    keep_path: bool,
) -> Result<UsageRecord, Problem> {
    let usage_type = match parts.status {
        200 | 206 => "octets",
        400.. => "octets-failed",
        _ => "octets-uncharged",
    };
    let mut words = parts.request.unwrap_or_default().split(' ');
    let method = parts.method.or_else(|| words.next()).unwrap_or_default();
    let path = parts.path.or_else(|| words.next());
    let is_method =
        (1..=16).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase());
    let mut attributes = vec![("status".to_owned(), parts.status.to_string())];
    if is_method {
        attributes.push(("method".to_owned(), method.to_owned()));
        if let Some(path) = path.filter(|_| keep_path) {
            let path: String = path.chars().take(1024).collect();
            attributes.push(("path".to_owned(), path));
        }
    }
    let start = parts
        .start
        .ok_or_else(|| Problem::row("it has no time", "check whether the line is truncated"))?;
    Ok(UsageRecord {
        record_id,
        account: AccountNumber(0),
        identity,
        usage_type: usage_type.to_owned(),
        start,
        duration_us: 0,
        quantity: Some(parts.octets),
        measures: [].into(),
        attributes: attributes.into_iter().collect(),
    })
}

/// The fault of a line that does not match the format.
fn wrong(line: &str, format: &LogFormat, mismatch: Mismatch) -> Problem {
    let rest = line.get(mismatch.at..).unwrap_or_default();
    match mismatch.field {
        Some(Field::Status | Field::Size | Field::Request) => Problem::field(
            "status",
            format!("the request is not followed by a status and a size, but by {}", shown(rest)),
            "write \"REQUEST\" STATUS SIZE, where SIZE is a number of octets or -",
        ),
        Some(Field::Time(_)) if line.contains('[') => {
            let time = line.split_once('[').map_or(rest, |(_, time)| time);
            let time = time.split_once(']').map_or(time, |(time, _)| time);
            let remedy = "write it as in 17/May/2015:10:05:03 +0000";
            Problem::field("time", format!("{} is not a time", shown(time)), remedy)
        }
        _ if format.is_usual() => not_a_line(line),
        _ => Problem::row(
            format!("{} does not match the format {format}", shown(line)),
            "check that --format is the server's LogFormat",
        ),
    }
}

fn not_a_line(line: &str) -> Problem {
    Problem::row(
        format!("{} is not a line of an access log", shown(line)),
        "write HOST IDENT USER [TIME] \"REQUEST\" STATUS SIZE, as in the common or combined format, \
         or give the server's LogFormat as --format",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Row<UsageRecord>, Fault>> {
        let options = AccessLogOptions { path: true, ..AccessLogOptions::default() };
        AccessLog::new("a.log", "web", text.as_bytes(), options).unwrap().collect()
    }

    fn one(line: &str) -> UsageRecord {
        read(line).remove(0).unwrap().content
    }

    const TIME: &str = "[17/May/2015:10:05:03 +0200]";

    #[test]
    fn a_line_becomes_a_record() {
        let record = one(&format!("192.0.2.1 - - {TIME} \"GET /a?b HTTP/1.1\" 200 512\n"));
        assert_eq!(record.identity, "ip:192.0.2.1");
        assert_eq!(record.usage_type, "octets");
        assert_eq!(record.quantity, Some(512));
        assert_eq!(record.start, crate::parse_instant("2015-05-17T08:05:03Z").unwrap());
        assert_eq!(record.attributes["status"], "200");
        assert_eq!(record.attributes["method"], "GET");
        assert_eq!(record.attributes["path"], "/a?b");
    }

    #[test]
    fn exactly_200_and_206_are_charged() {
        for (status, usage_type) in [
            (200, "octets"),
            (206, "octets"),
            (301, "octets-uncharged"),
            (304, "octets-uncharged"),
            (204, "octets-uncharged"),
            (404, "octets-failed"),
            (503, "octets-failed"),
        ] {
            let record = one(&format!("192.0.2.1 - - {TIME} \"GET / HTTP/1.1\" {status} -"));
            assert_eq!((record.usage_type.as_str(), record.quantity), (usage_type, Some(0)));
        }
    }

    #[test]
    fn quotes_in_requests_whether_escaped_or_not_do_not_end_them() {
        for request in [r#"GET /\"x\" HTTP/1.1"#, r#"GET /"x" HTTP/1.1"#, r"GET /\\ HTTP/1.1"] {
            let agent = r#""-" "an \"agent\" 404 1""#;
            let record = one(&format!("192.0.2.1 - - {TIME} \"{request}\" 200 7 {agent}"));
            assert_eq!(record.quantity, Some(7), "{request}");
        }
    }

    #[test]
    fn requesters_are_addresses_in_canonical_spelling() {
        for (host, identity) in
            [("2001:DB8:0::1", "ip:2001:db8::1"), ("::ffff:192.0.2.7", "ip:192.0.2.7")]
        {
            let line = format!("{host} - alice smith {TIME} \"-\" 408 -");
            assert_eq!(one(&line).identity, identity);
        }
    }

    #[test]
    fn equal_lines_are_separate_accesses_with_ids_that_do_not_change() {
        let line = format!("192.0.2.1 - - {TIME} \"GET / HTTP/1.1\" 200 5\n");
        let other = format!("192.0.2.2 - - {TIME} \"GET / HTTP/1.1\" 200 5\n");
        let ids = |text: &str| -> Vec<String> {
            read(text).into_iter().map(|row| row.unwrap().content.record_id).collect()
        };
        let first = ids(&format!("{line}{other}{line}"));
        assert!(first[0].starts_with("web:") && first[0].ends_with(":1"));
        assert!(first[2].ends_with(":2"));
        assert_eq!(first[0].split(':').nth(1), first[2].split(':').nth(1));
        // Line ends do not change an id, and appended lines do not change earlier ids.
        let grown = ids(&format!("{line}{other}{line}{line}").replace('\n', "\r\n"));
        assert_eq!(first, grown[..3]);
        assert!(grown[3].ends_with(":3"));
    }

    #[test]
    fn an_invalid_line_is_reported_by_its_number_and_only_it_is_left_out() {
        let good = format!("192.0.2.1 - - {TIME} \"GET / HTTP/1.1\" 200 5");
        let rows = read(&format!("{good}\n\nnot a line\n\u{1}\u{2}[]\"\n{good}\n"));
        let faults: Vec<String> =
            rows.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("a.log:3: \"not a line\" is not a line"), "{}", faults[0]);
        assert!(faults[1].starts_with("a.log:4"), "{}", faults[1]);
        for (broken, word) in [
            (good.replace("17/May", "17/Mai"), "time"),
            (good.replace("200 5", "20x 5"), "status"),
            (good.replace("200 5", "200 99999999999999999999"), "status"),
            (good.replace("200 5", "200"), "status"),
        ] {
            let fault = read(&broken).remove(0).unwrap_err();
            assert_eq!(fault.column.as_deref(), Some(word), "{broken}");
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_a_fault_never_a_panic() {
        let good = format!("2001:db8::1 - - {TIME} \"GET /\\\"é HTTP/1.1\" 200 5 \"-\" \"x\"");
        for at in 0..good.len() {
            for byte in [0, b'"', b'\\', b'[', b' ', 0x80, 0xff] {
                let mut bytes = good.as_bytes().to_vec();
                bytes[at] = byte;
                let options = AccessLogOptions::default();
                let rows = AccessLog::new("f", "s", bytes.as_slice(), options).unwrap().count();
                let cut = AccessLog::new("f", "s", &bytes[..at], AccessLogOptions::default());
                assert!(rows >= 1 && cut.unwrap().count() <= 1);
            }
        }
    }

    #[test]
    fn a_source_must_leave_room_for_the_rest_of_the_id() {
        for source in ["", "two words", &"x".repeat(91)] {
            assert!(AccessLog::new("f", source, &[][..], AccessLogOptions::default()).is_err());
        }
    }
}
