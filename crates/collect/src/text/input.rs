//! Detection of a file's encoding by its first bytes: compressed, UTF-16, or not text.

use std::io::{self, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use turnpike_types::capped;

use crate::Fault;
use crate::fault::{Problem, unreadable};

/// The text of a file in UTF-8, without byte order mark. Invalid UTF-8 passes unchanged.
pub(super) struct Input<R: Read>(Text<R>);

/// The bytes that were read for detection, followed by the rest of the reader.
type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

enum Raw<R: Read> {
    Plain(Peeked<R>),
    Gzip(Box<MultiGzDecoder<Peeked<R>>>),
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(out),
            Self::Gzip(reader) => reader.read(out),
        }
    }
}

enum Text<R: Read> {
    Utf8(Peeked<Raw<R>>),
    Utf16(Utf16<Peeked<Raw<R>>>),
}

/// Kinds of files that are not accepted: the first bytes, the name of the kind, and how to convert
/// the file.
const NO_TEXT: [(&[u8], &str, &str); 10] = [
    (b"PK\x03\x04", "a ZIP archive or an .xlsx workbook", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an .xls workbook", "save the sheet as CSV"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd",
        "unpack it first: zstdcat FILE, and give - for FILE",
    ),
    (b"BZh91AY&SY", "compressed with bzip2", "unpack it first: bzcat FILE, and give - for FILE"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it first: xzcat FILE, and give - for FILE"),
    (b"PAR1", "a Parquet file", "export it as CSV or JSON lines"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"%PDF-", "a PDF document", "export the data as CSV"),
    (b"\xff\xfe\0\0", "UTF-32", "save it as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32", "save it as UTF-8"),
];
/// The number of bytes that are read to detect the encoding: at least the longest signature or byte
/// order mark.
const HEAD_BYTES: usize = 16;
const GZIP: &[u8] = b"\x1f\x8b\x08";

impl<R: Read> Input<R> {
    /// Reads the first bytes of `reader`, and detects the encoding.
    ///
    /// # Errors
    /// A read error of `reader`; the inner error if the file is not text.
    pub(super) fn open(mut reader: R) -> io::Result<Result<Self, Problem>> {
        let head = head(&mut reader)?;
        let is_gzip = head.starts_with(GZIP);
        if let Some(wrong) = no_text(&head) {
            return Ok(Err(wrong));
        }
        let peeked = Cursor::new(head).chain(reader);
        let mut raw = match is_gzip {
            true => Raw::Gzip(Box::new(MultiGzDecoder::new(peeked))),
            false => Raw::Plain(peeked),
        };
        let mut head = self::head(&mut raw)?;
        if let Some(wrong) = no_text(&head) {
            return Ok(Err(wrong));
        }
        let (mark, big_endian) = match head.as_slice() {
            [0xef, 0xbb, 0xbf, ..] => (3, None),
            [0xff, 0xfe, ..] => (2, Some(false)),
            [0xfe, 0xff, ..] => (2, Some(true)),
            _ => (0, None),
        };
        head.drain(..mark);
        let peeked = Cursor::new(head).chain(raw);
        Ok(Ok(Self(match big_endian {
            None => Text::Utf8(peeked),
            Some(big_endian) => Text::Utf16(Utf16::new(peeked, big_endian)),
        })))
    }
}

/// Reads a whole text file: gzip is decompressed, UTF-16 becomes UTF-8, a byte order mark is
/// dropped, and if all lines end at CR, each CR becomes LF. `file` is its name in faults.
///
/// # Errors
/// A [`Fault`] if the file can't be read, is not text, or has more than `bytes_max` bytes of text.
pub fn read_text(file: &str, reader: impl Read, bytes_max: usize) -> Result<String, Fault> {
    let input = Input::open(reader).map_err(|error| unreadable(file, 1, &error))?;
    let input = input.map_err(|wrong| wrong.fatal_at(file, 1))?;
    let mut bytes = Vec::new();
    let bound = capped::<u64>(bytes_max).saturating_add(1);
    let read = input.take(bound).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(file, 1, &error))?;
    if bytes.len() > bytes_max {
        let problem = format!("the text has more than {bytes_max} bytes");
        return Err(Problem::row(problem, "split the file").fatal_at(file, 1));
    }
    if !bytes.contains(&b'\n') {
        bytes.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let problem = "the text is not UTF-8";
        Problem::row(problem, "save the file as UTF-8").fatal_at(file, line)
    })
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Text::Utf8(reader) => reader.read(out),
            Text::Utf16(reader) => reader.read(out),
        }
    }
}

fn no_text(head: &[u8]) -> Option<Problem> {
    let (_, what, remedy) = NO_TEXT.iter().find(|(magic, ..)| head.starts_with(magic))?;
    Some(Problem::row(format!("the file is {what}, not text"), *remedy))
}

/// The first [`HEAD_BYTES`] bytes; fewer if the file is shorter.
fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A reader that converts UTF-16 to UTF-8.
struct Utf16<R> {
    reader: R,
    big_endian: bool,
    /// Bytes that are not decoded yet: an incomplete code unit, or the first half of a surrogate
    /// pair.
    undecoded: Vec<u8>,
    decoded: Cursor<Vec<u8>>,
}

const UTF16_BYTES: u64 = 8 * 1024;

impl<R: Read> Utf16<R> {
    fn new(reader: R, big_endian: bool) -> Self {
        Self { reader, big_endian, undecoded: Vec::new(), decoded: Cursor::default() }
    }

    /// Decodes the next bytes; false at the end of the file.
    fn decode_more(&mut self) -> io::Result<bool> {
        let held = self.undecoded.len();
        let read = self.reader.by_ref().take(UTF16_BYTES).read_to_end(&mut self.undecoded)?;
        debug_assert_eq!(self.undecoded.len(), held + read);
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if read == 0 && held > 0 {
            return Err(invalid("its UTF-16 ends within a character"));
        }
        let mut whole = self.undecoded.len() / 2 * 2;
        let unit = |pair: &[u8; 2]| match self.big_endian {
            true => u16::from_be_bytes(*pair),
            false => u16::from_le_bytes(*pair),
        };
        let (units, _) = self.undecoded.as_chunks::<2>();
        // The first half of a surrogate pair is kept until the second half is read.
        if units.last().is_some_and(|last| (0xd800..0xdc00).contains(&unit(last))) && read > 0 {
            whole -= 2;
        }
        let mut text = String::with_capacity(whole);
        for decoded in char::decode_utf16(units.iter().take(whole / 2).map(unit)) {
            text.push(decoded.map_err(|_| invalid("its UTF-16 holds half a character"))?);
        }
        self.undecoded.drain(..whole);
        self.decoded = Cursor::new(text.into_bytes());
        Ok(read > 0)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.decoded.read(out)?;
            if read > 0 || out.is_empty() || !self.decode_more()? {
                return Ok(read);
            }
        }
    }
}

impl<R: Read> std::fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (compressed, encoding) = match &self.0 {
            Text::Utf8(reader) => (reader.get_ref(), "UTF-8"),
            Text::Utf16(reader) => (reader.reader.get_ref(), "UTF-16"),
        };
        let compressed = matches!(compressed.1, Raw::Gzip(_));
        f.debug_struct("Input").field("gzip", &compressed).field("encoding", &encoding).finish()
    }
}
