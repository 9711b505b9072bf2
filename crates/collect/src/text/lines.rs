//! Lines of bounded length.

use std::io::{BufRead as _, BufReader, Read};
use std::str::Utf8Error;

use super::input::Input;
use crate::Fault;
use crate::fault::{Problem, unreadable};

/// Reads lines, each with its number.
///
/// A line ends at LF, CR LF, or CR. Lines that contain only white space are skipped. NUL bytes
/// before and after a line are dropped: a server that continues to write after `logrotate` has
/// truncated its log leaves as many NUL bytes as the log had bytes. A line longer than `bytes_max`
/// is a fault, and only its first `bytes_max` bytes are kept in memory.
#[derive(Debug)]
pub(crate) struct Lines<R: Read> {
    pub(super) file: String,
    state: State<R>,
    bytes_max: usize,
    searched_bytes_max: u64,
    buffer: Vec<u8>,
    /// The length of the current line in bytes, including bytes that are not kept in `buffer`.
    bytes: u64,
    line: u64,
    /// Whether the previous line ended with CR: an LF right after it belongs to the same line
    /// break.
    after_cr: bool,
}

#[derive(Debug)]
enum State<R: Read> {
    New(R),
    Open(BufReader<Input<R>>),
    Ended,
}

const BUFFER_BYTES: usize = 64 * 1024;
/// How many bytes are read in search of the end of a line, NUL bytes before the line included. A
/// device such as `/dev/zero`, and a pipe without line breaks, never end.
const SEARCHED_BYTES_MAX: u64 = 4 << 30;

/// The end of a line, if it has one: a line break, or the end of the file.
enum Found {
    Break,
    End,
    /// Neither within the bytes that are read.
    None,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(file: &str, reader: R, bytes_max: usize) -> Self {
        Self {
            file: file.to_owned(),
            state: State::New(reader),
            bytes_max,
            searched_bytes_max: SEARCHED_BYTES_MAX,
            buffer: Vec::new(),
            bytes: 0,
            line: 0,
            after_cr: false,
        }
    }

    /// Reads the next line that is not empty, and returns its number, from 1. `None` at the end of
    /// the file, and after a fatal fault.
    pub(crate) fn next_line(&mut self) -> Option<Result<u64, Fault>> {
        loop {
            if let State::New(_) = self.state
                && let Err(fault) = self.open()
            {
                return Some(Err(fault));
            }
            let State::Open(reader) = &mut self.state else { return None };
            self.line += 1;
            (self.bytes, self.after_cr) = {
                self.buffer.clear();
                let most = (self.bytes_max, self.searched_bytes_max);
                match read_line(reader, &mut self.buffer, most, self.after_cr) {
                    Ok((Found::Break, bytes, after_cr)) => (bytes, after_cr),
                    Ok((Found::End, bytes, _)) => {
                        self.state = State::Ended;
                        (bytes, false)
                    }
                    Ok((Found::None, ..)) => {
                        self.state = State::Ended;
                        return Some(Err(self.endless()));
                    }
                    Err(error) => {
                        self.state = State::Ended;
                        return Some(Err(unreadable(&self.file, self.line, &error)));
                    }
                }
            };
            let content = self.buffer.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
            self.buffer.truncate(content);
            if self.bytes > self.bytes_max as u64 {
                let problem = format!("the line has {} bytes", self.bytes);
                let remedy = format!("write lines of at most {} bytes", self.bytes_max);
                return Some(Err(self.fault(Problem::row(problem, remedy))));
            }
            if self.buffer.trim_ascii().is_empty() {
                continue;
            }
            if self.buffer.contains(&0) {
                let remedy = "correct the line; if the file is UTF-16, save it as UTF-8 or with a byte \
                              order mark";
                return Some(Err(self.fault(Problem::row("the line contains NUL bytes", remedy))));
            }
            return Some(Ok(self.line));
        }
    }

    fn endless(&self) -> Fault {
        let problem = format!("no line ends within {} bytes", self.searched_bytes_max);
        let remedy = format!(
            "give a file with lines of at most {} bytes; if a log begins a line with many NUL bytes, \
             remove them: tr -d '\\0'",
            self.bytes_max
        );
        Problem::row(problem, remedy).fatal_at(&self.file, self.line)
    }

    fn open(&mut self) -> Result<(), Fault> {
        let State::New(reader) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        let input = Input::open(reader).map_err(|error| unreadable(&self.file, 1, &error))?;
        let input = input.map_err(|wrong| wrong.fatal_at(&self.file, 1))?;
        self.state = State::Open(BufReader::with_capacity(BUFFER_BYTES, input));
        Ok(())
    }

    /// The bytes of the current line, without the line break.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The text of the current line.
    pub(crate) fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.buffer)
    }

    /// The number of the current line, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Creates a fault at the current line.
    pub(crate) fn fault(&self, wrong: Problem) -> Fault {
        wrong.at(&self.file, self.line)
    }

    /// Creates a fatal fault at the current line. The fault states how many lines after it were not
    /// read.
    pub(crate) fn fatal(&mut self, wrong: Problem) -> Fault {
        let line = self.line;
        let mut not_read: u64 = 0;
        while self.next_line().is_some() {
            not_read += 1;
        }
        let wrong = match not_read {
            0 => wrong,
            1 => wrong.with("; the line after it was not read"),
            more => wrong.with(&format!("; the {more} lines after it were not read")),
        };
        wrong.fatal_at(&self.file, line)
    }
}

/// Reads to the end of a line, and keeps at most `bytes_max` bytes in `line`. Skips NUL bytes
/// before the line. Returns the number of bytes of the line, and whether it ended with CR.
fn read_line<R: Read>(
    reader: &mut BufReader<R>,
    line: &mut Vec<u8>,
    (bytes_max, searched_bytes_max): (usize, u64),
    mut after_cr: bool,
) -> std::io::Result<(Found, u64, bool)> {
    let (mut bytes, mut searched): (u64, u64) = (0, 0);
    loop {
        if searched >= searched_bytes_max {
            return Ok((Found::None, bytes, false));
        }
        let mut chunk = match reader.fill_buf() {
            Ok([]) => return Ok((Found::End, bytes, false)),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let mut used = 0;
        if after_cr && chunk.first() == Some(&b'\n') {
            used += 1;
        }
        after_cr = false;
        if bytes == 0 {
            let (_, rest) = chunk.split_at(used);
            used += rest.iter().position(|&byte| byte != 0).unwrap_or(rest.len());
        }
        (_, chunk) = chunk.split_at(used);
        let end = memchr::memchr2(b'\n', b'\r', chunk);
        let (content, _) = chunk.split_at(end.unwrap_or(chunk.len()));
        let room = bytes_max.saturating_sub(line.len());
        let (kept, _) = content.split_at(room.min(content.len()));
        line.extend_from_slice(kept);
        bytes += content.len() as u64;
        used += content.len() + usize::from(end.is_some());
        let is_cr = end.is_some_and(|at| chunk.get(at) == Some(&b'\r'));
        reader.consume(used);
        searched += used as u64;
        if end.is_some() {
            return Ok((Found::Break, bytes, is_cr));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `/dev/zero`, and a pipe without a line break.
    #[test]
    fn a_line_that_never_ends_is_a_fault_that_ends_the_file() {
        for byte in [0, b'x'] {
            let mut lines = Lines::new("f", std::io::repeat(byte), 1_000);
            lines.searched_bytes_max = 1 << 20;
            let fault = lines.next_line().unwrap().unwrap_err();
            assert!(fault.is_fatal());
            let told = fault.to_string();
            for words in ["f", "1", "1048576 bytes", "at most 1000 bytes"] {
                assert!(told.contains(words), "{told}");
            }
            assert!(lines.next_line().is_none() && lines.buffer.capacity() < 10_000);
        }
    }
}
