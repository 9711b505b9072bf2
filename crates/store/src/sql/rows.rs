//! Rows as tuples, which both drivers decode, and their conversion to the model.

use bytes::Bytes;
use turnpike_types::{
    AccountNumber, ClaimId, Epoch, PartitionId, PrefixLengths, SegmentHash, SegmentNumber,
    Timestamp,
};

use super::errors::corrupt;
use crate::bindings::BindingRow;
use crate::rules::Fence;
use crate::{
    Binding, BindingsMark, CatalogueEntry, CatalogueHead, CatalogueKind, CheckpointManifest,
    Claimed, Consumer, SegmentPosition, SegmentRow, StoreResult,
};

/// The stored form of an unsigned number: the signed number with the same 64 bits.
pub(crate) const fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// The unsigned number of a stored one; the inverse of [`stored`].
pub(crate) const fn loaded(number: i64) -> u64 {
    number.cast_unsigned()
}

pub(crate) fn stored_partition(partition: PartitionId) -> i64 {
    i64::from(partition.0)
}

pub(crate) fn partition_id(number: i64, doing: &'static str) -> StoreResult<PartitionId> {
    u32::try_from(number)
        .map(PartitionId)
        .map_err(|_| corrupt(doing, format!("partition number {number}")))
}

pub(crate) fn fixed<const N: usize>(bytes: &[u8], doing: &'static str) -> StoreResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| corrupt(doing, format!("a value of {} bytes instead of {N}", bytes.len())))
}

pub(crate) fn hash(bytes: &[u8], doing: &'static str) -> StoreResult<SegmentHash> {
    fixed(bytes, doing).map(SegmentHash)
}

pub(crate) fn position(
    next: i64,
    last_hash: &[u8],
    doing: &'static str,
) -> StoreResult<SegmentPosition> {
    Ok(SegmentPosition { next: SegmentNumber(loaded(next)), last_hash: hash(last_hash, doing)? })
}

/// Columns: epoch, claim, next_segment, last_hash, checkpoint_segment.
pub(crate) type FenceTuple = (i64, Vec<u8>, i64, Vec<u8>, i64);

/// The fence, and the segment of the newest published checkpoint, if there is one.
pub(crate) fn fence(
    row: &FenceTuple,
    doing: &'static str,
) -> StoreResult<(Fence, Option<SegmentNumber>)> {
    let (epoch, claim, next, last_hash, checkpoint) = row;
    let fence = Fence {
        epoch: Epoch::stored(loaded(*epoch)),
        claim: ClaimId(fixed(claim, doing)?),
        position: position(*next, last_hash, doing)?,
    };
    let checkpoint = u64::try_from(*checkpoint).ok().map(SegmentNumber);
    Ok((fence, checkpoint))
}

/// Columns: epoch, next_segment, last_hash.
pub(crate) type ClaimedTuple = (i64, i64, Vec<u8>);

pub(crate) fn claimed(row: &ClaimedTuple, doing: &'static str) -> StoreResult<Claimed> {
    let (epoch, next, last_hash) = row;
    let epoch = Epoch::stored(loaded(*epoch));
    Ok(Claimed { epoch, position: position(*next, last_hash, doing)? })
}

/// Columns: segment, epoch, prev_hash, hash, body.
pub(crate) type SegmentTuple = (i64, i64, Vec<u8>, Vec<u8>, Vec<u8>);

pub(crate) fn segment_row(row: SegmentTuple, doing: &'static str) -> StoreResult<SegmentRow> {
    let (segment, epoch, prev_hash, own_hash, body) = row;
    Ok(SegmentRow {
        segment: SegmentNumber(loaded(segment)),
        epoch: Epoch::stored(loaded(epoch)),
        prev_hash: hash(&prev_hash, doing)?,
        hash: hash(&own_hash, doing)?,
        body: Bytes::from(body),
    })
}

/// Columns: segment, hash, parts, summary.
pub(crate) type ManifestTuple = (i64, Vec<u8>, String, Vec<u8>);

pub(crate) fn manifest(
    partition: PartitionId,
    row: ManifestTuple,
    doing: &'static str,
) -> StoreResult<CheckpointManifest> {
    let (segment, own_hash, parts, summary) = row;
    Ok(CheckpointManifest {
        partition,
        segment: SegmentNumber(loaded(segment)),
        hash: hash(&own_hash, doing)?,
        parts: parts.lines().map(str::to_owned).collect(),
        summary: Bytes::from(summary),
    })
}

/// Columns: catalogue_version, kind, id, version, starts, content_hash, form, row_count, bytes,
/// published_at, tz_database (may be null).
pub(crate) type HeadTuple =
    (i64, String, String, i64, String, Vec<u8>, String, i64, i64, i64, Option<String>);

pub(crate) fn catalogue_head(row: HeadTuple, doing: &'static str) -> StoreResult<CatalogueHead> {
    let (
        catalogue_version,
        kind,
        id,
        version,
        starts,
        content_hash,
        form,
        rows,
        bytes,
        at,
        tz_database,
    ) = row;
    let wrong =
        |what: &str| corrupt(doing, format!("catalogue version {catalogue_version}: {what}"));
    Ok(CatalogueHead {
        catalogue_version: loaded(catalogue_version),
        kind: CatalogueKind::named(&kind).ok_or_else(|| wrong(&format!("kind {kind:?}")))?,
        id,
        version: u32::try_from(version).map_err(|_| wrong(&format!("version {version}")))?,
        starts,
        content_hash: fixed(&content_hash, doing)?,
        form,
        rows: loaded(rows),
        bytes: loaded(bytes),
        published_at: Timestamp(at),
        tz_database,
    })
}

/// The columns of [`HeadTuple`], then the body.
pub(crate) type CatalogueTuple =
    (i64, String, String, i64, String, Vec<u8>, String, i64, i64, i64, Option<String>, String);

pub(crate) fn catalogue_entry(
    row: CatalogueTuple,
    doing: &'static str,
) -> StoreResult<CatalogueEntry> {
    let (at, kind, id, version, starts, hash, form, rows, bytes, published_at, tzdb, body) = row;
    let head = (at, kind, id, version, starts, hash, form, rows, bytes, published_at, tzdb);
    Ok(CatalogueEntry { head: catalogue_head(head, doing)?, body })
}

/// Columns: identity, account, from_us, until_us.
pub(crate) type BindingTuple = (String, i64, i64, i64);

pub(crate) fn binding(row: BindingTuple) -> Binding {
    let (identity, account, from, until) = row;
    Binding {
        identity,
        account: AccountNumber(loaded(account)),
        from: Timestamp(from),
        until: Timestamp(until),
    }
}

/// The columns of [`BindingTuple`], then recorded_us (NULL: an older release recorded the binding)
/// and withdrawn_us (NULL: the binding is in force).
pub(crate) type BindingRowTuple = (String, i64, i64, i64, Option<i64>, Option<i64>);

pub(crate) fn binding_row(row: BindingRowTuple) -> BindingRow {
    let (identity, account, from, until, recorded, withdrawn) = row;
    BindingRow {
        binding: binding((identity, account, from, until)),
        recorded: recorded.map_or(Timestamp::MIN, Timestamp),
        withdrawn: withdrawn.map_or(Timestamp::MAX, Timestamp),
    }
}

/// Columns: bindings_version, guided_through_us.
pub(crate) fn bindings_mark((version, guided_through): (i64, i64)) -> BindingsMark {
    BindingsMark { version: loaded(version), guided_through: Timestamp(guided_through) }
}

/// Columns: partition, segment, row_count, hash.
pub(crate) type CursorTuple = (i64, i64, i64, Vec<u8>);

pub(crate) fn consumer(
    name: &str,
    row: &CursorTuple,
    doing: &'static str,
) -> StoreResult<Consumer> {
    let (partition, segment, rows, own_hash) = row;
    Ok(Consumer {
        name: name.to_owned(),
        partition: partition_id(*partition, doing)?,
        segment: SegmentNumber(loaded(*segment)),
        row: loaded(*rows),
        hash: hash(own_hash, doing)?,
    })
}

/// Columns: is_v4, length.
pub(crate) type PrefixLengthTuple = (bool, i64);

pub(crate) fn prefix_lengths(
    rows: Vec<PrefixLengthTuple>,
    doing: &'static str,
) -> StoreResult<PrefixLengths> {
    let mut lengths = PrefixLengths::NONE;
    for (is_v4, length) in rows {
        let length = u8::try_from(length);
        lengths.add_length(
            is_v4,
            length.map_err(|_| corrupt(doing, "a prefix length that is not in 0 to 255"))?,
        );
    }
    Ok(lengths)
}
