//! The byte encoding of numbers and texts in a checkpoint.

use turnpike_types::Must;

/// Why a checkpoint can't be read. A checkpoint is a cache: the log can always be replayed instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The first bytes are not those of a known format.
    #[error("not a checkpoint of formats 1 to 4")]
    Format,
    /// The bytes end too early, or there are bytes after the end.
    #[error("the checkpoint has a wrong length")]
    Length,
    /// A value is out of range.
    #[error("the checkpoint's {0} are out of range")]
    Nonsense(&'static str),
}

/// Writes little-endian numbers and length-prefixed bytes.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).must("no list of a partition's state has 2^32 entries"));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

/// Reads the encoding of a [`Writer`]. Compares each length with the remaining input before it
/// allocates memory.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(CheckpointError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, CheckpointError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CheckpointError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CheckpointError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, CheckpointError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn len(&mut self) -> Result<usize, CheckpointError> {
        self.u32().map(|len| len as usize)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CheckpointError> {
        let len = self.len()?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CheckpointError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn text(&mut self) -> Result<String, CheckpointError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(str::to_owned).map_err(|_| CheckpointError::Nonsense("texts"))
    }

    pub(crate) const fn end(&self) -> Result<(), CheckpointError> {
        if self.0.is_empty() { Ok(()) } else { Err(CheckpointError::Length) }
    }
}
