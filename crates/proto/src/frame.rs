//! Messages of the hot path as one run of bytes: walked, not decoded.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::wire::{Fields, Value, WireError, put_bytes, put_number};

/// Makes a type that is a protobuf message on the wire and a run of bytes in memory.
macro_rules! frame {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            body: Bytes,
        }

        impl $name {
            /// The message's bytes.
            pub const fn body(&self) -> &Bytes {
                &self.body
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(body: Vec<u8>) -> Self {
                Self { body: body.into() }
            }
        }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                buf.put_slice(&self.body);
            }

            fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
                // From a transport buffer this is a reference, not a copy.
                Ok(Self { body: buf.copy_to_bytes(buf.remaining()) })
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                // Frames are never embedded and always decoded whole, above.
                prost::encoding::skip_field(wire_type, tag, buf, ctx)
            }

            fn encoded_len(&self) -> usize {
                self.body.len()
            }

            fn clear(&mut self) {
                self.body.clear();
            }
        }
    };
}

frame! {
    /// `turnpike.ingest.v1.IngestBatch`.
    BatchFrame
}

frame! {
    /// `turnpike.node.v1.SubBatch`.
    SubBatchFrame
}

/// What stands in a frame beside its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchHead<'a> {
    /// Who sends.
    pub source: &'a str,
    /// The sender's number.
    pub batch_number: u64,
}

impl BatchFrame {
    /// A batch of records that are encoded already.
    pub fn build<'r>(
        source: &str,
        batch_number: u64,
        records: impl IntoIterator<Item = &'r [u8]>,
    ) -> Self {
        let mut body = Vec::new();
        put_bytes(&mut body, 1, source.as_bytes());
        put_number(&mut body, 2, batch_number);
        for record in records {
            put_bytes(&mut body, 3, record);
        }
        body.into()
    }

    /// Walks the batch: `each` gets every record's bytes, in order.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are no batch.
    pub fn walk<'a>(&'a self, mut each: impl FnMut(&'a [u8])) -> Result<BatchHead<'a>, WireError> {
        let mut head = BatchHead::default();
        let mut fields = Fields::new(&self.body);
        while let Some((field, value)) = fields.next_field()? {
            match field {
                3 => each(value.bytes(3)?),
                1 => head.source = value.text(1)?,
                2 => head.batch_number = value.varint(2)?,
                _ => {}
            }
        }
        Ok(head)
    }
}

/// What stands in a sub-batch beside its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubBatchHead {
    /// The partition.
    pub partition: u32,
    /// Contiguous within the stream.
    pub sequence: u64,
    /// Recycled from another partition's suspense: the acceptance horizon was judged at first
    /// arrival (P35).
    pub recycled: bool,
}

impl SubBatchHead {
    /// Adds the head's fields to a run of records, in front of them or behind: protobuf takes
    /// fields in any order.
    pub fn put(self, run: &mut Vec<u8>) {
        put_number(run, 1, u64::from(self.partition));
        put_number(run, 2, self.sequence);
        if self.recycled {
            put_number(run, 4, 1);
        }
    }
}

impl SubBatchFrame {
    /// A sub-batch around records gathered by [`push_record`].
    pub fn build(head: SubBatchHead, records: &[u8]) -> Self {
        let mut body = Vec::with_capacity(records.len() + 24);
        head.put(&mut body);
        body.extend_from_slice(records);
        body.into()
    }

    /// Walks the sub-batch: `each` gets every record's bytes, in order.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are no sub-batch.
    pub fn walk<'a>(&'a self, mut each: impl FnMut(&'a [u8])) -> Result<SubBatchHead, WireError> {
        let mut head = SubBatchHead::default();
        let mut fields = Fields::new(&self.body);
        while let Some((field, value)) = fields.next_field()? {
            match (field, value) {
                (3, Value::Bytes(record)) => each(record),
                (1, Value::Varint(partition)) => {
                    head.partition =
                        u32::try_from(partition).map_err(|_| WireError::WrongType(1))?;
                }
                (2, Value::Varint(sequence)) => head.sequence = sequence,
                (4, Value::Varint(recycled)) => head.recycled = recycled != 0,
                (1..=4, _) => return Err(WireError::WrongType(field)),
                _ => {}
            }
        }
        Ok(head)
    }
}

/// Adds a record's bytes to a run of records, as both frames hold them.
pub fn push_record(records: &mut Vec<u8>, record: &[u8]) {
    put_bytes(records, 3, record);
}
