//! Web servers' access logs, Apache common and combined.
//!
//! ```text
//!  HOST IDENT USER [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "REFERRER" "AGENT"
//!   |                |                            |               |     |
//!  identity        start                        method         status quantity
//! ```
//!
//! Nothing is taken from behind the size, so a cut or mangled agent never costs the access.

use std::collections::HashMap;
use std::io::BufRead;
use std::net::IpAddr;

use jiff::fmt::strtime;
use turnpike_types::{AccountNumber, Timestamp, UsageRecord, limits};

use crate::fault::{Wrong, shown, unreadable};
use crate::{Fault, Row};

/// Longer lines are refused: servers cap a request's line far below this.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Record ids are SOURCE:HASH:N with 16 digits of hash and up to 20 of N.
const SOURCE_BYTES_MAX: usize = limits::RECORD_ID_BYTES_MAX - 16 - 20 - 2;

/// How a log is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogOptions {
    /// Keep each request's path as the attribute `path`. Off by default: it makes records large,
    /// and few plans ask for it.
    pub path: bool,
}

/// A source name that record ids can't be made with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source name {0:?} can't be used: write 1 to {SOURCE_BYTES_MAX} bytes without spaces")]
pub struct BadSource(pub String);

/// Reads accesses out of a log, one record a line.
///
/// A record's id is `SOURCE:HASH:N`: the first 64 bits of the line's BLAKE3, and which occurrence
/// of this very hash in the file it is, from 1. So two accesses whose lines are the same to the
/// byte stay two, reading the file again gives the same ids, and so does reading it after it grew.
/// (Two different lines of one hash would differ in N.) The price is one small table entry for each
/// distinct line of the file.
#[derive(Debug)]
pub struct AccessLog<R> {
    file: String,
    source: String,
    options: AccessLogOptions,
    reader: R,
    buffer: Vec<u8>,
    seen: HashMap<u64, u64>,
    line: u64,
    ended: bool,
}

impl<R: BufRead> AccessLog<R> {
    /// Reads from `reader`; `file` is what faults call it, `source` what record ids begin with. Keep
    /// the source the same when a log is rotated under another file name.
    ///
    /// # Errors
    /// [`BadSource`] when record ids can't be made with the source.
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
        Ok(Self {
            file: file.to_owned(),
            source: source.to_owned(),
            options,
            reader,
            buffer: Vec::new(),
            seen: HashMap::new(),
            line: 0,
            ended: false,
        })
    }

    fn record(&mut self) -> Result<UsageRecord, Wrong> {
        let line = self.buffer.trim_ascii_end();
        if line.len() > LINE_BYTES_MAX {
            let problem = format!("the line has {} bytes", line.len());
            return Err(Wrong::row(problem, "see whether this is an access log"));
        }
        let mut first = [0; 8];
        first.copy_from_slice(&blake3::hash(line).as_bytes()[..8]);
        let hash = u64::from_be_bytes(first);
        let text = String::from_utf8_lossy(line);
        let access = Access::parse(&text)?;
        let occurrence = self.seen.entry(hash).or_insert(0);
        *occurrence += 1;
        let record_id = format!("{}:{hash:016x}:{occurrence}", self.source);
        access.record(record_id, &self.options)
    }
}

impl<R: BufRead> Iterator for AccessLog<R> {
    type Item = Result<Row<UsageRecord>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.buffer.clear();
            self.line += 1;
            match self.reader.read_until(b'\n', &mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(_) if self.buffer.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let line = self.line;
                    let record = self.record().map_err(|wrong| wrong.at(&self.file, line));
                    return Some(record.map(|content| Row { line, content }));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(unreadable(&self.file, self.line, &error)));
                }
            }
        }
        None
    }
}

/// What is read from a line.
#[derive(Debug, PartialEq, Eq)]
struct Access<'a> {
    host: &'a str,
    start: Timestamp,
    request: &'a str,
    status: u16,
    octets: i64,
}

impl<'a> Access<'a> {
    fn parse(line: &'a str) -> Result<Self, Wrong> {
        let (host, rest) = line.split_once(' ').ok_or_else(|| not_a_line(line))?;
        // The user between them may hold spaces, so the bracket is what to look for.
        let (user, rest) = rest.split_once('[').ok_or_else(|| not_a_line(line))?;
        if host.is_empty() || user.contains('"') {
            return Err(not_a_line(line));
        }
        let (time, rest) = rest.split_once(']').ok_or_else(|| not_a_line(line))?;
        let start = instant(time)?;
        let request = rest.strip_prefix(" \"").ok_or_else(|| not_a_line(line))?;
        let (request, status, size) = split_request(request).ok_or_else(|| {
            Wrong::field(
                "status",
                format!("no status and size stand behind the request {}", shown(request)),
                "write \"REQUEST\" STATUS SIZE, where SIZE is a number of octets or -",
            )
        })?;
        Ok(Self { host, start, request, status, octets: size })
    }

    fn record(&self, record_id: String, options: &AccessLogOptions) -> Result<UsageRecord, Wrong> {
        let usage_type = match self.status {
            200 | 206 => "octets",
            400.. => "octets-failed",
            _ => "octets-uncharged",
        };
        let mut attributes = vec![("status".to_owned(), self.status.to_string())];
        let mut words = self.request.split(' ');
        let method = words.next().unwrap_or_default();
        let is_method =
            (1..=16).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase());
        if is_method {
            attributes.push(("method".to_owned(), method.to_owned()));
            if let Some(path) = words.next().filter(|_| options.path) {
                let path: String = path.chars().take(1024).collect();
                attributes.push(("path".to_owned(), path));
            }
        }
        Ok(UsageRecord {
            record_id,
            account: AccountNumber(0),
            identity: identity(self.host)?,
            usage_type: usage_type.to_owned(),
            start: self.start,
            duration_us: 0,
            quantity: Some(self.octets),
            measures: [].into(),
            attributes: attributes.into_iter().collect(),
        })
    }
}

/// Whose access it was: an address in its canonical form, or else a name.
fn identity(host: &str) -> Result<String, Wrong> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(format!("ip:{}", address.to_canonical())),
        Err(_) => crate::fields::checked_identity("host", &format!("user:{host}")),
    }
}

fn not_a_line(line: &str) -> Wrong {
    Wrong::row(
        format!("{} is no line of an access log", shown(line)),
        "write HOST IDENT USER [TIME] \"REQUEST\" STATUS SIZE, as in the common or combined format",
    )
}

/// `17/May/2015:10:05:03 +0000`
fn instant(text: &str) -> Result<Timestamp, Wrong> {
    let parsed = strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).and_then(|time| time.to_timestamp());
    parsed.map(|instant| Timestamp(instant.as_microsecond())).map_err(|_| {
        Wrong::field(
            "time",
            format!("{} is no time", shown(text)),
            "write it as in 17/May/2015:10:05:03 +0000",
        )
    })
}

/// Splits what follows the request's opening quote into request, status and size.
///
/// Quotes in a request are escaped by today's servers and were not by older ones; so the closing
/// quote is the first unescaped one that has a status and a size behind it.
fn split_request(text: &str) -> Option<(&str, u16, i64)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let (request, rest) = text.split_at(at);
                if let Some((status, size)) = status_and_size(rest.get(1..)?) {
                    return Some((request, status, size));
                }
            }
            _ => {}
        }
    }
    None
}

/// ` 200 203023`, and then the end of the line or a space.
fn status_and_size(text: &str) -> Option<(u16, i64)> {
    let mut words = text.strip_prefix(' ')?.split(' ');
    let (status, size) = (words.next()?, words.next()?);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if status.len() != 3 || !digits(status) {
        return None;
    }
    let size = match size {
        "-" => 0,
        digits_only if digits(digits_only) => digits_only.parse().ok()?,
        _ => return None,
    };
    Some((status.parse().ok()?, size))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Row<UsageRecord>, Fault>> {
        let options = AccessLogOptions { path: true };
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
    fn requesters_are_addresses_in_one_spelling_or_names() {
        for (host, identity) in [
            ("2001:DB8:0::1", "ip:2001:db8::1"),
            ("::ffff:192.0.2.7", "ip:192.0.2.7"),
            ("proxy.example.net", "user:proxy.example.net"),
        ] {
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
        // Line ends do not count, and what is appended changes nothing before it.
        let grown = ids(&format!("{line}{other}{line}{line}").replace('\n', "\r\n"));
        assert_eq!(first, grown[..3]);
        assert!(grown[3].ends_with(":3"));
    }

    #[test]
    fn what_is_no_line_is_told_by_its_number_and_costs_only_itself() {
        let good = format!("192.0.2.1 - - {TIME} \"GET / HTTP/1.1\" 200 5");
        let rows = read(&format!("{good}\n\nnot a line\n\u{1}\u{2}[]\"\n{good}\n"));
        let faults: Vec<String> =
            rows.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(faults.len(), 2);
        assert!(faults[0].starts_with("a.log:3: \"not a line\" is no line"), "{}", faults[0]);
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
