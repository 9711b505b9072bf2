//! Reads the protobuf wire format field by field, borrowing from the input.
//! <https://protobuf.dev/programming-guides/encoding/>

/// The bytes are not a protobuf message, or not of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end in the middle of a field.
    #[error("the message ends in the middle of a field")]
    Truncated,
    /// A varint has more than 64 bits.
    #[error("a number of more than 64 bits")]
    Overlong,
    /// A field has the number zero, or an unknown wire type (groups are not accepted).
    #[error("a field of an unknown kind")]
    BadField,
    /// The wire type of a field is not the declared one.
    #[error("field {0} has another type than declared")]
    WrongType(u32),
    /// A text is not UTF-8.
    #[error("field {0} is not UTF-8")]
    NotText(u32),
}

/// The value of a field, by wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> WireValue<'a> {
    /// The number of a varint field.
    ///
    /// # Errors
    /// [`WireError::WrongType`], which names `field`, when the value has another wire type.
    pub fn varint(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError::WrongType(field)),
        }
    }

    /// The bytes of a length-delimited field.
    ///
    /// # Errors
    /// [`WireError::WrongType`], which names `field`, when the value has another wire type.
    pub fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(value) => Ok(value),
            _ => Err(WireError::WrongType(field)),
        }
    }

    /// The text of a length-delimited field.
    ///
    /// # Errors
    /// [`WireError::WrongType`] or [`WireError::NotText`], which name `field`.
    pub fn text(self, field: u32) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| WireError::NotText(field))
    }

    /// The number of a signed 64-bit fixed field.
    ///
    /// # Errors
    /// [`WireError::WrongType`], which names `field`, when the value has another wire type.
    pub fn sfixed64(self, field: u32) -> Result<i64, WireError> {
        match self {
            Self::Fixed64(value) => Ok(value.cast_signed()),
            _ => Err(WireError::WrongType(field)),
        }
    }
}

/// Walks the fields of a message.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of the message in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that were not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read_varint(&mut self) -> Result<u64, WireError> {
        // Fast path: most numbers (tags, lengths, small values) take one byte.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return Err(WireError::Overlong);
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Overlong })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The number and value of the next field; `None` at the end.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not a protobuf message.
    pub fn next_field(&mut self) -> Result<Option<(u32, WireValue<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.read_varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| WireError::BadField)?;
        if field == 0 {
            return Err(WireError::BadField);
        }
        let value = match tag & 7 {
            0 => WireValue::Varint(self.read_varint()?),
            1 => WireValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.read_varint()?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                WireValue::Bytes(self.take(len)?)
            }
            5 => WireValue::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::BadField),
        };
        Ok(Some((field, value)))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field.
pub fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn written_fields_are_read_again() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, u64::MAX);
        put_bytes(&mut bytes, 300, b"abc");
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.next_field().unwrap(), Some((1, WireValue::Varint(u64::MAX))));
        assert_eq!(fields.next_field().unwrap(), Some((300, WireValue::Bytes(b"abc"))));
        assert_eq!(fields.next_field().unwrap(), None);
    }

    #[test]
    fn every_cut_of_a_message_is_an_error_or_a_shorter_message_never_a_panic() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, 1 << 40);
        put_bytes(&mut bytes, 2, &[7; 200]);
        bytes.extend_from_slice(&[0x19, 1, 2, 3, 4, 5, 6, 7, 8]);
        for end in 0..bytes.len() {
            let mut fields = Fields::new(&bytes[..end]);
            while let Ok(Some(_)) = fields.next_field() {}
        }
    }

    #[test]
    fn numbers_of_more_than_64_bits_are_refused() {
        let mut fields = Fields::new(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]);
        assert_eq!(fields.next_field(), Err(WireError::Overlong));
    }
}
