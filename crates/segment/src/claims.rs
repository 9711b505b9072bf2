//! Checks the lengths that a block states, before arrow reserves memory for them.
//!
//! ```text
//!  block = messages of: 0xffffffff | length of the metadata | metadata | body
//!  buffer in a body  = length after decompression | LZ4 frame
//! ```

use arrow_ipc::{Message, RecordBatch, root_as_message};

use crate::error::SegmentError;

/// One byte of LZ4 stands for at most this number of bytes.
const LZ4_EXPANSION_MAX: u64 = 255;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The block is no longer than it states, and no buffer states more than it can hold.
pub(crate) fn check(mut block: &[u8]) -> Result<(), SegmentError> {
    while let Some((length, rest)) = block.split_first_chunk() {
        let (length, rest) = match *length {
            CONTINUATION => rest.split_first_chunk().ok_or(SegmentError::Truncated)?,
            _ => (length, rest),
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            break;
        }
        let (metadata, rest) = rest.split_at_checked(length).ok_or(SegmentError::Truncated)?;
        let message = root_as_message(metadata).map_err(|_| SegmentError::Claim)?;
        let length = usize::try_from(message.bodyLength()).map_err(|_| SegmentError::Claim)?;
        let (body, rest) = rest.split_at_checked(length).ok_or(SegmentError::Truncated)?;
        check_message(message, body)?;
        block = rest;
    }
    Ok(())
}

fn check_message(message: Message<'_>, body: &[u8]) -> Result<(), SegmentError> {
    let dictionary = message.header_as_dictionary_batch();
    let batch = message.header_as_record_batch();
    match batch.or_else(|| dictionary.and_then(|dictionary| dictionary.data())) {
        Some(batch) => check_batch(batch, body),
        None => Ok(()),
    }
}

fn check_batch(batch: RecordBatch<'_>, body: &[u8]) -> Result<(), SegmentError> {
    let is_compressed = batch.compression().is_some();
    for buffer in batch.buffers().into_iter().flatten() {
        let from = usize::try_from(buffer.offset()).map_err(|_| SegmentError::Claim)?;
        let length = usize::try_from(buffer.length()).map_err(|_| SegmentError::Claim)?;
        let bytes = body.get(from..).and_then(|bytes| bytes.get(..length));
        let bytes = bytes.ok_or(SegmentError::Claim)?;
        let Some((stated, compressed)) = bytes.split_first_chunk() else { continue };
        // A length of -1 says that the buffer is not compressed.
        let stated = i64::from_le_bytes(*stated);
        let most = (compressed.len() as u64).saturating_mul(LZ4_EXPANSION_MAX);
        if is_compressed && stated != -1 && u64::try_from(stated).is_ok_and(|n| n > most) {
            return Err(SegmentError::Claim);
        }
    }
    Ok(())
}
