//! Log formats in the syntax of Apache's `LogFormat`.
//!
//! ```text
//!  "%v:%p %h %l %u %t \"%r\" %>s %O"  --parse-->  [Skipped ":"] [Port " "] [Requester " "] ...
//!  a line  --read-->  requester, time, request, status, size
//! ```
//!
//! A line is read from left to right. Each field ends at the earliest occurrence of the format's
//! next literal text with which the rest of the line can be read. The text after the last required
//! field is ignored, so a truncated or damaged user agent does not lose the access.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use turnpike_types::{Must, Timestamp};

use super::fields::{Time, size, status};

/// The format of a log's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormat {
    /// The text from which the format was parsed.
    text: String,
    /// The literal text before the first field.
    before: String,
    /// The fields, each with the literal text after it.
    fields: Vec<(Field, String)>,
    /// The number of leading fields, up to the last required one. The fields after them are not
    /// read.
    needed: usize,
}

/// The meaning of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `%h` or `%a`: the client that sent the request.
    Requester,
    /// `%l`: the user name that the client's `identd` service reports (RFC 1413).
    Ident,
    Time(Time),
    Status,
    Size,
    /// `%r`: the request line, such as `GET /a HTTP/1.1`.
    Request,
    /// `%m`: the request method.
    Method,
    /// `%U`: the path of the requested URL.
    Path,
    /// A number that is not used, such as a port or a duration.
    Number,
    Skipped,
}

const COMMON: &str = "%h %l %u %t \"%r\" %>s %b";
const COMBINED: &str = "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\"";
const VHOST_COMBINED: &str = "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"";

/// The error of a text that is not a supported format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem}; write common, combined, vhost_combined, or the LogFormat of the server, such as '{VHOST_COMBINED}'"
)]
pub struct BadFormat {
    /// The reason why the text is not a supported format.
    pub problem: String,
}

impl LogFormat {
    /// `HOST IDENT USER [TIME] "REQUEST" STATUS SIZE`, followed by any text.
    pub(super) fn combined() -> Self {
        COMBINED.parse().must("COMBINED is a format")
    }

    /// `VHOST:PORT`, followed by a line in the format `combined`.
    pub(super) fn vhost_combined() -> Self {
        VHOST_COMBINED.parse().must("VHOST_COMBINED is a format")
    }

    /// The name of the format if it has one, else the pattern.
    pub(super) fn name(&self) -> &str {
        match self.text.as_str() {
            COMMON => "common",
            COMBINED => "combined",
            VHOST_COMBINED => "vhost_combined",
            pattern => pattern,
        }
    }

    /// Whether this is one of the named formats, and not a pattern of the caller.
    pub(super) fn is_usual(&self) -> bool {
        [COMBINED, VHOST_COMBINED, "common", "combined", "vhost_combined"]
            .contains(&self.text.as_str())
    }

    /// Whether the format has a field that satisfies `wanted`.
    fn has(&self, wanted: impl Fn(Field) -> bool) -> bool {
        self.fields.iter().any(|&(field, _)| wanted(field))
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LogFormat {
    type Err = BadFormat;

    fn from_str(text: &str) -> Result<Self, BadFormat> {
        let pattern = match text {
            "common" => COMMON,
            "combined" => COMBINED,
            "vhost_combined" => VHOST_COMBINED,
            pattern if pattern.contains('%') => pattern,
            other => return Err(bad(format!("{other:?} is not a format"))),
        };
        let (before, parsed) = parse(pattern)?;
        let fields = prefer(parsed);
        let mut format = Self { text: text.to_owned(), before, fields, needed: 0 };
        for (wanted, name) in [
            (Field::Requester, "the client: %h or %a"),
            (Field::Status, "the status: %>s"),
            (Field::Size, "the size: %b, %B or %O"),
        ] {
            if !format.has(|field| field == wanted) {
                return Err(bad(format!("the format does not have {name}")));
            }
        }
        if !format.has(|field| matches!(field, Field::Time(_))) {
            return Err(bad("the format does not have the time: %t".to_owned()));
        }
        let last = format.fields.iter().rposition(|(field, _)| {
            matches!(field, Field::Requester | Field::Time(_) | Field::Status | Field::Size)
        });
        format.needed = last.map_or(0, |last| last + 1);
        let mut read = format.fields.iter().take(format.needed.saturating_sub(1));
        if read.any(|(_, behind)| behind.is_empty()) {
            return Err(bad("two fields are side by side, without text between them".to_owned()));
        }
        Ok(format)
    }
}

fn bad(problem: String) -> BadFormat {
    BadFormat { problem }
}

/// A field of a pattern, its rank among the fields with the same meaning (0 is preferred), and the
/// literal text after it.
struct Written {
    field: Field,
    rank: u8,
    behind: String,
}

/// Parses a pattern into the literal text before the first field, and the fields.
fn parse(pattern: &str) -> Result<(String, Vec<Written>), BadFormat> {
    let (mut before, mut fields) = (String::new(), Vec::<Written>::new());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        (_, rest) = rest.split_at(c.len_utf8());
        let mut literal = |c| match fields.last_mut() {
            Some(last) => last.behind.push(c),
            None => before.push(c),
        };
        match c {
            // A backslash escapes the next character, as in httpd.conf, where the format is in
            // quotes.
            '\\' => {
                let escaped =
                    rest.chars().next().ok_or_else(|| bad("the format ends in \\".to_owned()))?;
                (_, rest) = rest.split_at(escaped.len_utf8());
                literal(match escaped {
                    't' => '\t',
                    'n' | 'r' => {
                        return Err(bad(
                            "the format has a line break, but a line is one access".to_owned()
                        ));
                    }
                    other => other,
                });
            }
            '%' if rest.starts_with('%') => {
                (_, rest) = rest.split_at(1);
                literal('%');
            }
            '%' => {
                let (field, rank, after) = directive(rest)?;
                rest = after;
                let skips = |field| matches!(field, Field::Skipped | Field::Path);
                match fields.last_mut() {
                    // Adjacent fields whose values are not used, as in `%U%q`, are read as one
                    // field.
                    Some(last)
                        if last.behind.is_empty()
                            && field == Field::Skipped
                            && skips(last.field) =>
                    {
                        last.field = Field::Skipped;
                    }
                    _ => fields.push(Written { field, rank, behind: String::new() }),
                }
            }
            other => literal(other),
        }
    }
    Ok((before, fields))
}

/// Parses the text after a `%`: status codes, `<` or `>`, `{NAME}`, a letter. Returns the field,
/// its rank, and the text after the directive.
fn directive(text: &str) -> Result<(Field, u8, &str), BadFormat> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ',' | '!'));
    let is_final = rest.starts_with('>');
    let rest = rest.trim_start_matches(['<', '>']);
    let (name, rest) = match rest.strip_prefix('{') {
        Some(named) => {
            let (name, rest) = named
                .split_once('}')
                .ok_or_else(|| bad("a { of the format is not closed".to_owned()))?;
            (Some(name), rest)
        }
        None => (None, rest),
    };
    // Directives of three characters, such as %^FB.
    let letters = if rest.starts_with('^') { 3 } else { 1 };
    let end = rest.char_indices().nth(letters).map_or(rest.len(), |(at, _)| at);
    let (letter, rest) = rest.split_at(end);
    let field = match (letter, name) {
        // %{c}a is the address of the peer, which may be a proxy, so it is not the client.
        ("h" | "a", None) => Field::Requester,
        ("l", None) => Field::Ident,
        ("t", None) => Field::Time(Time::Bracketed),
        ("t", Some(format)) => Field::Time(Time::named(format).ok_or_else(|| {
            bad(format!(
                "%{{{format}}}t can't be read: use %t, %{{sec}}t, %{{msec}}t or %{{usec}}t"
            ))
        })?),
        ("s", None) => Field::Status,
        ("b" | "B" | "O", None) => Field::Size,
        ("r", None) => Field::Request,
        ("m", None) => Field::Method,
        ("U", None) => Field::Path,
        ("p" | "P" | "D" | "T" | "I" | "S" | "k", _) => Field::Number,
        (letter, _)
            if letter.chars().all(|c| c.is_ascii_alphabetic() || c == '^')
                && !letter.is_empty() =>
        {
            Field::Skipped
        }
        (other, _) => {
            return Err(bad(format!("%{other} is not a directive of Apache's LogFormat")));
        }
    };
    let rank = match letter {
        "a" | "b" | "B" => 0,
        "s" => u8::from(!is_final),
        "t" => u8::from(name.is_some()),
        _ => 1,
    };
    Ok((field, rank, rest))
}

/// If several fields have the same meaning, keeps the preferred one: the address rather than the
/// host name, the status after internal redirections, the size of the body. The others become
/// [`Field::Skipped`].
fn prefer(written: Vec<Written>) -> Vec<(Field, String)> {
    let is_needed = |field| {
        matches!(
            field,
            Field::Requester | Field::Time(_) | Field::Status | Field::Size | Field::Request
        )
    };
    let kind = |field: &Field| std::mem::discriminant(field);
    let keeps: Vec<bool> = (written.iter().enumerate())
        .map(|(place, this)| {
            !is_needed(this.field)
                || !written.iter().enumerate().any(|(other_place, other)| {
                    kind(&other.field) == kind(&this.field)
                        && (other.rank, other_place) < (this.rank, place)
                })
        })
        .collect();
    let fields = written.into_iter().zip(keeps);
    fields
        .map(|(one, keeps)| (if keeps { one.field } else { Field::Skipped }, one.behind))
        .collect()
}

/// The values of the fields of a log line.
#[derive(Debug, Default)]
pub(super) struct Parts<'l> {
    pub(super) requester: &'l str,
    pub(super) ident: &'l str,
    pub(super) start: Option<Timestamp>,
    pub(super) status: u16,
    pub(super) octets: i64,
    pub(super) request: Option<&'l str>,
    pub(super) method: Option<&'l str>,
    pub(super) path: Option<&'l str>,
}

/// The place at which a line does not match the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The field that could not be read; `None` for the literal text before the first field.
    pub(super) field: Option<Field>,
    /// The byte offset in the line.
    pub(super) at: usize,
}

impl LogFormat {
    /// Returns the values of a line's fields. The error states how far the line matches the format.
    pub(super) fn read<'l>(&self, line: &'l str) -> Result<Parts<'l>, Mismatch> {
        let mut reading = Reading {
            format: self,
            line,
            failed: HashSet::new(),
            furthest: (0, 0),
            taken: Vec::new(),
            tries: TRIES_MAX,
        };
        let begins = line.starts_with(self.before.as_str());
        if !begins || !reading.from(0, self.before.len()) {
            let (place, at) = reading.furthest;
            let field = self.fields.get(place).filter(|_| begins);
            return Err(Mismatch { field: field.map(|&(field, _)| field), at });
        }
        let taken = std::mem::take(&mut reading.taken);
        let mut parts = Parts::default();
        for (&(field, _), &(from, to)) in self.fields.iter().zip(&taken) {
            // An unreadable field must not get a default value: the access would have no requester
            // or no octets.
            let unread = || Mismatch { field: Some(field), at: from };
            let text = line.get(from..to).ok_or_else(unread)?;
            match field {
                Field::Requester => parts.requester = text,
                Field::Ident => parts.ident = text,
                Field::Time(time) => parts.start = time.read(text),
                Field::Status => parts.status = status(text).ok_or_else(unread)?,
                Field::Size => parts.octets = size(text).ok_or_else(unread)?,
                Field::Request => parts.request = Some(text),
                Field::Method => parts.method = Some(text),
                Field::Path => parts.path = Some(text),
                Field::Number | Field::Skipped => {}
            }
        }
        Ok(parts)
    }
}

struct Reading<'f, 'l> {
    format: &'f LogFormat,
    line: &'l str,
    /// Pairs of (field, byte) from which the rest of the line can't be read. No pair is tried
    /// twice.
    failed: HashSet<(usize, usize)>,
    furthest: (usize, usize),
    /// The byte range of each field.
    taken: Vec<(usize, usize)>,
    /// The number of field ends that may still be tried. It bounds the cost of a hostile line.
    tries: usize,
}

const TRIES_MAX: usize = 200_000;

impl Reading<'_, '_> {
    /// Whether the fields from index `place` on can be read from byte `at` on. If so, `taken` holds
    /// the byte range of each.
    fn from(&mut self, place: usize, at: usize) -> bool {
        let (format, line) = (self.format, self.line);
        if place >= format.needed {
            return true;
        }
        let Some((field, behind)) = format.fields.get(place) else { return true };
        if self.failed.contains(&(place, at)) {
            return false;
        }
        self.furthest = self.furthest.max((place, at));
        let is_last = place + 1 == format.needed;
        let mut from = at;
        while let Some(end) = self.end(place, at, from, is_last) {
            let Some(left) = self.tries.checked_sub(1) else { return false };
            self.tries = left;
            let Some(text) = line.get(at..end) else { break };
            if field.takes(text) {
                self.taken.truncate(place);
                self.taken.push((at, end));
                if self.from(place + 1, end + behind.len()) {
                    return true;
                }
            }
            let is_too_long = matches!(field, Field::Time(_)) && text.len() > Time::BYTES_MAX;
            if field.is_one_word() || is_too_long {
                break;
            }
            from = end + behind.chars().next().map_or(1, char::len_utf8);
        }
        self.failed.insert((place, at));
        false
    }

    /// The first byte offset from `from` on at which the field that starts at `at` can end.
    fn end(&self, place: usize, at: usize, from: usize, is_last: bool) -> Option<usize> {
        let (field, behind) = self.format.fields.get(place)?;
        if field.is_one_word() && (behind.is_empty() || behind.starts_with(' ')) {
            let rest = self.line.get(at..)?;
            let end = at + rest.find(' ').unwrap_or(rest.len());
            let follows =
                self.line.get(end..).is_some_and(|rest| rest.starts_with(behind.as_str()));
            return (follows || is_last).then_some(end);
        }
        if behind.is_empty() {
            return (from <= self.line.len()).then_some(self.line.len()).filter(|&end| end >= from);
        }
        let opened = match place.checked_sub(1) {
            Some(before) => self.format.fields.get(before).map_or("", |(_, text)| text.as_str()),
            None => self.format.before.as_str(),
        };
        let is_quoted = opened.ends_with('"') && behind.starts_with('"');
        let mut next = from;
        loop {
            let end = next + self.line.get(next..)?.find(behind.as_str())?;
            let text = self.line.get(at..end)?;
            let backslashes = text.bytes().rev().take_while(|&byte| byte == b'\\').count();
            // An escaped quote does not end a quoted field.
            if !is_quoted || backslashes.is_multiple_of(2) {
                return Some(end);
            }
            next = end + behind.chars().next().map_or(1, char::len_utf8);
        }
    }
}

impl Field {
    fn takes(self, text: &str) -> bool {
        match self {
            Self::Requester => !text.is_empty() && !text.contains(' '),
            Self::Time(time) => time.read(text).is_some(),
            Self::Status => status(text).is_some(),
            Self::Size => size(text).is_some(),
            Self::Number => {
                text == "-" || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
            }
            Self::Ident | Self::Request | Self::Method | Self::Path | Self::Skipped => true,
        }
    }

    /// Whether a field of this kind always ends at the first occurrence of the literal text after
    /// it.
    const fn is_one_word(self) -> bool {
        matches!(self, Self::Requester | Self::Status | Self::Size | Self::Number | Self::Ident)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TIME: &str = "[17/May/2015:10:05:03 +0200]";

    fn read<'l>(format: &str, line: &'l str) -> Option<(&'l str, u16, i64)> {
        let format: LogFormat = format.parse().unwrap();
        let parts = format.read(line).ok()?;
        parts.start?;
        Some((parts.requester, parts.status, parts.octets))
    }

    #[test]
    fn formats_of_apache_find_requester_status_and_size() {
        for (format, line) in [
            ("common", "192.0.2.1 - - TIME \"GET / HTTP/1.1\" 200 7"),
            ("combined", "192.0.2.1 - bob TIME \"GET / HTTP/1.1\" 200 7 \"-\" \"x\""),
            ("combined", "192.0.2.1 - bob TIME \"GET / HTTP/1.1\" 200 7"),
            ("vhost_combined", "a.example:443 192.0.2.1 - - TIME \"GET /\" 200 7 \"-\" \"x\""),
            ("vhost_combined", "[2001:db8::5]:443 192.0.2.1 - - TIME \"GET /\" 200 7"),
            ("%v %h %l %u %t \"%r\" %>s %b", "a.example 192.0.2.1 - - TIME \"GET /\" 200 7"),
            ("%h %l %u %t \\\"%r\\\" %>s %b", "192.0.2.1 - - TIME \"GET /\" 200 7"),
            ("%h %a %t %s %>s %O %b", "a.example 192.0.2.1 TIME 301 200 99 7"),
            ("%{c}a %a %t %>s %b %I %O", "10.0.0.1 192.0.2.1 TIME 200 7 1 99"),
            ("[%{sec}t] %a \"%m %U%q\" %>s %B", "[1431849903] 192.0.2.1 \"GET /a?b\" 200 7"),
            ("%a,%{usec}t,%>s,%B,%{X}i", "192.0.2.1,1431849903000000,200,7,what, ever"),
            ("%400,501{User-agent}i %a %t %>s %b", "- 192.0.2.1 TIME 200 7"),
            ("%a %D %t %>s %b 100%%", "192.0.2.1 15 TIME 200 7 100%"),
            ("%t %a %>s %b", "TIME 192.0.2.1 200 7"),
        ] {
            let line = line.replace("TIME", TIME);
            assert_eq!(read(format, &line), Some(("192.0.2.1", 200, 7)), "{format}: {line}");
        }
    }

    #[test]
    fn a_format_without_what_is_needed_is_refused_with_the_reason() {
        for (format, word) in [
            ("apache", "not a format"),
            ("%v %l %t %>s %b", "%h or %a"),
            ("%{X-Forwarded-For}i %t %>s %b", "%h or %a"),
            ("%h %>s %b", "%t"),
            ("%h %t %b", "%>s"),
            ("%h %t %>s", "%b"),
            ("%h%t %>s %b", "side by side"),
            ("%h %{%d/%b}t %>s %b", "%{%d/%b}t can't be read"),
            ("%h %{x %t %>s %b", "not closed"),
            ("%h %t %>s %b %", "directive"),
            ("%h %t\\n%>s %b", "one access"),
            ("%h %t %>s %b \\", "ends in"),
        ] {
            let error = format.parse::<LogFormat>().unwrap_err().to_string();
            assert!(error.contains(word), "{format}: {error}");
        }
    }

    #[test]
    fn users_may_be_empty_and_hold_blanks_brackets_and_escaped_quotes() {
        for user in ["\"\"", "al[ice", "al ice", "", "-", "a]b", "[x] \\\"y\\\" 200 5", "a - b"] {
            let line = format!("192.0.2.1 - {user} {TIME} \"GET / HTTP/1.1\" 200 7 \"-\" \"x\"");
            assert_eq!(read("combined", &line), Some(("192.0.2.1", 200, 7)), "{line}");
        }
        // The user name contains the text of an access with 0 octets. The reader must find the real
        // status and size after it.
        let forged = format!("al {TIME} \\\"GET / HTTP/1.1\\\" 200 0 ");
        let line = format!("192.0.2.1 - {forged} {TIME} \"GET / HTTP/1.1\" 200 7");
        assert_eq!(read("combined", &line), Some(("192.0.2.1", 200, 7)));
    }

    #[test]
    fn a_hostile_line_is_rejected_in_reasonable_time() {
        let format = "%h %t \"%r\" \"%{a}i\" \"%{b}i\" \"%{c}i\" %>s %b";
        let line = format!("192.0.2.1 {TIME} \"{}", "\" \"".repeat(20_000));
        assert_eq!(read(format, &line), None);
    }
}
