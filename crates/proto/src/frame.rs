//! Messages of the hot path that stay encoded: code iterates over their fields without decoding the
//! whole message.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::wire::{Fields, WireError, WireValue, put_bytes, put_number};

/// Defines a type that is a protobuf message on the wire and plain bytes in memory.
macro_rules! frame {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            body: Bytes,
        }

        impl $name {
            /// The encoded message.
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
                // For a transport buffer this takes a reference and copies nothing.
                Ok(Self { body: buf.copy_to_bytes(buf.remaining()) })
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                // Frames are never embedded. They are always decoded as a whole by `decode`.
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

/// The fields of a batch other than its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchHead<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// The batch number given by the client.
    pub batch_number: u64,
}

impl BatchFrame {
    /// A batch of records that are already encoded.
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

    /// Walks the batch and calls `each` with the bytes of every record, in order.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not a batch.
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

/// The fields of a sub-batch other than its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubBatchHead {
    /// The partition.
    pub partition: u32,
    /// The number of the sub-batch, consecutive within the stream, from 0.
    pub sequence: u64,
    /// Whether the records come from the suspense of another partition, where their age was checked
    /// on first arrival (P35).
    pub recycled: bool,
    /// An instant before the look-up of the records' identities, in microseconds; 0: no identity
    /// was looked up (P28).
    pub guided_us: u64,
    /// The key of the client that sent the records; 0: none.
    pub client: u64,
    /// With `recycled`: the partition in whose suspense the records wait; 0 from a front of an
    /// earlier release.
    pub recycled_from: u32,
}

impl SubBatchHead {
    /// Appends the encoded fields to `run`, which may hold encoded records already: protobuf
    /// accepts fields in any order.
    pub fn put(self, run: &mut Vec<u8>) {
        put_number(run, 1, u64::from(self.partition));
        put_number(run, 2, self.sequence);
        if self.recycled {
            put_number(run, 4, 1);
        }
        if self.guided_us != 0 {
            put_number(run, 5, self.guided_us);
        }
        if self.recycled_from != 0 {
            put_number(run, 6, u64::from(self.recycled_from));
        }
        if self.client != 0 {
            put_number(run, 7, self.client);
        }
    }
}

impl SubBatchFrame {
    /// A sub-batch of records collected by [`push_record`].
    pub fn build(head: SubBatchHead, records: &[u8]) -> Self {
        let mut body = Vec::with_capacity(records.len() + 40);
        head.put(&mut body);
        body.extend_from_slice(records);
        body.into()
    }

    /// Walks the sub-batch and calls `each` with the bytes of every record, in order.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not a sub-batch.
    pub fn walk<'a>(&'a self, mut each: impl FnMut(&'a [u8])) -> Result<SubBatchHead, WireError> {
        let mut head = SubBatchHead::default();
        let mut fields = Fields::new(&self.body);
        while let Some((field, value)) = fields.next_field()? {
            match (field, value) {
                (3, WireValue::Bytes(record)) => each(record),
                (1, WireValue::Varint(partition)) => {
                    head.partition =
                        u32::try_from(partition).map_err(|_| WireError::WrongType(1))?;
                }
                (2, WireValue::Varint(sequence)) => head.sequence = sequence,
                (4, WireValue::Varint(recycled)) => head.recycled = recycled != 0,
                (5, WireValue::Varint(guided)) => head.guided_us = guided,
                (6, WireValue::Varint(partition)) => {
                    head.recycled_from =
                        u32::try_from(partition).map_err(|_| WireError::WrongType(6))?;
                }
                (7, WireValue::Varint(client)) => head.client = client,
                (1..=7, _) => return Err(WireError::WrongType(field)),
                _ => {}
            }
        }
        Ok(head)
    }
}

/// Appends a record as a repeated field, in the encoding that both frames use.
pub fn push_record(records: &mut Vec<u8>, record: &[u8]) {
    put_bytes(records, 3, record);
}
